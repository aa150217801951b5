"""The HorizontalPodAutoscalers of the two colors: their bounds go with the traffic."""

from greenlight.core.records import Color
from greenlight.rollout.kubernetes.connection import Connection
from greenlight.rollout.kubernetes.pods import owner
from greenlight.rollout.kubernetes.store import PREFIX

MIN_REPLICAS = f"{PREFIX}/min-replicas"
"""Annotation of an autoscaler that holds a warm color at its size: its earlier bound."""


class Autoscalers:
    """A color without an autoscaler is left alone."""

    def __init__(self, connection: Connection, service: str, namespace: str) -> None:
        self.connection, self.service = connection, service
        self.path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"

    def hand_over(self, color: Color, live: Color, live_pods: int) -> None:
        """Give the bounds of live's autoscaler to that of `color`, which is next. Live's own holds
        it at its size from now on: it must not shrink while warm.
        """
        theirs, ours = (self.connection.find(self._of(one)) for one in (live, color))
        if not theirs or not ours:
            return
        low = int(
            theirs["metadata"].get("annotations", {}).get(MIN_REPLICAS)
            or theirs["spec"].get("minReplicas", 1)
        )
        held = max(low, min(live_pods, theirs["spec"]["maxReplicas"]))
        for one, found, least, kept in ((color, ours, low, None), (live, theirs, held, str(low))):
            spec = {"minReplicas": least, "maxReplicas": theirs["spec"]["maxReplicas"]}
            if any(found["spec"].get(key) != value for key, value in spec.items()):
                metadata = {"annotations": {MIN_REPLICAS: kept}}
                self.connection.merge(self._of(one), {"metadata": metadata, "spec": spec})

    def release(self, color: Color) -> None:
        """Take back the hold on a color that need not be warm any more."""
        found = self.connection.find(self._of(color))
        if found and (low := found["metadata"].get("annotations", {}).get(MIN_REPLICAS)):
            metadata = {"annotations": {MIN_REPLICAS: None}}
            spec = {"minReplicas": int(low)}
            self.connection.merge(self._of(color), {"metadata": metadata, "spec": spec})

    def _of(self, color: Color) -> str:
        return f"{self.path}/{owner(color, self.service)}"
