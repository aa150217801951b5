"""Planned looks at a growing sample: which bound each look must use so that all of them together
keep one error.

Lan and DeMets (1983) spending of the error, with the spending function that resembles O'Brien and
Fleming (1979): alpha(t) = 2 - 2 Phi(z(1 - alpha/2) / sqrt(t)). Little is spent early, so an early
stop needs overwhelming evidence and the last look costs little.
"""

from functools import lru_cache

import numpy as np
from scipy import optimize, special

NODES = 160
FARTHEST = 9.0
"""Standard deviations beyond which a standardised sum is not followed."""


@lru_cache(maxsize=1024)
def look_errors(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """The one-sided error that a test may have at each look, so that all looks together have
    `alpha`.

    The sum observed at the looks is a Brownian motion; its density among the runs that have not
    stopped yet is integrated from look to look (Armitage, McPherson and Rowe 1969; Jennison and
    Turnbull 2000, chapter 19), by Gauss-Legendre quadrature.

    Args:
        fractions: the share of the planned pairs seen at each look, rising; the last may be below 1
            when a run was cut short.
        alpha: one-sided, of all looks together.

    Returns:
        As many errors; for one look at 1: `alpha` itself.

    Raises:
        ValueError: the fractions do not rise from above 0 to at most 1.
    """
    steps = np.diff((0.0, *fractions))
    if not len(fractions) or (steps <= 0).any() or fractions[-1] > 1 + 1e-12:
        raise ValueError(f"looks must rise from above 0 to at most 1, not {fractions}")
    if len(fractions) == 1 and fractions[0] >= 1:
        return (alpha,)
    spent = 2 * special.ndtr(-special.ndtri(1 - alpha / 2) / np.sqrt(np.minimum(fractions, 1.0)))
    errors: list[float] = []
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    points, mass = np.zeros(1), np.ones(1)  # the sum starts at 0
    for number, (time, step) in enumerate(zip(fractions, steps, strict=True)):
        wanted, spread = (
            float(spent[number] - (spent[number - 1] if number else 0.0)),
            float(np.sqrt(step)),
        )

        def excess(bound: float, points=points, mass=mass, spread=spread, wanted=wanted) -> float:  # type: ignore[no-untyped-def]
            return float(mass @ special.ndtr((points - bound) / spread)) - wanted

        top = FARTHEST * np.sqrt(time)
        bound = float(optimize.brentq(excess, -top, top)) if excess(top) < 0 else float(top)
        errors.append(float(special.ndtr(-bound / np.sqrt(time))))
        half = (bound + top) / 2
        next_points = bound - half + half * nodes
        density = np.exp(-0.5 * ((next_points[:, None] - points) / spread) ** 2) / (
            spread * np.sqrt(2 * np.pi)
        )
        points, mass = next_points, half * weights * (density @ mass)
    return tuple(errors)
