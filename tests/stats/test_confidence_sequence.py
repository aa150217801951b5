import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize

from greenlight.core.records import BakeReference
from greenlight.stats.confidence_sequence import Comparison, boundary, reference, too_many_errors

LIMIT = 1.12
ALPHA = 0.01
DOUBLED = -2 * math.log(2 * ALPHA)
SPREAD = (DOUBLED + math.log(DOUBLED) + 1) / 100
"""rho^2, for the boundary that is tightest at 100."""


def bounds(comparison: Comparison, log_ratios: np.ndarray) -> np.ndarray:
    """The bound after each pair, along the last axis."""
    scores = comparison.score(log_ratios)
    return comparison.bound(
        np.arange(1, scores.shape[-1] + 1),
        np.cumsum(scores, axis=-1),
        np.cumsum(scores**2, axis=-1),
    )


def with_tails(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Log ratios of an equal model: one request in fifty takes five times as long."""
    stalls = (random.random(shape) < 0.02).astype(float) - (random.random(shape) < 0.02)
    return random.normal(0, 0.16, shape) + math.log(5) * stalls


@pytest.mark.parametrize("squares", [1, 10, 100, 10_000])
def test_the_boundary_solves_the_equation_of_the_mixture_that_it_bounds(squares: int) -> None:
    """On it (2 / sqrt(V rho^2 + 1)) (exp(x^2 / 2) - 1) is 1 / alpha."""
    total, grown = boundary(squares, ALPHA, 100), squares * SPREAD + 1
    assert 2 / math.sqrt(grown) * math.expm1(SPREAD * total**2 / (2 * grown)) == pytest.approx(
        1 / ALPHA
    )


def test_the_boundary_is_a_little_above_the_exact_one_of_the_mixture() -> None:
    """Without the inequality for Phi the boundary is found by search; ours may only be higher, and
    not by much.
    """
    squares = 100
    grown = squares * SPREAD + 1

    def short(total: float) -> float:
        x = math.sqrt(SPREAD / grown) * total
        return 2 / math.sqrt(grown) * math.exp(x * x / 2) * NormalDist().cdf(x) - 1 / ALPHA

    exact = optimize.brentq(short, 1, 100)
    assert exact == pytest.approx(33.5, abs=0.1)
    assert exact <= boundary(squares, ALPHA, 100) < 1.01 * exact


@pytest.mark.parametrize("true", [LIMIT, 1.0])
def test_the_bound_exceeds_the_limit_no_more_often_than_it_may_at_any_of_a_thousand_pairs(
    true: float,
) -> None:
    random = np.random.default_rng(7)
    comparison = Comparison(LIMIT, 0.95, 1.3)
    over = (
        (bounds(comparison, math.log(true) + with_tails(random, (2000, 1000))) > LIMIT)
        .any(axis=1)
        .mean()
    )
    assert over <= 0.06 if true == LIMIT else over == 0  # 5% and two standard errors


def test_a_clearly_slower_model_is_found() -> None:
    random = np.random.default_rng(8)
    over = (
        bounds(Comparison(LIMIT, 0.99, 1.3), math.log(1.3) + with_tails(random, (500, 240))) > LIMIT
    )
    assert over.any(axis=1).mean() >= 0.99


def test_a_few_pairs_that_agree_prove_nothing_and_a_stall_counts_for_little() -> None:
    comparison = Comparison(LIMIT, 0.99, 1.3)
    assert (bounds(comparison, np.full(5, math.log(1.3))) < LIMIT).all()
    assert (
        comparison.score(math.log(50)) == comparison.score(math.inf) == pytest.approx(math.log(1.3))
    )
    assert comparison.score(-math.inf) == pytest.approx(-math.log(1.3))


def test_what_load_explained_before_the_switch_is_not_held_against_the_new_color() -> None:
    comparison = Comparison(LIMIT, 0.99, 1.3, BakeReference(pairs=120, lower=math.log(0.48)))
    assert comparison.score(math.log(2)) < 0 < Comparison(LIMIT, 0.99, 1.3).score(math.log(2))
    assert comparison.alpha == pytest.approx(0.005)
    assert math.exp(comparison.load) == pytest.approx(1 / 0.48)


def test_a_color_that_was_slower_before_the_switch_gets_no_room_for_it() -> None:
    slower = BakeReference(pairs=120, lower=0.25)
    assert Comparison(LIMIT, 0.99, 1.3, slower).score(0.1) == pytest.approx(
        Comparison(LIMIT, 0.99, 1.3).score(0.1)
    )


def test_the_bound_of_the_reference_holds_and_is_close() -> None:
    random = np.random.default_rng(9)
    found = [reference(math.log(0.5) + row, 0.99) for row in with_tails(random, (2000, 60))]
    lower = np.array([one.lower for one in found if one])
    assert len(lower) == 2000
    assert (lower > math.log(0.5)).mean() <= 0.01  # 0.5% is meant
    assert np.median(math.log(0.5) - lower) < 0.08


def test_too_few_pairs_have_no_bound() -> None:
    assert reference([], 0.99) is None
    assert reference([0.1, 0.2, 0.3], 0.99) is None


def test_scalars_and_arrays_agree() -> None:
    random = np.random.default_rng(10)
    comparison, log_ratios = Comparison(LIMIT, 0.99, 1.3), random.normal(0, 0.2, 50)
    total = squares = 0.0
    for number, (ratio, whole) in enumerate(
        zip(log_ratios, bounds(comparison, log_ratios), strict=True), start=1
    ):
        score = float(comparison.score(float(ratio)))
        total, squares = total + score, squares + score * score
        assert comparison.bound(number, total, squares) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("failed", "control", "expected"),
    [(0, 0, False), (1, 0, True), (2, 1, False), (3, 1, True), (0, 5, False)],
)
def test_what_the_control_fails_counts_twice(failed: int, control: int, expected: bool) -> None:
    assert too_many_errors(failed, control, 0) is expected


def test_colors_that_fail_equally_often_exceed_the_allowed_errors_as_seldom_as_it_says() -> None:
    steps = np.random.default_rng(11).random((4000, 2000)) < 0.5
    failed = np.cumsum(steps, axis=1)
    over = too_many_errors(failed, np.cumsum(~steps, axis=1), 4).any(axis=1).mean()
    meant = ((1 + math.sqrt(5)) / 2) ** -5
    assert over == pytest.approx(meant, abs=3 * math.sqrt(meant / 4000))
