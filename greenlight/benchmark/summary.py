"""What a benchmark came to, in figures: of each color, and of the generator itself."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from greenlight.benchmark.plan import Role
from greenlight.benchmark.planned_requests import PlannedRequest, ServedModel
from greenlight.benchmark.samples import CountedBlock, flat_gaps, mean_gaps
from greenlight.benchmark.workload import Slo, Workload
from greenlight.core.prices import cost_per_million_tokens
from greenlight.core.records import ColorSummary, GeneratorHealth, LatencySummary, Release

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
TWO_SIDED_95 = 1.959964
MAX_SEND_LAG = 0.010
"""Seconds at the 99th percentile above which a generator of open loop was the bottleneck."""
LEAST_RATE = 0.99
"""Share of the requested rate below which it was the bottleneck."""
TOKENS_COMPARED = 200


def summarize_color(
    role: Role,
    release: Release | None,
    requests: "pa.Table",
    blocks: Sequence[CountedBlock],
    workload: Workload,
    servers: int,
) -> ColorSummary:
    """Latencies of the successful requests of the pairs, tokens per second of the blocks, counts of
    everything.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    own = pc.equal(requests["role"], role).to_numpy()
    failed = pc.not_equal(requests["error"], "").to_numpy()
    pairs = own & pc.equal(requests["phase"], "pairs").to_numpy()
    good = pairs & ~failed
    tokens_out = requests["tokens_out"].to_numpy()
    gaps, offsets = flat_gaps(requests)
    latencies = {
        "ttft": requests["ttft"].to_numpy()[good],
        "itl": mean_gaps(gaps, offsets)[good],
        "e2e": requests["e2e"].to_numpy()[good],
    }
    after_first = tokens_out[good] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(
            after_first > 0, (latencies["e2e"] - latencies["ttft"]) / after_first, np.nan
        )
    block_numbers = requests["block"].to_numpy()[good]
    kept = int(_keeps_slo(workload.slo, latencies).sum())
    seconds = _span_seconds(requests, pairs)
    rates = [block.tokens_per_second for block in blocks if block.role == role]
    rate = float(np.median(rates)) if rates else 0.0
    price = getattr(workload.price_per_hour, role) * servers if workload.price_per_hour else None
    return ColorSummary(
        release_id=release.release_id if release else "",
        digest=release.digest if release else "",
        requests=int(own.sum()),
        errors=int((own & failed).sum()),
        errors_by_kind={
            row["values"]: row["counts"]
            for row in pc.value_counts(requests["error"].filter(pa.array(own & failed))).to_pylist()
        },
        output_tokens=int(tokens_out[own].sum()),
        output_tokens_per_second=rate,
        **{
            name: percentiles(values, block_numbers)
            for name, values in (latencies | {"tpot": tpot}).items()
        },
        gap=percentiles(gaps[np.repeat(good, np.diff(offsets))]),
        requests_per_second=good.sum() / seconds if seconds else 0.0,
        goodput_per_second=kept / seconds if seconds else 0.0,
        goodput=kept / pairs.sum() if pairs.any() else 1.0,
        price_per_hour=price,
        cost_per_million_tokens=cost_per_million_tokens(price, rate) if price and rate else None,
    )


def percentiles(
    values: "np.ndarray", block_numbers: "np.ndarray | None" = None
) -> LatencySummary | None:
    """Percentiles in seconds, of what is finite; None when nothing is.

    Their intervals are those of Woodruff (1952): the standard error of the share below, taken to
    values. It is the binomial one, or that between blocks where it is larger, since neighbours
    share drift and bursts.

    Args:
        block_numbers: number of the block of each value. Without them there are no intervals.
    """
    import numpy as np

    finite = np.isfinite(values)
    if block_numbers is not None:
        block_numbers = block_numbers[finite]
    values = values[finite]
    if not len(values):
        return None
    points = dict(
        zip(
            PERCENTILES,
            np.percentile(values, [100 * share for share in PERCENTILES.values()]).tolist(),
            strict=True,
        )
    )
    intervals = {}
    if block_numbers is not None:
        ordered = np.sort(values)
        blocks = np.unique(block_numbers, return_inverse=True)[1]
        intervals = {
            name: _interval(ordered, values <= points[name], blocks, share)
            for name, share in PERCENTILES.items()
        }
    return LatencySummary(mean=float(np.mean(values, dtype=float)), **points, intervals=intervals)


def _interval(
    ordered: "np.ndarray", below: "np.ndarray", blocks: "np.ndarray", share: float
) -> tuple[float, float]:
    """Infinite above where the sample does not reach as far."""
    import numpy as np

    sizes, sums = np.bincount(blocks), np.bincount(blocks, weights=below)
    rest, count, units = sums - sizes * below.mean(), len(ordered), len(sizes)
    between = float(rest @ rest) * units / (units - 1) if units > 1 else 0.0
    reach = TWO_SIDED_95 * math.sqrt(max(between, count * share * (1 - share))) / count
    low, high = math.floor((share - reach) * count), math.ceil((share + reach) * count)
    return float(ordered[max(0, low)]), float(ordered[high]) if high < count else math.inf


def _keeps_slo(slo: Slo, latencies: "dict[str, np.ndarray]") -> "np.ndarray":
    import numpy as np

    kept = np.ones(len(latencies["e2e"]), dtype=bool)
    for name, limit in slo.limits.items():
        kept &= ~(latencies[name] > limit)  # a single token has no gap, and is not slow for it
    return kept


def _span_seconds(requests: "pa.Table", pairs: "np.ndarray") -> float:
    """Seconds from the first that was due to the last that ended."""
    if not pairs.any():
        return 0.0
    due, sent, e2e = (requests[name].to_numpy()[pairs] for name in ("intended", "sent", "e2e"))
    return float((sent + e2e).max() - due.min())


def measure_generator(
    requests: "pa.Table", loop_lags: "np.ndarray", workload: Workload, workers: int
) -> GeneratorHealth:
    import numpy as np
    import pyarrow.compute as pc

    figures: dict[str, float] = {}
    if len(loop_lags):
        p50, p99 = np.percentile(loop_lags, [50, 99])
        figures = {
            "loop_lag_p50": float(p50),
            "loop_lag_p99": float(p99),
            "loop_lag_max": float(loop_lags.max()),
        }
    pairs = requests.select(["role", "lag", "intended"]).filter(
        pc.equal(requests["phase"], "pairs")
    )
    if workload.open_loop and pairs.num_rows:
        lags, due = pairs["lag"].to_numpy(), pairs["intended"].to_numpy()
        figures["send_lag_p99"] = float(np.percentile(lags, 99))
        colors = len(pc.unique(pairs["role"]))
        taken = due + lags
        if (asked := float(due.max() - due.min())) > 0:
            sent = (pairs.num_rows / colors) - 1
            figures |= {
                "asked_rate": sent / asked,
                "achieved_rate": sent / max(float(taken.max() - taken.min()), asked),
            }
    return GeneratorHealth(workers=workers, **figures)


def find_bottleneck(health: GeneratorHealth) -> str:
    """Why the generator, not the servers, set the pace; empty when it did not."""
    problem, fix = (
        "the load generator was the bottleneck",
        "give the workload more workers, more users, or a lower rate",
    )
    if health.send_lag_p99 > MAX_SEND_LAG:
        return (
            f"{problem}: 1% of requests were sent {1000 * health.send_lag_p99:.1f} ms or more after"
            f" they were due, and at most 10 ms are allowed; {fix}"
        )
    if (
        health.asked_rate
        and health.achieved_rate
        and health.achieved_rate < LEAST_RATE * health.asked_rate
    ):
        return (
            f"{problem}: it sent {health.achieved_rate:.4g} of {health.asked_rate:.4g} requests per"
            f" second; {fix}"
        )
    return ""


def find_token_mismatch(
    role: Role, model: ServedModel, planned: Sequence[PlannedRequest], requests: "pa.Table"
) -> str:
    """The first prompt of which the server counts other tokens than the model's own tokenizer;
    empty when there is none, or no tokenizer.
    """
    import pyarrow.compute as pc

    if model.tokenizer is None:
        return ""
    own = requests.select(["prompt", "tokens_in"]).filter(
        pc.and_(pc.equal(requests["role"], role), pc.equal(requests["error"], ""))
    )
    seen = dict(zip(own["prompt"].to_pylist(), own["tokens_in"].to_pylist(), strict=True))
    for number, counted in list(seen.items())[:TOKENS_COMPARED]:
        text = planned[number].text
        if text and counted not in (possible := model.count(text)):
            return (
                f"{role} counts {counted} tokens for prompt {number}, and its tokenizer counts"
                f" {' or '.join(map(str, sorted(possible)))}"
            )
    return ""
