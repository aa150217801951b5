"""The watch after a switch: does the new live color answer, and as fast as the old one, which is
kept warm as its control?
"""

import logging
import math
import time
from dataclasses import dataclass, field
from statistics import median

from greenlight.core.errors import DeployError
from greenlight.core.records import (
    BakeReference,
    BakeResult,
    Decision,
    Release,
    utc_now,
)
from greenlight.core.waiting import Interval, wait_for
from greenlight.rollout.log_points import log_point
from greenlight.rollout.probes import ColorPair, ask_stable, wait_for_next_pair
from greenlight.rollout.state import Switch
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.rollout")


@dataclass(frozen=True)
class WatchResult:
    """What was seen since the switch. `reason` says why the traffic must go back; empty when all is
    well.
    """

    probes: int
    errors: int
    reason: str = ""
    bake: BakeResult | None = None


def verify_switch(target: Target, release: Release, prompt: str) -> WatchResult:
    """The stable endpoint answers from the release's color, within the time that the target's
    routing needs.
    """
    probes, problem = 0, ""

    def look(elapsed: float) -> WatchResult | None:
        nonlocal probes, problem
        probes += 1
        problem = ask_stable(target, release, prompt, None).problem
        return None if problem else WatchResult(probes=1, errors=0)

    reason = f"the stable endpoint does not answer from {release.color}: "
    return wait_for(
        look, seconds=target.timings.switched, interval=target.timings.poll
    ) or WatchResult(probes, probes, reason + problem)


def compare_before_switch(
    target: Target, decision: Decision, prompts: list[str]
) -> BakeReference | None:
    """Ask live, which has the load, and the candidate, which has none, in pairs: how much slower
    load makes a color is part of what the bake must know.

    None: the gate does not ask for it, or too few pairs were answered.

    Raises:
        DeployError: the candidate fails. Nothing was moved.
    """
    # numpy, which no other command of a rollout needs
    from greenlight.stats.confidence_sequence import (
        reference,
        too_many_errors,
    )

    test, candidate = decision.bake_test, decision.deployment.candidate
    if test.max_slower is None or test.reference_pairs == 0 or decision.bake_seconds == 0:
        return None
    colors = ColorPair(target, candidate, decision.deployment.live, test)
    log_ratios: list[float] = []
    failed = live_failed = 0
    for number in range(test.reference_pairs):
        began = time.monotonic()
        new, old = colors.ask(prompts[number % len(prompts)])
        if new.problem and not (old and old.problem):
            failed += 1
        elif old and old.problem and not new.problem:
            live_failed += 1
        elif old and not new.problem:
            log_ratios.append(math.log(new.seconds / old.seconds))
        if too_many_errors(failed, live_failed, decision.bake_max_errors):
            raise DeployError(
                f"{candidate.color} fails probes: {new.problem} Nothing was moved. Look at"
                " `greenlight status`, then run this again."
            )
        if number in (0, test.reference_pairs - 1):
            figure = f"{number + 1} of {test.reference_pairs} pairs"
            log.info(
                "comparing %s with live before the switch: %s",
                candidate.color,
                figure,
                extra={"figure": figure},
            )
        wait_for_next_pair(began, test)
    found = reference(log_ratios, test.confidence)
    if found is None:
        log.warning(
            "%d of %d pairs were answered before the switch: the bake will not compare latencies",
            len(log_ratios),
            test.reference_pairs,
        )
    return found


def bake(target: Target, switch: Switch, prompts: list[str]) -> WatchResult:
    """Probe the new live color until the bake ends (once at least), in pairs with the old one as
    control.

    Failed probes count when the control, asked the same beside it, answers: what fails on both says
    something about the machine. Latency is judged pair by pair, so that what slows both colors is
    not held against one. Without a control every failed probe counts. No answer at all is no
    evidence, and no evidence does not pass; nor does a bake end on a probe that failed.
    """
    watch = _Watch(target, switch)
    began, reports = time.monotonic(), Interval(target.timings.progress)
    left = (
        (switch.bake_ends_at - utc_now()).total_seconds()
        if switch.bake_ends_at
        else switch.bake_seconds
    )
    ends = min(left, switch.bake_seconds)  # a clock that was set back does not prolong it
    while True:
        turn_began = time.monotonic()
        watch.turn(prompts[watch.probes % len(prompts)])
        elapsed = time.monotonic() - began
        if reason := watch.reason():
            return watch.result(reason)
        if elapsed >= ends and not watch.failing:
            return watch.result(
                ""
                if watch.answered
                else f"none of {watch.probes} probes was answered: {watch.problem}"
            )
        if watch.probes == 1 or reports.is_over():
            ratio = (
                f", {found:.2f}x the old color's latency"
                if (found := watch.ratio) is not None
                else ""
            )
            log_point(
                "promote.baking",
                "%s: %d probes, %d errors%s after %.0f of %g s",
                switch.release.color,
                watch.probes,
                watch.errors,
                ratio,
                elapsed,
                ends,
                figure=f"bake {elapsed:.0f}/{ends:.0f} s, {watch.errors} errors{ratio}",
            )
        wait_for_next_pair(
            turn_began, switch.bake_test, began + ends if elapsed < ends else math.inf
        )


@dataclass
class _Watch:
    """One bake: the counts so far, and what they mean.

    Attributes:
        failing: the last probe of the new color failed, and not the control's.
        errors: probes of the new color that failed alone, or without a control.
        control_errors: probes of the control that failed alone.
        log_ratios: of the pairs that were answered, ln(new / old).
        pairs, total, squares: of the scores, failed probes too.
    """

    target: Target
    switch: Switch
    probes: int = 0
    answered: int = 0
    failing: bool = False
    errors: int = 0
    control_errors: int = 0
    problem: str = ""
    alone: str = ""
    pairs: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_ratios: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        from greenlight.stats.confidence_sequence import Comparison

        test, before = self.switch.bake_test, self.switch.reference
        self.colors = ColorPair(
            self.target, self.switch.release, self.switch.back, test, stable=True
        )
        blind = bool(test.reference_pairs) and before is None
        self.comparison = (
            None
            if test.max_slower is None or blind
            else Comparison(test.max_slower, test.confidence, test.largest_ratio, before)
        )
        self.not_compared = (
            "Latency was not compared: too few probes were answered before the switch."
            if test.max_slower and blind
            else ""
        )

    def turn(self, prompt: str) -> None:
        """One pair."""
        new, old = self.colors.ask(prompt)
        self.probes += 1
        self.answered += not new.problem
        self.failing = bool(new.problem) and not (old and old.problem)
        if new.problem:
            self.problem = new.problem
            log.warning(
                "bake: %s%s",
                new.problem,
                "" if self.failing else " The old color does not answer either: not counted.",
            )
        self.errors += self.failing
        if old is None:
            self._alone()
            return
        self.alone = ""
        control_failed = bool(old.problem) and not new.problem
        self.control_errors += control_failed
        if self.failing or control_failed:
            self._score(math.inf if self.failing else -math.inf)
        elif not new.problem and not math.isinf(new.seconds):
            self.log_ratios.append(math.log(new.seconds / old.seconds))
            self._score(self.log_ratios[-1])

    def _score(self, log_ratio: float) -> None:
        if self.comparison:
            score = float(self.comparison.score(log_ratio))
            self.pairs, self.total, self.squares = (
                self.pairs + 1,
                self.total + score,
                self.squares + score * score,
            )

    def _alone(self) -> None:
        if not self.alone:
            self.alone = f"The old color was gone after {self.probes - 1} probes."
            log.warning(
                "bake: the old color does not run: from here on %s is held to absolute limits",
                self.switch.release.color,
            )

    def reason(self) -> str:
        """Why the traffic must go back now; empty when it need not."""
        from greenlight.stats.confidence_sequence import too_many_errors

        allowed = self.switch.bake_max_errors
        if too_many_errors(self.errors, self.control_errors, allowed):
            more = (
                f", and 2 more for each of {self.control_errors} of the old color's"
                if self.control_errors
                else ""
            )
            return (
                f"{self.errors} of {self.probes} probes failed, {allowed} are allowed{more}; the"
                f" last: {self.problem}"
            )
        if self.comparison and self.pairs and self._bound() > self.comparison.max_slower:
            return f"it is slower than the gate allows. {self.figures().sentence}"
        return ""

    def _bound(self) -> float:
        assert self.comparison
        return float(self.comparison.bound(self.pairs, self.total, self.squares))

    @property
    def ratio(self) -> float | None:
        """Median over the pairs of new latency to old, beyond what load explains. None: not
        compared.
        """
        return (
            math.exp(median(self.log_ratios) - self.comparison.load)
            if self.comparison and self.log_ratios
            else None
        )

    def figures(self) -> BakeResult:
        compared = self.comparison if self.pairs else None
        return BakeResult(
            pairs=self.pairs,
            control_errors=self.control_errors,
            ratio=self.ratio,
            bound=self._bound() if compared else None,
            limit=compared.max_slower if compared else None,
            load=math.exp(compared.load) if compared else 1.0,
            not_compared=self.not_compared or self.alone,
        )

    def result(self, reason: str) -> WatchResult:
        return WatchResult(self.probes, self.errors, reason, self.figures())
