"""The components promote and retire, over quick servers."""

import json

from greenlight.core.records import Promotion
from tests.rollout.conftest import stage
from tests.rollout.stage import Stage, decision_on

__all__ = ["stage"]


def test_promote(stage: Stage) -> None:
    stage.save(decision_on(stage.deploy()))
    done = stage.run_component("promote")
    assert done.returncode == 0, done.stdout + done.stderr
    promotion = Promotion.load(stage.folder / "promotion")
    assert promotion.outcome == "promoted" and promotion.live.color == "green"
    assert (stage.folder / "history" / "run-1" / "promote.json").is_file()
    assert json.loads(done.stdout.splitlines()[-1])["figure"].startswith("promoted: bnb8-")
    assert stage.target.ask_stable("Hello", 2).color == "green"


def test_promote_of_a_rejected_candidate_fails(stage: Stage) -> None:
    stage.save(decision_on(stage.deploy(), verdict="reject"))
    done = stage.run_component("promote")
    assert done.returncode == 1 and "only the verdict promote moves traffic" in done.stdout
    assert stage.target.ask_stable("Hello", 2).color == "blue"


def test_retire(stage: Stage) -> None:
    stage.save(decision_on(stage.deploy(), verdict="reject"))
    done = stage.run_component("retire")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Promotion.load(stage.folder / "promotion").outcome == "retired"
    figure = json.loads(done.stdout.splitlines()[-1])["figure"]
    assert figure.endswith(" stays live on blue")
    assert stage.target.running("green") == []
    assert stage.target.ask_stable("Hello", 2).color == "blue"
