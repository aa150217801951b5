"""Waiting for pods, from what the API server says about them at each look."""

from typing import Any

import pytest

from greenlight.core.errors import DeployError
from greenlight.core.records import Instance, Release
from greenlight.rollout.kubernetes.pod_wait import STRAGGLER_S, PodWait
from greenlight.rollout.kubernetes.pods import Pod

RELEASE = Release(
    release_id="r1", color="green", service="llm", model_uri="gs://b/m", digest="d", source="s",
    commit="c", method="none", bits=16, engine="auto", replicas=2,
)  # fmt: skip


def pod(name: str, ready: bool = True, release_id: str = "r1", **trouble: Any) -> Pod:
    return Pod(name, release_id, Instance(name=name, url=f"http://{name}"), ready, **trouble)


class Cluster:
    """What the API server says, and what it was told to change."""

    def __init__(self, *pods: Pod) -> None:
        self.pods = list(pods)
        self.behind = {pod.name for pod in pods}
        self.deployment: dict[str, Any] = {
            "metadata": {"name": "llm-green", "generation": 3},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": 3},
        }
        self.merged: list[tuple[str, dict[str, Any]]] = []
        self.wait = PodWait(
            self,  # type: ignore[arg-type]
            "prod",
            RELEASE,
            deployment=lambda: self.deployment,
            pods=lambda: self.pods,
            behind=lambda: self.behind,
        )

    def merge(self, path: str, body: dict[str, Any]) -> None:
        self.merged.append((path, body))

    def text(self, method: str, path: str, query: dict[str, str]) -> str:
        return "out of memory" if query["previous"] == "true" else ""


def test_ready_pods_are_the_instances_and_the_deployment_is_paused() -> None:
    cluster = Cluster(pod("a"), pod("b"), pod("old", release_id="r0"))
    found = cluster.wait.look(1.0)
    assert found and [instance.name for instance in found.instances] == ["a", "b"]
    path = "/apis/apps/v1/namespaces/prod/deployments/llm-green"
    assert cluster.merged == [(path, {"spec": {"paused": True}})]
    cluster.deployment["spec"]["paused"] = True
    assert cluster.wait.look(2.0) == found and len(cluster.merged) == 1


def test_what_is_not_enough_yet() -> None:
    assert Cluster(pod("a"), pod("b", ready=False)).wait.look(1.0) is None
    unseen = Cluster(pod("a"), pod("b"))
    unseen.deployment["status"]["observedGeneration"] = 2
    assert unseen.wait.look(1.0) is None
    unconnected = Cluster(pod("a"), pod("b"))
    unconnected.behind = {"a"}
    assert unconnected.wait.look(1.0) is None
    assert not unseen.merged and not unconnected.merged


def test_a_pod_beyond_those_wanted_is_waited_for_a_while() -> None:
    cluster = Cluster(pod("a"), pod("b"), pod("c", ready=False))
    assert cluster.wait.look(STRAGGLER_S - 1) is None
    found = cluster.wait.look(STRAGGLER_S + 1)
    assert found and [instance.name for instance in found.instances] == ["a", "b"]


def test_a_paused_deployment_without_pods_goes_on() -> None:
    cluster = Cluster()
    cluster.deployment["spec"]["paused"] = True
    assert cluster.wait.look(1.0) is None
    assert [body for _, body in cluster.merged] == [{"spec": {"paused": False}}]


def test_hopeless_trouble_ends_the_wait_and_says_why() -> None:
    trouble: dict[str, Any] = {
        "trouble": "server crashes (OOMKilled)",
        "hopeless": True,
        "crashed": "server",
    }
    cluster = Cluster(pod("a"), pod("b", ready=False, **trouble))
    with pytest.raises(DeployError) as error:
        cluster.wait.look(7.0)
    said = str(error.value)
    assert "release r1 is not ready after 7 s (1 of 2 pods of llm-green)" in said
    assert "b: server crashes (OOMKilled)" in said and "out of memory" in said


def test_a_cluster_that_makes_no_pods_is_named() -> None:
    cluster = Cluster()
    cluster.deployment["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    ]
    assert cluster.wait.look(1.0) is None
    assert "refuses its pods: exceeded quota" in str(cluster.wait.failure(5.0))
