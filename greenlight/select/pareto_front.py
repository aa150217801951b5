"""The Pareto front of quality (mean KL divergence from the baseline) against what a gate
prefers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from greenlight.core import formats
from greenlight.core.records import Contender


@dataclass(frozen=True)
class Axis:
    """What is weighed against quality.

    Attributes:
        value: of a contender, in `unit`; None where it was not measured, which is worse than
            anything.
        higher: whether more of it is better.
    """

    label: str
    unit: str
    value: Callable[[Contender], float | None]
    higher: bool = False

    def show(self, each: Contender) -> str:
        value = self.value(each)
        return "not measured" if value is None else f"{formats.number(value, 3)} {self.unit}"

    def loss(self, each: Contender) -> float:
        """Smaller is better."""
        value = self.value(each)
        return float("inf") if value is None else -value if self.higher else value

    def best(self, contenders: list[Contender]) -> Contender:
        return min(contenders, key=lambda each: (self.loss(each), kl(each)))

    def dominates(self, one: Contender, other: Contender) -> bool:
        """Whether `one` is no worse in both, and better in one."""
        mine, theirs = (kl(one), self.loss(one)), (kl(other), self.loss(other))
        return mine[0] <= theirs[0] and mine[1] <= theirs[1] and mine != theirs

    def is_near(self, each: Contender, best: Contender, within: float) -> bool:
        """Whether it is at most so much worse than the best, as a share of it."""
        value, top = self.value(each), self.value(best)
        if value is None or top is None:
            return value is top
        return value >= top * (1 - within) if self.higher else value <= top * (1 + within)


def kl(each: Contender) -> float:
    """Mean KL divergence from the baseline in nats per token; infinite where not measured."""
    return each.kl.value if each.kl else float("inf")


AXES = {
    "speed": Axis(
        "speed",
        "tokens/s",
        lambda each: each.speed.tokens_per_second if each.speed else None,
        higher=True,
    ),
    "memory": Axis(
        "memory", "MB of memory", lambda each: each.speed.memory_bytes / 1e6 if each.speed else None
    ),
    "size": Axis("size", "MB", lambda each: each.bytes / 1e6),
    "cost": Axis("cost", "USD per million tokens", lambda each: each.cost_per_million_tokens),
    "quality": Axis("quality", "nats", kl),
}
"""The axes by the names that a gate file uses."""


def pareto_front(passed: list[Contender], axis: Axis) -> list[Contender]:
    """The candidates that no other dominates, in their order."""
    return [each for each in passed if not any(axis.dominates(other, each) for other in passed)]


def choose_best(on_front: list[Contender], axis: Axis, within: float) -> Contender:
    """The best in quality among those that are as good as the best of the axis, to within a share
    of it.
    """
    best = axis.best(on_front)
    return min(
        (each for each in on_front if axis.is_near(each, best, within)),
        key=lambda each: (kl(each), axis.loss(each)),
    )
