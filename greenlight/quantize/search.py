"""The search for the smallest artifact that keeps the limits: which mix of 4 and 8 bits is tried
next.

A scheme is a group size, of the weights that share a scale, and the share of weights in 4 bits; the
rest has 8. Which layers those are is the library's to say, by how sensitive it measures each layer
to be. Larger groups and more 4 bits make a smaller artifact and a worse one; nothing else is
assumed of either.
"""

from collections.abc import Callable
from typing import NamedTuple

from greenlight.core.records import Trial

# In the scratch folder: the export in full precision; what the baseline predicts; the trials, in
# their order.
FULL_FOLDER = "full"
REFERENCE_FOLDER = "reference"
PATH_FILE = "path.json"

GROUP_SIZES = (-1, 128, 64, 32)
"""From the smallest artifact to the largest. -1: one scale per channel."""
BUDGET = 10
"""Maximum number of scored trials. A trial that is larger than the best so far is not scored."""
FINEST = 1 / 64
"""Share of the weights below which a difference is not looked for."""


class Scheme(NamedTuple):
    """`ratio` is the share of weights in 4 bits."""

    group_size: int
    ratio: float

    def __str__(self) -> str:
        return (
            f"{self.ratio:.1%} int4"
            f" {'per channel' if self.group_size < 0 else f'in groups of {self.group_size}'}"
        )


def search(attempt: Callable[[Scheme], Trial], budget: int = BUDGET) -> list[Trial]:
    """Look for the smallest artifact that passes.

    First everything in 4 bits, in smaller and smaller groups, until one passes. Where none does:
    everything in 8 bits, and when not even that passes, the end. Then a mix of the two, in the next
    larger groups, which did not pass as a whole: the largest share of 4 bits that does, by
    bisection.

    Args:
        attempt: makes an artifact, and says whether it passes: no, where it is not smaller than one
            that has passed before.
        budget: maximum number of scored trials, 5 or more.

    Returns:
        The path: every trial in its order. The last one that passed is the smallest.
    """
    path: list[Trial] = []

    def passes(group_size: int, ratio: float) -> bool:
        path.append(attempt(Scheme(group_size, ratio)))
        return path[-1].passed

    whole = next((size for size in GROUP_SIZES if passes(size, 1.0)), None)
    if whole == GROUP_SIZES[0] or not (whole or passes(GROUP_SIZES[-1], 0.0)):
        return path
    mixed = GROUP_SIZES[GROUP_SIZES.index(whole) - 1] if whole else GROUP_SIZES[-1]
    low, high = 0.0, 1.0
    while high - low > FINEST and sum(not each.too_large for each in path) < budget:
        middle = (low + high) / 2
        # What is too large has too few weights in 4 bits, and what breaks a limit too many.
        if passes(mixed, middle) or path[-1].too_large:
            low = middle
        else:
            high = middle
    return path
