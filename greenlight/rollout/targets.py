"""The targets by name."""

from greenlight.core.errors import InputError
from greenlight.rollout.target import Target

TARGETS = ("local", "kubernetes", "kubernetes:CONTEXT", "projects/P/locations/L/clusters/C")


def open_target(target: str, service: str, namespace: str, home: str, port: int) -> Target:
    """The target of that name. Cheap: reads and starts nothing.

    Args:
        home: folder of the local target's state.
        port: of the stable endpoint on the local target; 0: the one it was opened with.

    Raises:
        InputError: there is no such target.
    """
    if target == "local":
        from greenlight.rollout.local.target import LocalTarget

        return LocalTarget(service, namespace, home, port)
    kind, _, cluster = target.partition(":")
    if kind == "kubernetes" or target.startswith("projects/"):
        from greenlight.rollout.kubernetes.target import KubernetesTarget

        return KubernetesTarget(
            service, namespace, target if target.startswith("projects/") else cluster
        )
    raise InputError("target", target, f"use one of: {', '.join(TARGETS)}")
