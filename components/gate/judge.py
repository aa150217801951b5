"""The verdict: each objective judged on the confidence bound of its estimate, never on the point.

The burden of proof lies with the candidate. An objective passes when its bound keeps the limit, fails when the opposite bound
breaks it, and is inconclusive otherwise. All must pass for `promote`, each at its full confidence: an intersection-union test, which
needs no correction for their number (Berger 1982). One that fails makes it `reject`. Everything else is `inconclusive`.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from components.errors import GreenlightError
from components.evaluate.bootstrap import ratio_of_sums
from components.gate import estimates
from components.gate.catalogue import PERCENTILES
from components.gate.estimates import Estimate
from components.gate.evidence import (
    MIN_DOCUMENTS,
    TOLERANCE,
    Counts,
    Documents,
    NoEvidence,
    Pairs,
    check_benchmark,
    check_evaluation,
    read_documents,
    read_pairs,
    read_rates,
    record_digest,
)
from components.gate.objectives import MIN_BLOCK_PAIRS, MIN_TAIL_PAIRS, Gate, Objective
from components.records import Action, BenchmarkResult, Decision, Deployment, Evaluation, ObjectiveResult, Verdict

log = logging.getLogger("greenlight.gate")

Value = TypeVar("Value")


class Evidence:
    """Samples by their source, each read once. A source that cannot be used is the reason why not.

    Attributes:
        doubt: why the benchmark can speak against a candidate, but not for it: it is not what the gate asked for, whole. Empty when it is.
    """

    doubt: str

    def __init__(self, evaluation_folder: Path, benchmark_folder: Path, deployment: Deployment, gate: Gate) -> None:
        self.doubt = ""
        self._missing: dict[str, NoEvidence] = {}
        with self._source("documents"):
            evaluation = Evaluation.load(evaluation_folder)
            check_evaluation(evaluation, deployment)
            self._documents = read_documents(evaluation_folder, evaluation)
        with self._source("requests", "errors", "blocks"):
            result = BenchmarkResult.load(benchmark_folder)
            check_benchmark(result, deployment)
            self.doubt = _doubt(result, gate)
            with self._source("requests", "errors"):
                self._pairs, self._counts = read_pairs(benchmark_folder, result)
            with self._source("blocks"):
                self._rates = read_rates(benchmark_folder, result)
                self.doubt = self.doubt or _missing_blocks(len(self._rates["candidate"]), gate)

    @property
    def flaw(self) -> str:
        """Why nothing may be promoted on this evidence, whether or not an objective asks for the part that is flawed. Empty when it is sound."""
        return next((str(reason) for reason in self._missing.values()), self.doubt)

    @property
    def documents(self) -> Documents:
        self._need("documents")
        return self._documents

    @property
    def pairs(self) -> Pairs:
        self._need("requests")
        return self._pairs

    @property
    def counts(self) -> Counts:
        self._need("errors")
        return self._counts

    @property
    def rates(self) -> dict[str, estimates.Floats]:
        self._need("blocks")
        return self._rates

    def _need(self, source: str) -> None:
        if source in self._missing:
            raise self._missing[source]

    @contextlib.contextmanager
    def _source(self, *names: str) -> Iterator[None]:
        """What goes wrong inside is why these sources are missing, whatever it is: unforeseen damage to a file must not end in a promotion or a crash."""
        try:
            yield
        except Exception as error:
            reason = str(error) if isinstance(error, GreenlightError) else f"the samples cannot be understood ({type(error).__name__}: {error})"
            self._missing |= {name: NoEvidence(reason) for name in names}


def judge(
    evaluation_folder: Path | str, benchmark_folder: Path | str, deployment: Deployment, gate: Gate, auto_promote: bool = True, code_version: str = ""
) -> Decision:
    """Judge a candidate. Bad evidence never raises: it makes objectives inconclusive, with the reason."""
    evaluation_folder, benchmark_folder = Path(evaluation_folder), Path(benchmark_folder)
    evidence = Evidence(evaluation_folder, benchmark_folder, deployment, gate)
    results = [_judge_objective(objective, evidence) for objective in gate.objectives]
    verdict, reason = _verdict(results)
    if verdict == "promote" and evidence.flaw:
        verdict, reason = "inconclusive", f"all objectives pass, but {evidence.flaw}"
    for result in results:
        log.info("%s: %s", result.status, result.reason)
    action: Action = "retire" if verdict != "promote" else "promote" if auto_promote else "hold"
    return Decision(
        verdict=verdict,
        action=action,
        reason=reason,
        objectives=results,
        deployment=deployment,
        gate_name=gate.name,
        gate_digest=gate.digest,
        evaluation_digest=record_digest(evaluation_folder),
        benchmark_digest=record_digest(benchmark_folder),
        bake_seconds=gate.bake.seconds,
        bake_max_errors=gate.bake.max_errors,
        keep_warm_seconds=max(gate.bake.keep_warm_seconds, gate.bake.seconds),
        code_version=code_version,
    )


def _doubt(result: BenchmarkResult, gate: Gate) -> str:
    plan = gate.benchmark
    if not result.complete:
        return f"the benchmark is not complete: {result.reason or 'it does not say why'}"
    if result.pairs < plan.pairs:
        return f"the benchmark has {result.pairs} pairs, the gate asks for {plan.pairs}"
    if result.concurrency != plan.concurrency:
        return f"the benchmark ran at concurrency {result.concurrency}, the gate asks for {plan.concurrency}"
    if result.max_tokens != plan.max_tokens:
        return f"the benchmark ran with {result.max_tokens} tokens a request, the gate asks for {plan.max_tokens}"
    if result.block_tokens != plan.block_tokens:
        return f"the throughput blocks ran with {result.block_tokens} tokens a request, the gate asks for {plan.block_tokens}"
    return ""


def _missing_blocks(found: int, gate: Gate) -> str:
    wanted = gate.benchmark.throughput_blocks
    return f"the benchmark has {found} pairs of throughput blocks, the gate asks for {wanted}" if found < wanted else ""


def _judge_objective(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    at_most = objective.max is not None
    limit = objective.limit
    try:
        estimate = _estimate(objective, evidence)
        bound = estimate.high if at_most else estimate.low
        if math.isnan(estimate.value) or math.isnan(bound):
            raise NoEvidence("the samples give no number")
    except NoEvidence as problem:
        return _result(objective, None, None, "inconclusive", f"{objective.phrase} cannot be judged: {problem}")
    keeps = bound <= limit if at_most else bound >= limit
    breaks = estimate.low > limit if at_most else estimate.high < limit
    measured = _measured(objective, estimate, bound)
    if keeps and objective.kind.source != "documents" and evidence.doubt:
        return _result(objective, estimate, bound, "inconclusive", f"{measured}; that cannot count, because {evidence.doubt}")
    if keeps:
        return _result(objective, estimate, bound, "pass", measured)
    if breaks:
        opposite = f"at least {_show(objective, estimate.low)}" if at_most else f"at most {_show(objective, estimate.high)}"
        broken = f"{_point(objective, estimate)}; at {_percent(objective)} confidence {opposite}, beyond the limit {_limit(objective)}"
        return _result(objective, estimate, bound, "fail", broken)
    return _result(objective, estimate, bound, "inconclusive", f"{measured}: too uncertain to tell")


def _estimate(objective: Objective, evidence: Evidence) -> Estimate:
    """Raises NoEvidence when there is nothing to estimate from."""
    source, against_live, confidence = objective.kind.source, objective.scope == "vs_live", objective.confidence
    if source == "documents":
        return _quality(objective.metric, evidence.documents, confidence)
    if source == "requests":
        return _latency(objective, evidence.pairs)
    if source == "errors":
        counts = evidence.counts
        if against_live:
            return estimates.proportion_difference(counts["candidate"], _live(counts), confidence)
        return estimates.proportion(*counts["candidate"], confidence)
    rates = evidence.rates
    if len(rates["candidate"]) < MIN_BLOCK_PAIRS:
        raise NoEvidence(f"there are {len(rates['candidate'])} throughput blocks, and {MIN_BLOCK_PAIRS} are needed")
    if not against_live:
        return estimates.rate(rates["candidate"], confidence)
    live = _live(rates)
    if (live <= 0).any():
        raise NoEvidence("live gave no output in a throughput block: there is nothing to compare with")
    return estimates.rate_ratio(rates["candidate"], live, confidence)


def _latency(objective: Objective, pairs: Pairs) -> Estimate:
    values = pairs.latencies[objective.metric]
    quantile = PERCENTILES[objective.statistic] / 100 if objective.statistic in PERCENTILES else None
    beyond = len(pairs) * (1 - quantile) if quantile else len(pairs)
    if beyond < MIN_TAIL_PAIRS - 1e-9:
        raise NoEvidence(f"{len(pairs)} pairs leave {beyond:.3g} requests beyond {objective.statistic or 'it'}, and {MIN_TAIL_PAIRS} are needed")
    if np.isnan(values["candidate"]).any():
        raise NoEvidence("single tokens have no gaps between them")
    if objective.scope == "absolute":
        return estimates.latency(values["candidate"], pairs.blocks, quantile, objective.confidence)
    estimate = estimates.latency_ratio(values["candidate"], _live(values), pairs.blocks, quantile, objective.confidence)
    if math.isnan(estimate.value):
        raise NoEvidence(f"live has no {objective.phrase} to compare with ({pairs.failed['live']} of its {len(pairs)} requests failed)")
    return estimate


def _quality(metric: str, documents: Documents, confidence: float) -> Estimate:
    if len(documents) < MIN_DOCUMENTS:
        raise NoEvidence(f"{len(documents)} documents are too few to tell how far it would vary with other texts; evaluate on {MIN_DOCUMENTS} or more")
    numerator, denominator = {
        "kl_mean": (documents.kl_sum, documents.tokens),
        "top1_agreement": (documents.top1_agree, documents.tokens),
        "bits_per_byte": (documents.nll_candidate / math.log(2), documents.bytes),
        "perplexity_ratio": (documents.nll_candidate - documents.nll_baseline, documents.tokens),
    }[metric]
    # Two one-sided bounds at `confidence` are the ends of a two-sided interval with twice the error.
    interval = ratio_of_sums(numerator, denominator, 2 * confidence - 1)
    estimate = Estimate(*(float(np.exp(value)) if metric == "perplexity_ratio" else value for value in interval))
    recorded = documents.recorded.get(metric)
    if recorded is None or not math.isclose(recorded, estimate.value, rel_tol=TOLERANCE, abs_tol=1e-12):
        raise NoEvidence(f"its samples give {estimate.value:.6g}, and its record says {recorded}")
    return estimate


def _live(by_role: dict[str, Value]) -> Value:
    if "live" not in by_role:
        raise NoEvidence("only one endpoint was measured: there is no live color to compare with")
    return by_role["live"]


def _verdict(results: list[ObjectiveResult]) -> tuple[Verdict, str]:
    failed = [result for result in results if result.status == "fail"]
    open_ones = [result for result in results if result.status == "inconclusive"]
    for verdict, found in (("reject", failed), ("inconclusive", open_ones)):
        if found:
            more = f" (and {len(found) - 1} more of {len(results)} objectives)" if len(found) > 1 else f" (1 of {len(results)} objectives)"
            return verdict, found[0].reason + more  # type: ignore[return-value]
    return "promote", f"all {len(results)} objectives pass"


def _result(objective: Objective, estimate: Estimate | None, bound: float | None, status: str, reason: str) -> ObjectiveResult:
    return ObjectiveResult(
        name=objective.title,
        metric=objective.metric,
        scope=objective.scope,
        comparison=f"{'<=' if objective.max is not None else '>='} {_limit(objective)}",
        estimate=estimate.value if estimate else None,
        bound=bound,
        limit=objective.limit,
        confidence=objective.confidence,
        unit=objective.kind.unit if objective.scope == "absolute" else "x live" if objective.kind.comparison == "ratio" else "points",
        status=status,  # type: ignore[arg-type]
        reason=reason,
    )


def _measured(objective: Objective, estimate: Estimate, bound: float) -> str:
    """As in: p95 of E2E is 0.31x live; at 95% confidence at most 0.35x live; limit 1.1x live."""
    side = "at most" if objective.max is not None else "at least"
    return f"{_point(objective, estimate)}; at {_percent(objective)} confidence {side} {_show(objective, bound)}; limit {_limit(objective)}"


def _point(objective: Objective, estimate: Estimate) -> str:
    return f"{objective.phrase} is {_show(objective, estimate.value)}"


def _percent(objective: Objective) -> str:
    return f"{100 * objective.confidence:.4g}%"


def _limit(objective: Objective) -> str:
    return _show(objective, objective.limit)


def _show(objective: Objective, value: float) -> str:
    """A value with its unit, for people."""
    if math.isinf(value):
        return "unbounded"
    kind = objective.kind
    if objective.scope == "vs_live":
        return f"{value:.2f}x live" if kind.comparison == "ratio" else f"{100 * value:+.2f} points against live"
    if objective.metric in ("error_rate", "top1_agreement"):
        return f"{100 * value:.2f}%"
    if kind.unit == "s":
        return f"{1000 * value:.4g} ms"
    return f"{value:.4g} {kind.unit}".replace(" x", "x").strip()
