"""Waiting until the pods of a release serve, and saying why they do not."""

import logging
from collections.abc import Callable

from greenlight.core.errors import DeployError
from greenlight.core.records import Release
from greenlight.rollout.kubernetes.connection import Connection, Json
from greenlight.rollout.kubernetes.pods import Pod, last_lines

log = logging.getLogger("greenlight.rollout")

# an autoscaler may have asked for a pod that no node has room for: as many as the release wants are
# enough then
STRAGGLER_S = 60.0


class PodWait:
    """The wait for the pods of a release: what was seen last, and what it means.

    Args:
        deployment: reads the Deployment of the release's color.
        pods: reads the pods of that color.
        behind: reads the names of the pods that its preview Service sends connections to.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        release: Release,
        *,
        deployment: Callable[[], Json],
        pods: Callable[[], list[Pod]],
        behind: Callable[[], set[str]],
    ) -> None:
        self.connection, self.namespace, self.release = connection, namespace, release
        self._read_deployment, self._read_pods, self._read_behind = deployment, pods, behind
        self.deployment: Json = {}
        self.pods: list[Pod] = []

    def look(self, elapsed: float) -> Release | None:
        """The release with its ready pods, once they are enough. Raises DeployError when waiting
        longer will not help.
        """
        release, self.deployment = self.release, self._read_deployment()
        self.pods = [pod for pod in self._read_pods() if pod.release_id == release.release_id]
        # somebody applied the manifests just now
        if self._paused and not self.pods:
            self._pause(False)
        seen = (
            self.deployment.get("status", {}).get("observedGeneration", 0)
            >= self.deployment["metadata"]["generation"]
        )
        ready = self._ready
        enough = len(ready) >= release.replicas and (
            len(ready) == len(self.pods) or elapsed > STRAGGLER_S
        )
        if seen and enough and {pod.name for pod in ready} <= self._read_behind():
            # from here on no edit by hand restarts what is measured, and what serves
            if not self._paused:
                self._pause(True)
            return release.model_copy(update={"instances": [pod.instance for pod in ready]})
        if self._trouble and self._trouble.hopeless:
            raise self.failure(elapsed)
        return None

    def report(self, elapsed: float) -> None:
        color, ready, wanted = self.release.color, len(self._ready), self._wanted
        log.info(
            "%s: %d of %d pods ready after %.0f s. %s",
            color,
            ready,
            wanted,
            elapsed,
            self._reason,
            extra={"figure": f"{color} {ready}/{wanted} ready, {elapsed:.0f} s"},
        )

    def failure(self, elapsed: float) -> DeployError:
        lines, trouble = "", self._trouble
        if trouble:
            lines = last_lines(
                self.connection,
                self.namespace,
                trouble.name,
                trouble.crashed or "server",
            )
        return DeployError(
            f"{self.release.color}: release {self.release.release_id} is not ready after"
            f" {elapsed:.0f} s ({len(self._ready)} of {self._wanted} pods of {self._name})."
            f" {self._reason or 'Its pods are still loading the model.'}{lines}"
        )

    @property
    def _ready(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.ready]

    @property
    def _name(self) -> str:
        return str(self.deployment["metadata"]["name"])

    @property
    def _wanted(self) -> int:
        return int(self.deployment["spec"]["replicas"])

    @property
    def _paused(self) -> bool:
        return bool(self.deployment["spec"].get("paused"))

    def _pause(self, paused: bool) -> None:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self._name}"
        self.connection.merge(path, {"spec": {"paused": paused}})

    @property
    def _trouble(self) -> Pod | None:
        """The pod whose trouble says most."""
        troubled = [pod for pod in self.pods if pod.trouble]
        return min(troubled, key=lambda pod: not pod.hopeless) if troubled else None

    @property
    def _reason(self) -> str:
        trouble = self._trouble
        return f"{trouble.name}: {trouble.trouble}" if trouble else _refusal(self.deployment)


def _refusal(deployment: Json) -> str:
    """Why the cluster makes no pods, such as a quota or an admission policy; empty when it does."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"The cluster refuses its pods: {condition.get('message', '')}"
    return ""
