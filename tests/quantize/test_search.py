"""The search's steps, on artifacts whose size and divergence are known."""

import pytest

from greenlight.core.records import Trial
from greenlight.quantize.search import BUDGET, Scheme, search

# of the scales, as a share of the weights in 4 bits
OVERHEAD = {
    -1: 0.0,
    128: 0.03,
    64: 0.06,
    32: 0.12,
}
# of everything in 4 bits, in nats: as of the built-in model
DAMAGE = {
    -1: 0.021,
    128: 0.018,
    64: 0.015,
    32: 0.012,
}


class World:
    """Sizes in thousandths of the model in 8 bits; damage that grows faster than the share of
    weights in 4 bits.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.best, self.scored = limit, float("inf"), 0

    def size(self, scheme: Scheme) -> float:
        return 1000 * (1 - scheme.ratio * (1 - (1 + OVERHEAD[scheme.group_size]) / 2))

    def attempt(self, scheme: Scheme) -> Trial:
        size, damage = self.size(scheme), DAMAGE[scheme.group_size] * scheme.ratio**2
        known = {
            "scheme": str(scheme),
            "group_size": scheme.group_size,
            "ratio": scheme.ratio,
            "bytes": int(size),
            "reason": "",
        }
        if size >= self.best:
            return Trial(**known, passed=False, too_large=True)
        self.scored += 1
        if damage <= self.limit:
            self.best = size
        return Trial(**known, passed=damage <= self.limit)


def smallest(path: list[Trial]) -> Trial:
    return [trial for trial in path if trial.passed][-1]


def test_ends_at_once_where_the_smallest_of_all_passes() -> None:
    path = search(World(0.03).attempt)
    assert [(trial.group_size, trial.ratio, trial.passed) for trial in path] == [(-1, 1.0, True)]


def test_mixes_the_next_larger_groups_where_they_are_smaller() -> None:
    world = World(0.0145)
    path = search(world.attempt)
    assert [trial.group_size for trial in path[:4]] == [-1, 128, 64, 32]
    found = smallest(path)
    # .98 of the weights in groups of 64 are smaller than all of them in groups of 32
    assert found.group_size == 64
    assert found.bytes < world.size(Scheme(32, 1.0))
    assert (0.0145 / 0.015) ** 0.5 - found.ratio < 1 / 64


def test_mixes_with_8_bits_where_nothing_passes_as_a_whole() -> None:
    found = smallest(search(World(0.003).attempt))
    assert (found.group_size, found.passed) == (32, True)
    assert 0 <= 0.5 - found.ratio < 1 / 64  # damage 0.012 * 0.5 ** 2 is the limit


def test_finds_everything_in_8_bits() -> None:
    world = World(0.0)
    path = search(world.attempt)
    assert (smallest(path).ratio, world.scored) == (0.0, BUDGET)


def test_ends_soon_where_not_even_8_bits_pass() -> None:
    assert [trial.ratio for trial in search(World(-1.0).attempt)] == [1.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("budget", [5, 6, 8])
@pytest.mark.parametrize("limit", [-1.0, 0.0, 0.0005, 0.003, 0.0119, 0.0145, 0.03])
def test_keeps_its_budget_and_never_makes_it_larger(limit: float, budget: int) -> None:
    world = World(limit)
    path = search(world.attempt, budget)
    assert world.scored <= budget
    sizes = [trial.bytes for trial in path if trial.passed]
    assert sizes == sorted(sizes, reverse=True)
    assert bool(sizes) == (limit >= 0)
