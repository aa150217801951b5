"""SIGKILL of the runner at each named point, then the same command again: the end is the one that
an undisturbed run has.
"""

from typing import get_args

import pytest

from greenlight.core.records import Promotion
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.log_points import Point
from tests.rollout.stage import Stage, decision_on


def points(action: str) -> list[str]:
    return [point for point in get_args(Point) if point.startswith(f"{action}.")]


def assert_one_process_a_color(stage: Stage) -> None:
    """Nothing that was half started is left, and every recorded process runs."""
    state = stage.target.read()
    for color in ("blue", "green"):
        held = state.slot(color)
        assert stage.target.running(color) == (held.instances if held else [])
    assert len(stage.target.processes.find("proxy")) == 1
    assert state.switch is None


@pytest.mark.parametrize("point", points("deploy_green"))
def test_deploy_green(stage: Stage, point: str) -> None:
    stage.killed(point, "deploy_green")
    half_started = {process.pid for process in stage.processes()}
    deployment = stage.deploy()
    state = stage.target.read()
    assert (state.live, state.live_release, state.green) == (
        "blue",
        deployment.live,
        deployment.candidate,
    )
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert_one_process_a_color(stage)
    if point == "deploy_green.recorded":
        assert {
            deployment.candidate.instances[0].pid,
            deployment.live.instances[0].pid,
        } <= half_started, "taken as they are"
    if point == "deploy_green.started":
        assert {deployment.candidate.instances[0].pid, deployment.live.instances[0].pid}.isdisjoint(
            half_started
        )


def promoted_after_a_kill(stage: Stage, point: str, again: str) -> Promotion | None:
    decision = decision_on(stage.deploy(), bake_seconds=0.5)
    stage.killed(point, "promote", stage.save(decision))
    return (
        bluegreen.promote(stage.target, decision, "again")
        if again == "promote"
        else lifecycle.recover(stage.target)
    )


@pytest.mark.parametrize("point", points("promote"))
def test_promote(stage: Stage, point: str) -> None:
    promotion = promoted_after_a_kill(stage, point, "promote")
    assert promotion and promotion.outcome == (
        "already_live" if point == "promote.settled" else "promoted"
    )
    state = stage.target.read()
    assert (state.live, promotion.live) == ("green", state.green)
    assert state.previous == state.blue
    assert [event.what for event in state.history].count("promoted") == 1
    assert stage.target.ask_stable("Hello", 4).color == "green"
    assert_one_process_a_color(stage)


@pytest.mark.parametrize(
    ("point", "moved"),
    [
        ("promote.checked", False),
        ("promote.intended", False),
        ("promote.switched", True),
        ("promote.baking", True),
    ],
)
def test_recover_finishes_a_promotion_whose_traffic_moved_and_forgets_one_whose_did_not(
    stage: Stage, point: str, moved: bool
) -> None:
    promotion = promoted_after_a_kill(stage, point, "recover")
    assert (promotion is not None and promotion.outcome == "promoted") == moved
    assert stage.target.ask_stable("Hello", 4).color == ("green" if moved else "blue")
    assert_one_process_a_color(stage)
    assert lifecycle.recover(stage.target) is None


def test_recover_goes_back_when_the_new_color_does_badly(stage: Stage) -> None:
    decision = decision_on(stage.deploy(), bake_seconds=0.5)
    stage.killed("promote.verified", "promote", stage.save(decision))
    (stage.candidate / "sick").touch()
    promotion = lifecycle.recover(stage.target)
    assert promotion and promotion.outcome == "rolled_back"
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert bluegreen.promote(stage.target, decision).outcome == "rolled_back"


def test_recover_goes_back_when_what_was_measured_is_gone(stage: Stage) -> None:
    """As after a restart of the machine in the middle of a bake."""
    decision = decision_on(stage.deploy())
    stage.killed("promote.switched", "promote", stage.save(decision))
    stage.close()
    promotion = lifecycle.recover(stage.target)
    assert (
        promotion
        and promotion.outcome == "rolled_back"
        and "do not run any more" in promotion.reason
    )
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert stage.target.read().switch is None


def test_recover_is_not_stuck_when_neither_color_can_come_back(stage: Stage) -> None:
    decision = decision_on(stage.deploy())
    stage.killed("promote.switched", "promote", stage.save(decision))
    stage.close()
    for folder in (stage.baseline, stage.candidate):
        folder.rename(stage.folder / f"{folder.name}-moved")
    assert lifecycle.recover(stage.target) is None
    (stage.folder / "baseline-moved").rename(stage.baseline)
    deployment = stage.deploy(stage.another_candidate("next"))
    assert deployment.live.method == "none"
    assert_one_process_a_color(stage)


def test_recover_finishes_a_rollback_after_a_restart_of_the_machine(stage: Stage) -> None:
    stage.promoted()
    stage.killed("rollback.switched", "rollback")
    stage.close()
    promotion = lifecycle.recover(stage.target)
    assert promotion and promotion.outcome == "rolled_back" and not promotion.reason
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert stage.target.running("green") == []


@pytest.mark.parametrize("point", [*points("rollback"), *points("restart")])
def test_rollback(stage: Stage, point: str) -> None:
    stage.promoted()
    if point in points("restart"):
        stage.target.stop("blue")
    stage.killed(point, "rollback")
    promotion = bluegreen.rollback(stage.target)
    assert promotion.outcome == ("already_live" if point == "rollback.settled" else "rolled_back")
    state = stage.target.read()
    assert (state.live, state.live_release, state.previous) == ("blue", promotion.live, None)
    assert [event.what for event in state.history].count("rollback") == 1
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert_one_process_a_color(stage)


@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("promote.intended", "already_live"),
        ("promote.switched", "rolled_back"),
        ("promote.baked", "rolled_back"),
    ],
)
def test_rollback_after_a_killed_promotion_takes_back_that_and_no_more(
    stage: Stage, point: str, outcome: str
) -> None:
    decision = decision_on(stage.deploy())
    stage.killed(point, "promote", stage.save(decision))
    assert bluegreen.rollback(stage.target).outcome == outcome
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    assert_one_process_a_color(stage)


@pytest.mark.parametrize("point", points("retire"))
def test_retire(stage: Stage, point: str) -> None:
    decision = decision_on(stage.deploy(), verdict="reject")
    stage.killed(point, "retire", stage.save(decision))
    assert bluegreen.retire(stage.target, decision.deployment.candidate).outcome == "retired"
    state = stage.target.read()
    assert (state.live, state.green) == ("blue", None)
    assert [event.what for event in state.history].count("retired") == 1
    assert_one_process_a_color(stage)
