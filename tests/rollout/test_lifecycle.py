"""Down and recover, sleep and wake, on real servers: nothing runs in between."""

import pytest

from greenlight.core.errors import ConflictError, GreenlightError
from greenlight.core.records import utc_now
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.status import read_status
from tests.rollout.stage import Stage, assert_serving


def test_recovery_leaves_it_asleep_and_wake_serves_again(stage: Stage) -> None:
    promoted = stage.promoted()
    assert lifecycle.sleep(stage.target).release_id == promoted.live.release_id
    assert stage.processes() == []
    status = read_status(stage.target)
    assert status.asleep_since and not status.endpoint_open and status.events[0].what == "asleep"
    assert lifecycle.recover(stage.target) is None
    assert stage.processes() == [], "the schedule in a cluster must not bring it up"
    assert lifecycle.sleep(stage.target).release_id == promoted.live.release_id
    assert read_status(stage.target).asleep_since == status.asleep_since
    assert lifecycle.wake(stage.target).color == "green"
    assert_serving(stage, "green", promoted.live.digest)
    assert read_status(stage.target).asleep_since is None
    assert lifecycle.wake(stage.target).color == "green", "twice is once"


def test_it_does_not_fight_a_rollout(stage: Stage) -> None:
    stage.deploy()
    with pytest.raises(ConflictError, match="waits for its verdict"):
        lifecycle.sleep(stage.target)
    with stage.target.lease("run-9", "promote"), pytest.raises(ConflictError, match="run-9"):
        lifecycle.sleep(stage.target)
    assert read_status(stage.target).asleep_since is None and all(
        color.ready for color in read_status(stage.target).colors
    )


def test_a_run_wakes_it(stage: Stage) -> None:
    stage.promoted()
    lifecycle.sleep(stage.target)
    deployment = stage.deploy()
    assert deployment.live.color == "green" and read_status(stage.target).asleep_since is None
    assert_serving(stage, "green", deployment.live.digest)


def test_killed_half_way_it_goes_to_sleep_the_next_time(stage: Stage) -> None:
    promoted = stage.promoted()
    stage.target.commit(stage.target.read().having(asleep_since=utc_now()))
    lifecycle.sleep(stage.target)
    assert stage.processes() == []
    assert lifecycle.wake(stage.target).release_id == promoted.live.release_id


def test_nothing_to_put_to_sleep_or_wake(stage: Stage) -> None:
    for act in (lifecycle.sleep, lifecycle.wake):
        with pytest.raises(GreenlightError, match="has no live release"):
            act(stage.target)


class TestDown:
    def test_stops_everything_and_remembers(self, stage: Stage) -> None:
        promoted = stage.promoted()
        lifecycle.down(stage.target)
        assert stage.processes() == []
        status = read_status(stage.target)
        assert (status.live, status.endpoint_open, status.events[0].what) == (
            "green",
            False,
            "down",
        )
        assert not any(color.ready for color in status.colors)
        lifecycle.down(stage.target)
        assert lifecycle.recover(stage.target) is None
        assert_serving(stage, "green", promoted.live.digest)

    def test_rollback_after_down(self, stage: Stage) -> None:
        promoted = stage.promoted()
        lifecycle.down(stage.target)
        promotion = bluegreen.rollback(stage.target)
        assert promoted.previous
        assert_serving(stage, "blue", promoted.previous.digest)
        assert promotion.outcome == "rolled_back"

    def test_of_what_was_never_up(self, stage: Stage) -> None:
        lifecycle.down(stage.target)
        assert stage.target.read().history == []
