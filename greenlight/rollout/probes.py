"""Probes of a bake: the same short prompt to both colors, one right after the other."""

import math
import random
import time
from dataclasses import dataclass

from greenlight.core.errors import DeployError
from greenlight.core.records import BakeTest, Instance, Release
from greenlight.rollout.target import Answer, Target

PROBE_TOKENS = 8
STABLE_EVERY = 4
"""Pairs, of which the first has the new color asked through the stable endpoint: what users get is
seen, and most pairs are left for latency.
"""


@dataclass(frozen=True)
class Probe:
    """One short generation: how long it took in seconds, or what was wrong."""

    seconds: float = math.inf
    problem: str = ""


class ColorPair:
    """The new color and the old one, asked the same one right after the other in random order, and
    by the same way, so that the way is no difference.

    After every few pairs another of their servers is chosen, among those that are ready, and
    `stable` has the new color asked through the stable endpoint
    once: such a pair says nothing of latency.
    """

    def __init__(
        self,
        target: Target,
        new: Release,
        old: Release | None,
        test: BakeTest,
        stable: bool = False,
    ) -> None:
        self.target, self.test, self.stable = target, test, stable
        self.releases = (new, old)
        self.new: Instance | None = None
        self.old: Instance | None = None
        self.pairs = 0

    def look(self) -> None:
        self.new, self.old = (
            self._ready(release) if release else None for release in self.releases
        )

    def ask(self, prompt: str) -> tuple[Probe, Probe | None]:
        """The probe of the new color, and of the old one. None: that does not run."""
        due = self.pairs % STABLE_EVERY == 0
        self.pairs += 1
        if due:
            self.look()
        first = random.random() < 0.5
        old = self._ask(self.old, prompt) if first else Probe()
        through = self.stable and (due or self.new is None)
        new = (
            ask_stable(self.target, self.releases[0], prompt, self.test.max_seconds)
            if through
            else self._ask(self.new, prompt)
        )
        old = old if first else self._ask(self.old, prompt)
        if new.problem or (self.old and old.problem):
            self.look()  # a control that has died meanwhile is none, and not one that fails
        return new, old if self.old else None

    def _ready(self, release: Release) -> Instance | None:
        running = self.target.running_of(release)
        return next(
            (one for one in random.sample(running, len(running)) if self.target.is_ready(one)), None
        )

    def _ask(self, instance: Instance | None, prompt: str) -> Probe:
        if instance is None:
            return Probe(problem="none of its servers is ready.")
        try:
            return _judge_time(
                self.target.ask(instance, prompt, PROBE_TOKENS, self.test.max_seconds),
                self.test.max_seconds,
            )
        except DeployError as error:
            return Probe(problem=str(error))


def ask_stable(target: Target, release: Release, prompt: str, longest: float | None) -> Probe:
    """Through the stable endpoint, which must answer from the release's color. Its time is not that
    of a server asked directly, and is not compared.
    """
    try:
        answer = target.ask_stable(prompt, PROBE_TOKENS, longest)
    except DeployError as error:
        return Probe(problem=str(error))
    if answer.color != release.color:
        return Probe(
            problem=(
                f"the stable endpoint answered from {answer.color or 'an unnamed color'}, not from"
                f" {release.color}."
            )
        )
    return Probe(problem=_judge_time(answer, longest).problem)


def _judge_time(answer: Answer, longest: float | None) -> Probe:
    if longest is not None and answer.seconds > longest:
        return Probe(problem=f"a probe took {answer.seconds:.2f} s, {longest:g} s are allowed.")
    return Probe(answer.seconds)


def wait_for_next_pair(began: float, test: BakeTest, ends: float = math.inf) -> None:
    """Wait until the next pair is due. A target that is slower than that is asked again at once."""
    time.sleep(max(0.0, min(began + 1 / test.probes_per_second, ends) - time.monotonic()))
