"""The component deploy_green, over quick servers."""

import json

import pytest

from greenlight.core.records import Deployment, Evaluation, Golden
from tests.rollout.conftest import stage
from tests.rollout.stage import Stage

__all__ = ["stage"]


@pytest.fixture(autouse=True)
def evaluation(stage: Stage) -> Evaluation:
    """As quick servers answer."""
    record = Evaluation(
        baseline_digest="b1",
        candidate_digest="c4",
        documents=1,
        tokens=1,
        metrics={},
        golden=[Golden(prompt="Say a word.", tokens=3, text=" word word word")],
    )
    record.save(stage.folder / "evaluation")
    return record


def test_leaves_the_deployment_as_artifact_and_in_the_history(
    stage: Stage, evaluation: Evaluation
) -> None:
    done = stage.run_component("deploy_green")
    assert done.returncode == 0, done.stdout + done.stderr
    deployment = Deployment.load(stage.folder / "release")
    assert (deployment.live.color, deployment.candidate.color) == ("blue", "green")
    assert stage.target.is_healthy(deployment.candidate) and stage.target.is_healthy(
        deployment.live
    ), "they outlive the step"
    assert deployment.candidate.fingerprint == "f1" and deployment.candidate.engine == "quick"
    assert (
        Deployment.model_validate_json(
            (stage.folder / "history" / "run-1" / "deploy_green.json").read_text()
        )
        == deployment
    )
    assert deployment.golden == evaluation.golden
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "started" and events[-1]["event"] == "finished"
    assert "live" in events[-1]["figure"]


def test_a_failure_is_one_clear_line_and_leaves_nothing(stage: Stage) -> None:
    (stage.candidate / "fails_to_start").touch()
    done = stage.run_component("deploy_green")
    assert done.returncode == 1
    failed = json.loads(done.stdout.splitlines()[-1])
    assert failed["event"] == "failed" and "the weights are of another shape" in failed["message"]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (stage.folder / "release").exists()
    assert stage.target.running("green") == []
    assert stage.target.ask_stable("Hello", 2).color == "blue", (
        "the baseline is live, as the first run wants it"
    )


def test_a_server_that_answers_otherwise_than_the_candidate_did_is_not_left(
    stage: Stage, evaluation: Evaluation
) -> None:
    golden = [*evaluation.golden, Golden(prompt="Say another.", tokens=2, text=" another")]
    evaluation.model_copy(update={"golden": golden}).save(stage.folder / "evaluation")
    done = stage.run_component("deploy_green")
    assert done.returncode == 1
    failed = json.loads(done.stdout.splitlines()[-1])
    assert (
        "does not serve what was evaluated: it answers 1 of 2 golden prompts differently (to 'Say"
        " another.' it says 'word word " in failed["message"]
    )
    assert stage.target.running("green") == []
    assert stage.target.ask_stable("Hello", 2).color == "blue"
