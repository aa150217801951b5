"""Three ways to decide, on the same samples: ours, and the two that are in use."""

import numpy as np
from scipy import stats

from benchmarks.gate_study.worlds import METRICS
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate
from greenlight.gate.verdict import decide
from greenlight.stats.latencies import quantile

SIGNIFICANT = 0.01
"""One-sided level at which canary judges (Kayenta's NetflixACAJudge, 98% two-sided) call a metric
high.
"""


def ours(samples: Samples, gate: Gate) -> tuple[str, int]:
    """The verdict, and the pairs that it needed."""
    decided = decide(samples, gate)
    return decided.verdict, decided.looks[-1].pairs


def threshold(samples: Samples) -> bool:
    """Promotes when the point estimates keep the same limits: p50 within 1.05, p95 within 1.10 of
    live.
    """
    assert samples.pairs is not None
    found = samples.pairs.latencies
    return all(
        quantile(found[metric]["candidate"], share)
        <= limit * quantile(found[metric]["live"], share)
        for metric in METRICS
        for share, limit in ((0.5, 1.05), (0.95, 1.10))
    )


def mann_whitney(samples: Samples) -> bool:
    """Promotes when no metric is significantly higher than live's: what is not clearly bad passes.
    Pairs are not used.
    """
    assert samples.pairs is not None
    return all(
        _p(roles["candidate"], roles["live"]) > SIGNIFICANT
        for roles in samples.pairs.latencies.values()
    )


def _p(candidate: np.ndarray, live: np.ndarray) -> float:
    return float(
        stats.mannwhitneyu(candidate, live, alternative="greater", method="asymptotic").pvalue
    )
