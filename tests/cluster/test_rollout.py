"""The rollout on a real cluster: with the shipped manifests, real servers in its pods, and a
bucket.
"""

from pathlib import Path

import pytest

from greenlight.core.errors import ConflictError, DeployError, GreenlightError, InputError
from greenlight.rollout import bluegreen
from greenlight.rollout.kubernetes.target import KubernetesTarget
from greenlight.rollout.status import read_status
from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.stage import SERVICE, Stage
from tests.rollout.stage import decision_on
from tests.serving.conftest import openvino_model  # noqa: F401


def live_color(stage: Stage) -> str:
    return str(stage.get(f"api/v1/{{ns}}/services/{SERVICE}")["spec"]["selector"]["version"])


def test_a_release_goes_live_is_promoted_and_rolled_back(
    stage: Stage, openvino_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = stage.target
    target.check()
    baseline, candidate = (
        stage.artifact(openvino_model, "one", "baseline"),
        stage.artifact(openvino_model, "two"),
    )
    deployment = stage.deploy(candidate, baseline)
    assert (deployment.live.color, deployment.candidate.color, live_color(stage)) == (
        "blue",
        "green",
        "blue",
    )
    assert deployment.candidate.engine == "openvino"
    assert target.ask_stable("Hello", 4).color == "blue"
    measured = {instance.name for instance in deployment.candidate.instances}

    again = stage.deploy(candidate, baseline)
    assert again.candidate == deployment.candidate.model_copy(
        update={"model_uri": again.candidate.model_uri}
    )

    promotion = bluegreen.promote(target, decision_on(deployment, bake_seconds=2), "run-1")
    assert promotion.outcome == "promoted" and live_color(stage) == "green"
    assert target.ask_stable("Hello", 4).color == "green"
    assert {pod.name for pod in target._pods("green")} == measured, "promotion restarts nothing"
    assert (
        bluegreen.promote(target, decision_on(deployment, bake_seconds=2), "run-1").outcome
        == "already_live"
    )

    service = stage.get(f"api/v1/{{ns}}/services/{SERVICE}")
    assert (
        service["metadata"]["annotations"]["greenlight.dev/live-release"]
        == deployment.candidate.release_id
    )
    reasons = {
        event["reason"]
        for event in stage.get("api/v1/{ns}/events")["items"]
        if event["involvedObject"]["name"] == SERVICE
    }
    assert {"WentLive", "Deployed", "Promoted"} <= reasons
    assert stage.get(f"apis/apps/v1/{{ns}}/deployments/{SERVICE}-green")["spec"]["paused"] is True

    with monkeypatch.context() as without_bucket:
        without_bucket.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
        assert bluegreen.rollback(target).outcome == "rolled_back" and live_color(stage) == "blue"
    assert target.ask_stable("Hello", 4).color == "blue"
    retired = bluegreen.retire(target, deployment.candidate)
    assert retired.outcome == "retired" and target.running("green") == []
    status = read_status(target)
    assert status.live == "blue" and status.endpoint_open and status.holder is None


def test_pods_that_were_replaced_are_validated_and_those_of_another_build_are_not_promoted(
    stage: Stage, openvino_model: Path
) -> None:
    target = stage.target
    deployment = stage.deploy(
        stage.artifact(openvino_model, "two"), stage.artifact(openvino_model, "one", "baseline")
    )
    (measured,) = deployment.candidate.instances
    stage.admin.delete(f"/api/v1/namespaces/{stage.namespace}/pods/{measured.name}")
    stage.admin.merge(
        f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{SERVICE}-blue/scale",
        {"spec": {"replicas": 2}},
    )
    wait_until(
        lambda: sum(target.is_ready(pod) for pod in target.running("blue")) == 2,
        "a second pod of live that is ready",
        120,
    )
    scalers = f"/apis/autoscaling/v2/namespaces/{stage.namespace}/horizontalpodautoscalers"
    stage.admin.merge(f"{scalers}/{SERVICE}-blue", {"spec": {"maxReplicas": 7}})
    promotion = bluegreen.promote(target, decision_on(deployment), "run-1")
    assert promotion.outcome == "promoted"
    bounds = {
        color: [
            stage.admin.get(f"{scalers}/{SERVICE}-{color}")["spec"][key]
            for key in ("minReplicas", "maxReplicas")
        ]
        for color in ("blue", "green")
    }
    assert bounds == {"green": [1, 7], "blue": [2, 7]}, (
        "the bounds are handed over, and the old color is held at its size while it is warm"
    )
    assert measured.name not in {instance.name for instance in promotion.live.instances}
    assert len(promotion.live.instances) == 2, "as many as live had"

    other = stage.deploy(
        stage.artifact(openvino_model, "three"),
        stage.artifact(openvino_model, "one", "baseline"),
        "run-2",
    )
    template = {
        "spec": {"paused": False, "template": {"metadata": {"annotations": {"edited": "by hand"}}}}
    }
    stage.admin.merge(
        f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{SERVICE}-blue", template
    )
    wait_until(
        lambda: other.candidate.instances[0].name not in {pod.name for pod in target._pods("blue")},
        "the pods of the edited template",
        120,
    )
    with pytest.raises(ConflictError, match="another build"):
        bluegreen.promote(target, decision_on(other), "run-2")
    assert live_color(stage) == "green"


def test_a_release_that_does_not_come_up_is_named_with_its_reason_and_leaves_live_alone(
    stage: Stage, openvino_model: Path
) -> None:
    good = stage.artifact(openvino_model, "one", "baseline")
    stage.deploy(stage.artifact(openvino_model, "two"), good)
    broken = stage.artifact(openvino_model, "broken")
    stage.bucket.blob("models/broken/model/openvino_model.bin").upload_from_string(b"truncated")
    with pytest.raises(DeployError, match=r"(?s)fetch crashes.*openvino_model.bin"):
        stage.deploy(broken, good, "run-2")
    assert live_color(stage) == "blue" and stage.target.running("green") == []

    name = f"{SERVICE}-green"
    patch = {
        "spec": {
            "template": {"spec": {"containers": [{"name": "server", "image": "localhost/none:1"}]}}
        }
    }
    stage.admin.call(
        "PATCH", f"{stage.target.apps}/{name}", patch, "application/strategic-merge-patch+json"
    )  # fmt: skip
    with pytest.raises(DeployError, match="ErrImageNeverPull"):
        stage.deploy(stage.artifact(openvino_model, "four"), good, "run-3")
    assert live_color(stage) == "blue" and stage.target.ask_stable("Hello", 4).color == "blue"


def test_what_is_missing_is_named(
    inside: Cluster, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GreenlightError, match=r"403 to GET .*nothing-here"):
        KubernetesTarget(
            "nothing-here", namespace
        ).check()  # the pipeline's account may not even know
    monkeypatch.setenv("KUBECONFIG", str(inside.kubeconfig))
    with pytest.raises(InputError, match="nothing-here"):
        KubernetesTarget("nothing-here", namespace).check()
    with pytest.raises(InputError, match="no-such-context"):
        KubernetesTarget(SERVICE, namespace, "no-such-context").check()


def test_one_works_at_a_time(stage: Stage) -> None:
    other = KubernetesTarget(SERVICE, stage.namespace, "", stage.target.timings)
    with stage.target.lease("run-1", "promote"):
        assert other.holder() and other.holder().run_id == "run-1"  # type: ignore[union-attr]
        with pytest.raises(ConflictError, match="run run-1"), other.lease("run-2", "promote"):
            pass
    with other.lease("run-2", "promote"):
        pass
    assert other.holder() is None


def test_applying_the_manifests_again_moves_and_restarts_nothing(
    stage: Stage, openvino_model: Path
) -> None:
    deployment = stage.deploy(
        stage.artifact(openvino_model, "two"), stage.artifact(openvino_model, "one", "baseline")
    )
    bluegreen.promote(stage.target, decision_on(deployment, bake_seconds=0))
    before = {pod.name for color in ("blue", "green") for pod in stage.target._pods(color)}  # type: ignore[arg-type]
    stage.install()
    assert live_color(stage) == "green"
    assert {pod.name for color in ("blue", "green") for pod in stage.target._pods(color)} == before  # type: ignore[arg-type]


def test_the_pipelines_account_may_do_nothing_else(stage: Stage) -> None:
    """What it must be able to do, every other test here does with it."""
    own, other = f"/api/v1/namespaces/{stage.namespace}", "/api/v1/namespaces/default"
    stage.admin.create(
        f"{own}/secrets",
        {"metadata": {"name": "llm-inference-keys"}, "stringData": {"API_KEYS": "k"}},
    )
    refused = [
        ("GET", f"{own}/secrets/llm-inference-keys"),
        ("GET", f"{own}/secrets"),
        ("GET", f"{own}/configmaps"),
        ("GET", f"{other}/pods"),
        ("GET", f"{other}/services"),
        ("GET", "/api/v1/namespaces"),
        ("GET", "/api/v1/nodes"),
        ("DELETE", f"/api/v1/namespaces/{stage.namespace}"),
        ("DELETE", f"{own}/services/{SERVICE}"),
        ("DELETE", f"{stage.target.apps}/{SERVICE}-blue"),
        ("PATCH", f"{own}/services/{SERVICE}-blue-svc"),
        ("POST", f"{own}/pods"),
        ("POST", f"{own}/serviceaccounts/default/token"),
        ("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{stage.namespace}/roles"),
    ]
    for method, path in refused:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        status, text, _ = stage.target.connection.once(
            method, path, None if method == "GET" else {}, kind
        )
        assert status == 403, f"{method} {path} was answered {status}: {text[:200]}"


def test_the_schedule_in_the_cluster_finishes_a_dead_run_and_scales_down_the_old_color(
    stage: Stage, openvino_model: Path
) -> None:
    """The CronJob `recover`, as a pod with its own account and token."""
    target = stage.target
    deployment = stage.deploy(
        stage.artifact(openvino_model, "two"), stage.artifact(openvino_model, "one", "baseline")
    )
    decision_on(deployment, bake_seconds=1).model_copy(update={"keep_warm_seconds": 0.0}).save(
        stage.kubeconfig.parent / "decision"
    )
    stage.killed("promote.switched", "promote", str(stage.kubeconfig.parent / "decision"))
    assert target.read().switch

    def recover(name: str) -> None:
        template = stage.get(f"apis/batch/v1/{{ns}}/cronjobs/{SERVICE}-recover")["spec"][
            "jobTemplate"
        ]
        stage.admin.create(
            f"/apis/batch/v1/namespaces/{stage.namespace}/jobs",
            {"metadata": {"name": name}, "spec": template["spec"]},
        )
        wait_until(
            lambda: bool(stage.get(f"apis/batch/v1/{{ns}}/jobs/{name}")["status"].get("succeeded")),
            f"Job {name}",
            120,
        )

    recover("first")
    state = target.read()
    assert (state.switch, state.live, state.history[-1].what) == (None, "green", "scaled_down")
    assert target.running("blue") == [] and target.ask_stable("Hello", 4).color == "green"
    assert bluegreen.rollback(target).live.color == "blue", "it is brought up again"
    assert target.ask_stable("Hello", 4).color == "blue"
