"""The pods of a color: which there are, whether they serve, and why not."""

from dataclasses import dataclass
from datetime import datetime

from greenlight.core.records import Color, Instance
from greenlight.rollout.kubernetes.connection import ApiError, Connection, Json
from greenlight.rollout.kubernetes.store import PREFIX

SERVER, PORT = "server", 8000
LOG_LINES = 12
HOPELESS = (
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
"""Reasons of a waiting container that do not pass without somebody's help. A first ErrImagePull
may: it is tried again.
"""
CRASHES = 2  # a first restart may have been bad luck


@dataclass(frozen=True)
class Pod:
    """One pod of a color that is not on its way out.

    Attributes:
        trouble: why it is not ready, for people; empty when it is, or when it is only not ready
            yet.
        hopeless: waiting longer will not help.
    """

    name: str
    release_id: str
    instance: Instance
    ready: bool
    trouble: str = ""
    hopeless: bool = False
    crashed: str = ""  # container whose last log lines tell why


def pods_of(connection: Connection, namespace: str, selector: dict[str, str]) -> list[Pod]:
    """The pods that a selector finds, by name, without those that are being deleted or have
    ended.
    """
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    found = connection.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=labels)["items"]
    return sorted((_pod(one) for one in found if _stays(one)), key=lambda pod: pod.name)


def count_pods(connection: Connection, namespace: str, selector: dict[str, str]) -> int:
    """How many pods are still there, those on their way out too."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    return len(
        connection.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=labels)["items"]
    )


def _stays(pod: Json) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in (
        "Succeeded",
        "Failed",
    )


def _pod(pod: Json) -> Pod:
    status, metadata = pod["status"], pod["metadata"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    server: Json = next(
        (one for one in status.get("containerStatuses", []) if one["name"] == SERVER), {}
    )
    running = server.get("state", {}).get("running")
    address = status.get("podIP", "")
    trouble, hopeless, crashed = _trouble(status, conditions)
    return Pod(
        name=metadata["name"],
        release_id=metadata.get("annotations", {}).get(f"{PREFIX}/release", ""),
        instance=Instance(
            name=metadata["name"],
            url=f"http://{address}:{PORT}" if address else "",
            started=_seconds(running["startedAt"]) if running else 0.0,
            build=(
                f"{metadata.get('labels', {}).get('pod-template-hash', '')}"
                f" {server.get('imageID', '')}"
            ),
        ),
        ready=conditions.get("Ready", {}).get("status") == "True",
        trouble=trouble,
        hopeless=hopeless,
        crashed=crashed,
    )


def _trouble(status: Json, conditions: dict[str, Json]) -> tuple[str, bool, str]:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        # the autoscaler may add a node
        return (
            f"cannot be scheduled: {scheduled.get('message', scheduled.get('reason', ''))}",
            False,
            "",
        )
    for container in [
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ]:
        name, restarts = container["name"], container.get("restartCount", 0)
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in HOPELESS or reason == "ErrImagePull":
            return f"{name}: {reason}: {waiting.get('message', '').strip()}", reason in HOPELESS, ""
        ended = (
            container.get("state", {}).get("terminated")
            or (container.get("lastState", {}).get("terminated") if restarts else None)
            or {}
        )
        if ended and ended.get("exitCode") != 0:
            how = (
                f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}, {restarts}"
                " restarts"
            )
            return f"{name} crashes ({how})", restarts >= CRASHES, name
    return "", False, ""


def last_lines(connection: Connection, namespace: str, pod: str, container: str) -> str:
    """The end of a container's log: of the run that crashed, or of the one that goes on."""
    for previous in ("true", "false"):
        try:
            query = {"container": container, "tailLines": str(LOG_LINES), "previous": previous}
            text = connection.text(
                "GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query=query
            ).strip()
        except ApiError:
            continue
        if text:
            lines = "\n".join(f"    {line}" for line in text.splitlines())
            return f" The last lines of {pod}, container {container}:\n{lines}"
    return ""


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def color_selector(deployment: Json) -> dict[str, str]:
    selector: dict[str, str] = deployment["spec"]["selector"]["matchLabels"]
    return selector


def owner(color: Color, service: str) -> str:
    """The name of a color's Deployment."""
    return f"{service}-{color}"


def preview(name: str) -> str:
    """The preview Service of a color, which people and dashboards use to look at it."""
    return f"{name}-svc"
