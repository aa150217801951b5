"""Jobs made from the suspended CronJobs of k8s/base: whoever runs the cluster decides there about
image, resources and nodes.
"""

import hashlib
import logging
import math

from greenlight.core.errors import DeployError, InputError
from greenlight.core.waiting import wait_for
from greenlight.rollout.kubernetes.connection import ApiError, Connection, Json
from greenlight.rollout.kubernetes.pods import last_lines

log = logging.getLogger("greenlight.rollout")

FINISHED_TTL_S = 3600
PENDING_S = 300.0  # a Job whose pod does not run by then says why


def run_job(
    connection: Connection,
    namespace: str,
    template: str,
    environment: dict[str, str],
    key: bytes,
    seconds: float,
    poll: float,
    pods: int = 1,
) -> None:
    """Make the Job that does this, or find the one that was made for the same `key`, and wait for
    its end.

    Raises:
        InputError: there is no such template.
        DeployError: it failed or did not end in time. Holds the reason and the last lines of its
            log.
    """
    batch = f"/apis/batch/v1/namespaces/{namespace}"
    found = connection.find(f"{batch}/cronjobs/{template}")
    if found is None:
        raise InputError(
            "namespace",
            namespace,
            f"there is no CronJob {template}, the template of its Jobs; `kubectl apply -k"
            " k8s/overlays/cpu` makes it",
        )
    name = f"{template}-{hashlib.sha256(key).hexdigest()[:10]}"
    earlier = connection.find(f"{batch}/jobs/{name}")
    if earlier and _ended(earlier) == "Failed":
        connection.delete(f"{batch}/jobs/{name}")
        _wait_until_deleted(connection, f"{batch}/jobs/{name}", poll)
        earlier = None
    if earlier is None:
        try:
            connection.create(f"{batch}/jobs", _job(found, name, environment, seconds, pods))
        except ApiError as error:
            if error.status != 409:  # the answer to an earlier try was lost
                raise
    _wait(connection, namespace, name, seconds, poll)


def _job(template: Json, name: str, environment: dict[str, str], seconds: float, pods: int) -> Json:
    spec = template["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    kept = [entry for entry in container.get("env", []) if entry["name"] not in environment]
    container["env"] = kept + [{"name": key, "value": value} for key, value in environment.items()]
    spec |= {
        "activeDeadlineSeconds": int(seconds),
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": FINISHED_TTL_S,
    }
    if pods > 1:  # each learns its number from JOB_COMPLETION_INDEX, and all run at the same time
        spec |= {"completions": pods, "parallelism": pods, "completionMode": "Indexed"}
    labels = {
        "app.kubernetes.io/managed-by": "greenlight",
        "app.kubernetes.io/component": "benchmark",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _wait(connection: Connection, namespace: str, name: str, seconds: float, poll: float) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"

    def look(elapsed: float) -> bool | None:
        job = connection.get(path)
        ended = _ended(job)
        if ended == "Complete":
            return True
        waits = elapsed > PENDING_S and not job.get("status", {}).get("ready")
        stuck = _stuck(connection, namespace, name) if waits else ""
        if ended or stuck:
            failed = [
                one.get("message", "")
                for one in job.get("status", {}).get("conditions", [])
                if one["type"] == "Failed"
            ]
            raise _failure(connection, namespace, name, next(iter(failed), "") or stuck)
        return None

    def report(elapsed: float) -> None:
        log.info(
            "Job %s has run for %.0f s",
            name,
            elapsed,
            extra={"figure": f"job runs {elapsed:.0f} s"},
        )

    if not wait_for(look, seconds=seconds + PENDING_S, interval=poll, report=report):
        raise _failure(connection, namespace, name, "")


def _failure(connection: Connection, namespace: str, name: str, reason: str) -> DeployError:
    lines = "".join(
        last_lines(connection, namespace, pod, container)
        for pod, container in _pods(connection, namespace, name)[:1]
    )
    return DeployError(f"Job {name} failed: {reason or 'it did not end in time'}.{lines}")


def _ended(job: Json) -> str:
    done = [
        one["type"]
        for one in job.get("status", {}).get("conditions", [])
        if one["status"] == "True" and one["type"] in ("Complete", "Failed")
    ]
    return done[0] if done else ""


def _pods(connection: Connection, namespace: str, job: str) -> list[tuple[str, str]]:
    """Pods of a Job, with the name of their container."""
    found = connection.get(
        f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"batch.kubernetes.io/job-name={job}"
    )["items"]
    return [(pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]) for pod in found]


def _stuck(connection: Connection, namespace: str, job: str) -> str:
    """Why its pod does not run."""
    found = connection.get(
        f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"batch.kubernetes.io/job-name={job}"
    )["items"]
    if not found:
        return "the cluster makes no pod for it; `kubectl describe job` says why"
    status = found[0]["status"]
    waiting = [
        one["state"]["waiting"]
        for one in status.get("containerStatuses", [])
        if "waiting" in one.get("state", {})
    ]
    conditions = [
        one.get("message", "")
        for one in status.get("conditions", [])
        if one["type"] == "PodScheduled" and one["status"] == "False"
    ]
    return "; ".join(
        [*conditions, *(f"{one.get('reason')}: {one.get('message', '')}" for one in waiting)]
    )


def _wait_until_deleted(connection: Connection, path: str, poll: float) -> None:
    wait_for(
        lambda elapsed: True if connection.find(path) is None else None,
        seconds=math.inf,
        interval=poll,
    )
