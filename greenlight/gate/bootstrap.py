"""How far the estimate of each objective would have moved with other blocks and other documents: a
bootstrap, beside the bounds that the gate judged.

The gate finds its bounds by tests (`greenlight.stats.latencies`), without resampling. This
resamples what it takes as independent: whole blocks of pairs, pairs of throughput windows, whole
documents (Efron and Tibshirani 1993, chapter 8). It decides nothing; a bound far from the tail of
its bootstrap is a reason to look at the samples.
"""

import numpy as np
import pandas as pd

from greenlight.core.errors import InputError
from greenlight.core.prices import cost_per_million_tokens
from greenlight.core.records import BenchmarkResult
from greenlight.gate.catalogue import PERCENTILES, RatioOfSums
from greenlight.gate.objectives import Gate, Objective
from greenlight.stats.estimates import Floats

ROLES = ("candidate", "live")


def bootstrap(
    gate: Gate,
    pairs: pd.DataFrame,
    requests: pd.DataFrame,
    blocks: pd.DataFrame,
    documents: pd.DataFrame,
    benchmark: BenchmarkResult,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The estimate of each objective but kl_p99 and those of tasks in each of `draws` resamples.

    Shape (draws, objectives), columns by its title, in the unit of its limit.

    Args:
        pairs, requests, blocks, documents: of `greenlight.report.frames.Frames`. Pairs that the
            deciding look did not have are left out.
        benchmark: its record; only prices are taken from it.
        seed: the same samples and seed give the same resamples.

    Raises:
        InputError: there is no live color, or one kind of sample is missing.
    """
    if benchmark.live is None:
        raise InputError(
            "run", "", "measured only one endpoint: there is no live color to compare with"
        )
    for name, frame in (("pairs", pairs), ("throughput windows", blocks), ("documents", documents)):
        if frame.empty:
            raise InputError("run", "", f"left no {name}; take one that came to a decision")
    judged = pairs[pairs["judged"]] if pairs["judged"].any() else pairs
    random = np.random.default_rng(seed)
    of_pairs = _draw_counts(judged["block"], draws, random)
    of_documents = random.multinomial(
        len(documents), np.full(len(documents), 1 / len(documents)), size=draws
    )
    rates = blocks.pivot(index="pair", columns="role", values="tokens_per_second").dropna()
    of_rates = random.multinomial(len(rates), np.full(len(rates), 1 / len(rates)), size=draws)
    asked = requests[(requests["phase"] != "pairs") | requests["pair"].isin(judged.index)]
    of_requests = _draw_counts(asked["phase"] + asked["block"].astype(str), draws, random)
    prices = {
        "candidate": benchmark.candidate.price_per_hour,
        "live": benchmark.live.price_per_hour,
    }
    found = {}
    for objective in gate.objectives:
        match objective.kind.estimator:
            case "tail" | "items":  # of single tokens and items, which are not among the frames
                continue
            case RatioOfSums() as kind:
                found[objective.title] = _quality(kind, documents, of_documents)
            case "latency":
                found[objective.title] = _latency(objective, judged, of_pairs)
            case "share":
                found[objective.title] = _errors(objective, asked, of_requests)
            case "rate" | "cost":
                found[objective.title] = _rate(objective, rates, prices, of_rates)
    return pd.DataFrame(found)


def _draw_counts(blocks: pd.Series, draws: int, random: np.random.Generator) -> np.ndarray:
    """How often each row is in each resample of whole blocks. Shape (draws, rows)."""
    codes, names = pd.factorize(blocks)
    return random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, codes]


def _quality(kind: RatioOfSums, documents: pd.DataFrame, drawn: np.ndarray) -> Floats:
    top, bottom = (np.asarray(part(documents), float) for part in (kind.top, kind.bottom))
    ratio = (drawn @ top) / (drawn @ bottom)
    return np.exp(ratio) if kind.exponential else ratio


def _latency(objective: Objective, pairs: pd.DataFrame, drawn: np.ndarray) -> Floats:
    roles = ROLES if objective.scope == "vs_live" else ROLES[:1]
    values = [pairs[f"{objective.metric}_{role}"].to_numpy(float) for role in roles]
    if objective.statistic == "over_slo":
        shares = [(drawn @ (each > objective.slo)) / drawn.sum(axis=1) for each in values]
        return shares[0] - shares[1] if len(shares) > 1 else shares[0]
    share = PERCENTILES[objective.statistic] / 100 if objective.statistic in PERCENTILES else None
    found = [_quantiles(each, share, drawn) if share else _means(each, drawn) for each in values]
    with np.errstate(invalid="ignore"):
        return found[0] / found[1] if len(found) > 1 else found[0]


def _quantiles(values: Floats, share: float, drawn: np.ndarray) -> Floats:
    """The smallest value with at least `share` of a resample at or below it, as
    `greenlight.stats.latencies.quantile`.
    """
    order = np.argsort(values)
    reached = np.cumsum(drawn[:, order], axis=1)
    wanted = np.ceil(share * reached[:, -1] - 1e-9)
    return values[order][np.argmax(reached >= wanted[:, None], axis=1)]


def _means(values: Floats, drawn: np.ndarray) -> Floats:
    """Infinite in a resample that drew a failed request."""
    failed = np.isinf(values)
    return np.where(
        drawn @ failed > 0, np.inf, (drawn @ np.where(failed, 0, values)) / drawn.sum(axis=1)
    )


def _errors(objective: Objective, requests: pd.DataFrame, drawn: np.ndarray) -> Floats:
    failed = (requests["error"] != "").to_numpy()
    shares = []
    for role in ROLES:
        own = (requests["role"] == role).to_numpy()
        shares.append((drawn @ (failed & own)) / np.maximum(drawn @ own, 1))
    return shares[0] - shares[1] if objective.scope == "vs_live" else shares[0]


def _rate(
    objective: Objective, rates: pd.DataFrame, prices: dict[str, float | None], drawn: np.ndarray
) -> Floats:
    """Geometric mean of the ratios of the pairs of blocks, or mean of the candidate's."""
    values = {role: rates[role].to_numpy(float) for role in ROLES}
    if objective.kind.estimator == "cost":
        values = {
            role: cost_per_million_tokens(prices[role] or np.nan, each)
            for role, each in values.items()
        }
    with np.errstate(divide="ignore"):
        each = (
            np.log(values["candidate"] / values["live"])
            if objective.scope == "vs_live"
            else values["candidate"]
        )
    means = (drawn @ each) / drawn.sum(axis=1)
    return np.exp(means) if objective.scope == "vs_live" else means
