"""What a person does without a pipeline: put a model up, switch, and what a schedule does for those
who forgot.
"""

from datetime import timedelta

import pytest

from greenlight.core.errors import DeployError, GreenlightError
from greenlight.core.records import Release, utc_now
from greenlight.rollout import bluegreen, by_hand, lifecycle
from greenlight.rollout.releases import Source
from tests.rollout.stage import PROMPTS, Stage, decision_on


def deploy(stage: Stage, content: str, **settings: bool) -> Release:
    folder = stage.another_candidate(content)
    source = Source(folder, str(folder))
    return by_hand.deploy(
        stage.target,
        source,
        run_id=content,
        engine="quick",
        replicas=1,
        prompts=PROMPTS,
        **settings,
    )


def test_the_first_model_becomes_live_and_the_next_waits_beside_it(stage: Stage) -> None:
    first = deploy(stage, "first")
    assert (first.color, stage.target.read().live) == ("blue", "blue")
    second = deploy(stage, "second")
    assert (second.color, stage.target.read().live) == ("green", "blue")
    assert deploy(stage, "second-again").color == "green", "the idle color makes way"
    assert stage.target.ask_stable("Hello", 4).color == "blue"


def test_a_model_that_does_not_answer_is_refused_unless_nobody_asks(stage: Stage) -> None:
    deploy(stage, "first")
    (stage.another_candidate("sick") / "sick").touch()
    source = Source(stage.folder / "sick", str(stage.folder / "sick"))
    with pytest.raises(DeployError):
        by_hand.deploy(
            stage.target, source, run_id="r", engine="quick", replicas=1, prompts=PROMPTS
        )
    assert stage.target.running("green") == [] and stage.target.read().green is None
    assert (
        by_hand.deploy(
            stage.target,
            source,
            run_id="r",
            engine="quick",
            replicas=1,
            prompts=PROMPTS,
            test=False,
        ).color
        == "green"
    )


def test_a_switch_there_and_back(stage: Stage) -> None:
    first, second = deploy(stage, "first"), deploy(stage, "second")
    promotion = by_hand.switch(stage.target, "green")
    assert (promotion.outcome, promotion.live.release_id) == ("promoted", second.release_id)
    assert stage.target.ask_stable("Hello", 4).color == "green"
    assert by_hand.switch(stage.target, "green").outcome == "already_live"
    assert by_hand.switch(stage.target, "blue").live.release_id == first.release_id
    assert stage.target.ask_stable("Hello", 4).color == "blue"


def test_a_switch_to_nothing_moves_nothing(stage: Stage) -> None:
    deploy(stage, "first")
    with pytest.raises(GreenlightError, match="green holds no release"):
        by_hand.switch(stage.target, "green")
    assert stage.target.ask_stable("Hello", 4).color == "blue"


def test_the_old_color_is_scaled_down_when_it_was_kept_warm_long_enough(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the local target idle processes stay; a cluster's target scales them to zero. What decides
    about the time is the same.
    """
    scaled: list[str] = []
    monkeypatch.setattr(stage.target, "scale_down", scaled.append)
    decision = decision_on(stage.deploy(), bake_seconds=0).model_copy(
        update={"keep_warm_seconds": 600.0}
    )
    bluegreen.promote(stage.target, decision)
    state = stage.target.read()
    assert state.warm_until and timedelta(seconds=590) < state.warm_until - utc_now() <= timedelta(
        seconds=600
    )
    lifecycle.recover(stage.target)
    assert scaled == []
    stage.target.commit(stage.target.read().having(warm_until=utc_now() - timedelta(seconds=1)))
    lifecycle.recover(stage.target)
    lifecycle.recover(stage.target)
    assert scaled == ["blue"]
    assert stage.target.read().history[-1].what == "scaled_down"
    assert bluegreen.rollback(stage.target).live.color == "blue", (
        "a rollback is as possible as before"
    )


def test_a_candidate_under_test_is_not_scaled_down(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stage.target, "scale_down", lambda color: pytest.fail(f"{color} was scaled down")
    )
    bluegreen.promote(
        stage.target,
        decision_on(stage.deploy(), bake_seconds=0).model_copy(update={"keep_warm_seconds": 0.0}),
    )
    stage.deploy(stage.another_candidate("next"), "run-2")
    lifecycle.recover(stage.target)
