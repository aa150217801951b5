"""A streaming load on the stable endpoint sees no failed request and no cut stream, whatever moves
underneath.
"""

import time

import pytest

from greenlight.rollout import bluegreen, lifecycle
from tests.rollout.stage import Load, Stage, decision_on


def assert_whole(result: dict, at_least: int) -> None:
    assert (result["failed"], result["cut"]) == (0, 0), result
    assert result["whole"] == result["requests"] >= at_least


@pytest.mark.parametrize("connections", ["keepalive", "new"])
def test_promote_rollback_and_retire_under_load(stage: Stage, connections: str) -> None:
    deployment = stage.deploy()
    with Load(stage, connections) as load:
        bluegreen.promote(stage.target, decision_on(deployment, bake_seconds=1), "run-1")
        promoted = time.time()
        time.sleep(1)
        back = time.time()
        bluegreen.rollback(stage.target)
        rolled_back = time.time()
        time.sleep(0.5)
        bluegreen.retire(stage.target, deployment.candidate)
        time.sleep(0.5)
        result = load.stop()
    assert_whole(result, at_least=50)
    # Requests that began after the switch was done are on the new color, kept-alive connections
    # too.
    assert {color for sent, color in result["order"] if promoted < sent < back} == {"green"}
    assert {color for sent, color in result["order"] if sent > rolled_back} == {"blue"}


def test_a_switch_is_there_for_the_very_next_request(stage: Stage) -> None:
    stage.promoted()
    state = stage.target.read()
    for turn in range(60):
        color = "blue" if turn % 2 == 0 else "green"
        state = stage.target.commit(state.having(live=color))
        assert stage.target.ask_stable("Hello", 1).color == color


def test_the_runner_is_killed_at_the_switch_under_load(stage: Stage) -> None:
    decision = decision_on(stage.deploy())
    with Load(stage, "keepalive") as load:
        stage.killed("promote.switched", "promote", stage.save(decision))
        lifecycle.recover(stage.target)
        assert_whole(load.stop(), at_least=20)


def test_one_dead_process_of_two_costs_no_request(stage: Stage) -> None:
    deployment = stage.deploy(replicas=2)
    stage.target.processes.find("blue")[0].process.kill()
    for _ in range(6):
        assert stage.target.ask_stable("Hello", 1).release_id == deployment.live.release_id
