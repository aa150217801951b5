"""The watch after a switch, with real servers that turn slow, sick or dead in it."""

import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from greenlight.cli.service_status import show_status
from greenlight.core.errors import DeployError
from greenlight.core.records import BakeReference, Decision, Instance, Promotion
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.status import read_status
from tests.rollout.stage import Stage, decision_on

COMPARED = {"probes_per_second": 25, "max_slower": 1.12, "confidence": 0.99, "largest_ratio": 1.3}
USUAL, SLOW = 0.02, 0.04


@contextmanager
def at(point: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something when a rollout reaches the named point for the first time."""

    class Watcher(logging.Handler):
        done = False

        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "point", "") == point and not self.done:
                self.done = True
                act()

    log, watcher = logging.getLogger("greenlight"), Watcher()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(watcher)
    try:
        yield
        assert watcher.done, f"{point} was not reached"
    finally:
        log.removeHandler(watcher)
        log.setLevel(before)


def takes(folder: Path, seconds: float) -> None:
    partial = folder / "slow.partial"
    partial.write_text(str(seconds))
    partial.replace(folder / "slow")


def kill(instance: Instance) -> None:
    os.kill(instance.pid, signal.SIGKILL)


def both_take(stage: Stage, seconds: float) -> None:
    takes(stage.baseline, seconds)
    takes(stage.candidate, seconds)


@pytest.fixture
def decision(stage: Stage) -> Callable[..., Decision]:
    """Deploys both colors, equally fast, and decides for the candidate."""

    def decide(bake_seconds: float, **settings: object) -> Decision:
        both_take(stage, USUAL)
        return decision_on(stage.deploy(), bake_seconds=bake_seconds, **settings)  # type: ignore[arg-type]

    return decide


def promote(
    stage: Stage, decision: Decision, act: Callable[[], object], point: str = "promote.switched"
) -> Promotion:
    with at(point, act):
        return bluegreen.promote(stage.target, decision, "run-1")


@pytest.mark.alone
class TestLatency:
    def test_a_color_that_turns_slow_after_the_switch_goes_back(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        began = time.monotonic()
        promotion = promote(stage, decision(60, **COMPARED), lambda: takes(stage.candidate, SLOW))
        assert (
            promotion.outcome == "rolled_back"
            and promotion.live.color == "blue"
            and promotion.errors == 0
        )
        assert time.monotonic() - began < 40, "long before the bake would have ended"
        assert promotion.bake and promotion.bake.ratio and promotion.bake.bound
        assert (
            promotion.bake.bound > 1.12
            and promotion.bake.ratio > promotion.bake.bound
            and promotion.bake.pairs >= 8
        )
        assert (
            "it is slower than the gate allows. In " in promotion.reason
            and "the limit is 1.12x." in promotion.reason
        )
        assert stage.target.read().history[-1].reason == promotion.reason
        assert stage.target.ask_stable("Hello", 4).color == "blue"

    def test_what_slows_both_is_not_held_against_the_new_one(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        promotion = promote(stage, decision(4, **COMPARED), lambda: both_take(stage, 3 * SLOW))
        assert promotion.outcome == "promoted"
        assert (
            promotion.bake
            and promotion.bake.pairs >= 8
            and promotion.bake.ratio == pytest.approx(1, abs=0.1)
        )
        assert promotion.bake.bound and promotion.bake.bound < 1.12
        assert stage.target.read().history[-1].reason == promotion.bake.sentence != ""

    @pytest.mark.parametrize(("pairs", "outcome"), [(30, "promoted"), (0, "rolled_back")])
    def test_the_load_that_moves_with_the_traffic_is_seen_before_the_switch(
        self, stage: Stage, decision: Callable[..., Decision], pairs: int, outcome: str
    ) -> None:
        decided = decision(5, **COMPARED, reference_pairs=pairs)
        takes(stage.baseline, SLOW)

        def move() -> None:
            takes(stage.baseline, USUAL)
            takes(stage.candidate, SLOW)

        promotion = promote(stage, decided, move)
        assert promotion.outcome == outcome
        if pairs:
            assert (
                promotion.bake
                and 1.3 < promotion.bake.load < 2.5
                and "that load explains" in promotion.bake.sentence
            )

    def test_not_compared_where_the_gate_does_not_ask_for_it(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        promotion = promote(stage, decision(2), lambda: takes(stage.candidate, 5 * SLOW))
        assert (
            promotion.outcome == "promoted"
            and promotion.bake
            and promotion.bake.ratio is None
            and promotion.bake.sentence == ""
        )


def test_status_shows_a_bake_and_what_would_end_it(
    stage: Stage, decision: Callable[..., Decision]
) -> None:
    shown = StringIO()
    promote(
        stage,
        decision(0.5, **COMPARED),
        lambda: show_status(Console(file=shown), read_status(stage.target)),
        "promote.baking",
    )
    assert re.search(
        r"bake: bnb8-\w+ has the traffic for \d+ of 0.5 s; rolled back beyond 1.12x the old color's"
        r" latency",
        shown.getvalue(),
    )


class TestBeforeTheSwitch:
    def test_a_candidate_that_does_not_answer_is_not_switched_to(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(1, **COMPARED, reference_pairs=30)
        (stage.candidate / "sick").touch()
        with pytest.raises(
            DeployError, match=r"green fails probes: .*answered 500.* Nothing was moved"
        ):
            bluegreen.promote(stage.target, decided)
        assert stage.target.read().live == "blue"
        (stage.candidate / "sick").unlink()
        assert bluegreen.promote(stage.target, decided).outcome == "promoted"

    def test_live_that_does_not_answer_leaves_the_bake_to_absolute_limits(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(1, **COMPARED, reference_pairs=30)
        (stage.baseline / "sick").touch()
        promotion = bluegreen.promote(stage.target, decided)
        assert promotion.outcome == "promoted" and promotion.bake
        assert "too few probes were answered before the switch" in promotion.bake.sentence


class TestErrors:
    def test_a_control_that_fails_alone_is_no_reason_to_go_back_to_it(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        promotion = promote(stage, decision(1.5), lambda: (stage.baseline / "sick").touch())
        assert promotion.outcome == "promoted" and promotion.errors == 0
        assert promotion.bake and promotion.bake.control_errors >= 3

    def test_a_color_that_hangs_is_waited_for_as_long_as_the_gate_says_and_goes_back(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        """Its probes take so long that the bake is over before it has failed often enough: it does
        not end on a failure.
        """
        decided = decision(1.5, bake_max_errors=2, max_seconds=0.7)
        promotion = promote(stage, decided, lambda: takes(stage.candidate, 4), "promote.baking")
        assert promotion.outcome == "rolled_back" and promotion.errors == 3
        assert "did not answer within 0.7 s" in promotion.reason

    def test_probes_that_take_too_long_on_both_colors_do_not_count(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        promotion = promote(
            stage, decision(1.5, max_seconds=0.3), lambda: both_take(stage, 0.5), "promote.baking"
        )
        assert promotion.outcome == "promoted" and promotion.errors == 0 and promotion.probes >= 2


class TestWithoutAControl:
    def test_a_control_that_dies_leaves_absolute_limits(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(4, **COMPARED, max_seconds=10)

        def die() -> None:
            kill(decided.deployment.live.instances[0])
            takes(stage.candidate, SLOW)

        promotion = promote(stage, decided, die, "promote.baking")
        assert promotion.outcome == "promoted" and promotion.errors == 0
        assert (
            promotion.bake
            and promotion.bake.control_errors == 0
            and "The old color was gone after" in promotion.bake.not_compared
        )

    def test_probes_slower_than_the_absolute_limit_fail(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(10, **COMPARED, max_seconds=0.5, bake_max_errors=2)

        def die() -> None:
            kill(decided.deployment.live.instances[0])
            takes(stage.candidate, 0.6)

        promotion = promote(stage, decided, die, "promote.baking")
        assert promotion.outcome == "rolled_back" and promotion.errors == 3
        assert "did not answer within 0.5 s" in promotion.reason
        assert stage.target.ask_stable("Hello", 4).color == "blue", "started again"

    def test_failed_probes_count(self, stage: Stage, decision: Callable[..., Decision]) -> None:
        decided = decision(10, **COMPARED)

        def die() -> None:
            kill(decided.deployment.live.instances[0])
            (stage.candidate / "sick").touch()

        promotion = promote(stage, decided, die, "promote.baking")
        assert promotion.outcome == "rolled_back" and "answered 500" in promotion.reason


class TestContinued:
    def test_a_killed_bake_ends_when_it_would_have(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(4, **COMPARED, reference_pairs=30)
        stage.killed("promote.baking", "promote", stage.save(decided))
        left = stage.target.read().switch
        assert (
            left
            and left.bake_ends_at
            and left.switched_at
            and left.bake_ends_at - left.switched_at == timedelta(seconds=4)
        )
        assert left.bake_test == decided.bake_test and left.reference and left.reference.pairs == 30
        time.sleep(1.5)
        with at("promote.verified", lambda: None):
            promotion = bluegreen.promote(stage.target, decided)
        assert promotion.outcome == "promoted" and promotion.bake and promotion.bake.pairs
        settled = stage.target.read().history[-1]
        assert (
            settled.what == "promoted"
            and -0.5 < (settled.at - left.bake_ends_at).total_seconds() < 2
        )

    def test_one_whose_end_passed_unwatched_begins_anew(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        decided = decision(2, **COMPARED)
        stage.killed("promote.baking", "promote", stage.save(decided))
        time.sleep(2.5)
        began = time.monotonic()
        promotion = bluegreen.promote(stage.target, decided)
        assert promotion.outcome == "promoted" and promotion.probes >= 4
        assert time.monotonic() - began > 2

    def test_a_switch_of_an_earlier_version_is_understood(
        self, stage: Stage, decision: Callable[..., Decision]
    ) -> None:
        """It has neither an end of its bake nor a test."""
        decided = decision(1)
        stage.killed("promote.baking", "promote", stage.save(decided))
        state = stage.target.read()
        assert state.switch
        old = state.switch.model_dump(exclude={"bake_ends_at", "bake_test", "reference"})
        stage.target.commit(state.having(switch=type(state.switch).model_validate(old)))
        promotion = lifecycle.recover(stage.target)
        assert promotion and promotion.outcome == "promoted"


def test_the_reference_survives_the_state_file(
    stage: Stage, decision: Callable[..., Decision]
) -> None:
    decided = decision(1, **COMPARED, reference_pairs=30)
    stage.killed("promote.intended", "promote", stage.save(decided))
    switch = stage.target.read().switch
    assert switch and isinstance(switch.reference, BakeReference) and switch.reference.pairs == 30
