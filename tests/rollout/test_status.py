"""What `greenlight status` says of live: since when, from which run, by which decision."""

import io
from datetime import UTC, datetime

from rich.console import Console

from greenlight.cli.service_status import show_status
from greenlight.rollout import bluegreen
from greenlight.rollout.state import Switch, decision_id
from greenlight.rollout.status import read_status
from tests.rollout.stage import Stage, decision_on, kill


def shown(stage: Stage) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    show_status(console, read_status(stage.target))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_first_release_went_live_without_a_decision(stage: Stage) -> None:
    deployment = stage.deploy()
    status = read_status(stage.target)
    assert (status.live_since, status.live_decision) == (stage.target.read().history[0].at, "")
    words = (
        f"{deployment.live.release_id} is live since {status.live_since:%Y-%m-%d %H:%M:%S} UTC,"
        " from run run-1, without a decision"
    )
    assert words in shown(stage).splitlines()


def test_the_time_is_whole_on_80_columns_however_long_the_model_s_name(stage: Stage) -> None:
    live = stage.deploy().live
    state = stage.target.read()
    assert state.blue
    stage.target.commit(
        state.having(
            blue=state.blue.model_copy(
                update={
                    "source": "organization/a-model-with-quite-a-long-name-7b",
                    "engine": "transformers",
                }
            )
        )
    )
    (line,) = [
        line
        for line in shown(stage).splitlines()
        if live.release_id in line and line.startswith("blue")
    ]
    assert line.rstrip().endswith(f"1/1    {live.deployed_at:%m-%d %H:%M}")


def test_a_promotion_then_a_rollback(stage: Stage) -> None:
    decision = decision_on(stage.deploy(), bake_seconds=0)
    before = read_status(stage.target).live_since
    promotion = bluegreen.promote(stage.target, decision, "run-1")
    status = read_status(stage.target)
    assert (
        before
        and promotion.switched_at
        and status.live_since
        and before < promotion.switched_at <= status.live_since
    )
    assert status.live_decision == decision_id(decision)
    assert f"UTC, from run run-1, by decision {decision_id(decision)}" in shown(stage)
    bluegreen.rollback(stage.target)
    back = read_status(stage.target)
    assert back.live_since and back.live_since > status.live_since and back.live_decision == ""


def test_a_bake_that_went_badly_gives_live_a_new_beginning(stage: Stage) -> None:
    stage.deploy()
    state = stage.target.read()
    stage.target.commit(
        state.noting("promoted", state.green, "run-1", "d1").noting(
            "rolled_back", state.green, "run-1", "d1", "3 of 40 probes failed."
        )
    )
    status = read_status(stage.target)
    assert (
        status.live == "blue"
        and status.live_since == stage.target.read().history[-1].at
        and status.live_decision == ""
    )


def test_while_a_move_is_baked_the_new_release_counts(stage: Stage) -> None:
    stage.deploy()
    state, moved = stage.target.read(), datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
    assert state.green
    switch = Switch(
        action="promote", release=state.green, back=state.blue, decision="d2", switched_at=moved
    )
    stage.target.commit(state.having(live="green", switch=switch))
    status = read_status(stage.target)
    assert (status.live_since, status.live_decision) == (moved, "d2")


class TestStatus:
    def test_shows_both_colors(self, stage: Stage) -> None:
        deployment = stage.deploy()
        status = read_status(stage.target)
        assert status.endpoint == stage.target.endpoint and status.endpoint_open
        assert {color.color: (color.live, color.ready) for color in status.colors} == {
            "blue": (True, True),
            "green": (False, True),
        }
        kill(deployment.candidate.instances[0])
        status = read_status(stage.target)
        assert {color.color: color.ready for color in status.colors} == {
            "blue": True,
            "green": False,
        }
        assert [event.what for event in status.events] == ["deployed", "went_live"]

    def test_before_anything(self, stage: Stage) -> None:
        status = read_status(stage.target)
        assert status.live is None and not status.endpoint_open and not stage.target.folder.exists()
