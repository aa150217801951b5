"""Where the samples of a decision come from, each read once, and the part of them that a look may
use.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from greenlight.core.errors import GreenlightError
from greenlight.core.records import BenchmarkResult, Deployment, Evaluation
from greenlight.gate.catalogue import QUALITY
from greenlight.gate.evidence import (
    Counts,
    Documents,
    NoEvidenceError,
    Pairs,
    check_benchmark,
    check_evaluation,
    extract_pairs,
    extract_rates,
    read_documents,
    read_flips,
    read_pairs,
    read_rates,
)
from greenlight.gate.objectives import Gate
from greenlight.stats.estimates import Floats

Value = TypeVar("Value")


@dataclass(frozen=True)
class Samples:
    """Samples by their source. A source that cannot be used is None, and `missing` says why.

    Attributes:
        counts: by role, failed requests and all, those of the throughput windows included.
        rates: by role, output tokens per second of the throughput windows.
        prices: by role, USD per hour of all its servers.
        missing: by source, why there is nothing.
        doubt: why the benchmark can speak against a candidate, but not for it: it is not what the
            gate asked for, whole. Empty when it is.
        flips: of each item of the tasks, what the candidate changed: 1 to wrong, -1 to right. None
            where there are no tasks.
    """

    documents: Documents | None = None
    pairs: Pairs | None = None
    counts: Counts | None = None
    rates: dict[str, Floats] | None = None
    prices: dict[str, float] | None = None
    missing: dict[str, NoEvidenceError] = field(default_factory=dict)
    doubt: str = ""
    flips: Floats | None = None

    @property
    def flaw(self) -> str:
        """Why nothing may be promoted on this evidence, whether or not an objective asks for the
        part that is flawed. Empty when it is sound.
        """
        return next((str(reason) for reason in self.missing.values()), self.doubt)

    def need(self, source: str, value: Value | None) -> Value:
        """The value of a source. Raises NoEvidenceError with the reason when there is none."""
        if source in self.missing:
            raise self.missing[source]
        if value is None:
            raise NoEvidenceError("there are no such samples")
        return value

    def take_first(self, pairs: int) -> "Samples":
        """The samples of a look: the whole blocks within the first `pairs` pairs, and what is not
        measured in pairs.
        """
        if self.pairs is None or pairs >= len(self.pairs):
            return self
        sizes = np.bincount(self.pairs.blocks)
        end = int(sizes[: np.searchsorted(np.cumsum(sizes), pairs, side="right")].sum())
        latencies = {
            metric: {role: values[:end] for role, values in roles.items()}
            for metric, roles in self.pairs.latencies.items()
        }
        failed = {role: int(np.isinf(values).sum()) for role, values in latencies["e2e"].items()}
        counts = self.counts
        if counts is not None:
            unseen = {role: self.pairs.failed[role] - failed[role] for role in failed}
            counts = {
                role: (errors - unseen.get(role, 0), trials - (len(self.pairs) - end))
                for role, (errors, trials) in counts.items()
            }
        return replace(self, pairs=Pairs(latencies, self.pairs.blocks[:end], failed), counts=counts)


def read_samples(
    evaluation_folder: Path, benchmark_folder: Path, deployment: Deployment, gate: Gate
) -> Samples:
    """Everything that the artifacts hold. Never raises: what cannot be read is missing, with the
    reason.
    """
    missing: dict[str, NoEvidenceError] = {}
    documents, flips = _read_evaluation(evaluation_folder, deployment, missing)
    pairs, counts, rates, prices, doubt, stopped_at = None, None, None, None, "", 0
    with _note_missing(missing, "requests", "errors", "blocks"):
        result = BenchmarkResult.load(benchmark_folder)
        check_benchmark(result, deployment)
        doubt, stopped_at, prices = (
            _find_doubt(result, gate),
            result.stopped_at,
            _read_prices(result),
        )
        with _note_missing(missing, "requests", "errors"):
            pairs, counts = read_pairs(benchmark_folder, result)
        with _note_missing(missing, "blocks"):
            rates = read_rates(benchmark_folder, result)
            doubt = doubt or _explain_missing_blocks(len(rates["candidate"]), gate)
    samples = Samples(documents, pairs, counts, rates, prices, missing, doubt, flips)
    # pairs that were under way when a look had decided are not those of another look
    return samples.take_first(stopped_at) if stopped_at else samples


def read_quality(evaluation_folder: Path) -> Samples:
    """What an evaluation holds, before anything is deployed. Never raises."""
    missing: dict[str, NoEvidenceError] = {}
    documents, flips = _read_evaluation(evaluation_folder, None, missing)
    return Samples(documents=documents, missing=missing, flips=flips)


def samples_so_far(
    evaluation_folder: Path,
    deployment: Deployment,
    requests: pa.Table,
    blocks: pa.Table,
    gate: Gate,
) -> Samples:
    """The same while the benchmark runs, from the tables that it has filled until now. Never
    raises.
    """
    missing: dict[str, NoEvidenceError] = {}
    documents, flips = _read_evaluation(evaluation_folder, deployment, missing)
    pairs, counts, rates, doubt = None, None, None, ""
    with _note_missing(missing, "requests", "errors"):
        pairs, counts = extract_pairs(requests, True)
    with _note_missing(missing, "blocks"):
        rates = extract_rates(blocks, True)
        doubt = _explain_missing_blocks(len(rates["candidate"]), gate)
    return Samples(documents, pairs, counts, rates, None, missing, doubt, flips)


def _read_evaluation(
    folder: Path, deployment: Deployment | None, missing: dict[str, NoEvidenceError]
) -> tuple[Documents | None, Floats | None]:
    documents, flips = None, None
    with _note_missing(missing, *QUALITY):
        evaluation = Evaluation.load(folder)
        if deployment:
            check_evaluation(evaluation, deployment)
        with _note_missing(missing, "documents"):
            documents = read_documents(folder, evaluation)
        with _note_missing(missing, "tasks"):
            flips = read_flips(folder, evaluation)
    return documents, flips


@contextlib.contextmanager
def _note_missing(missing: dict[str, NoEvidenceError], *names: str) -> Iterator[None]:
    """What goes wrong inside is why these sources are missing, whatever it is: unforeseen damage to
    a file must not end in a promotion or a crash.
    """
    try:
        yield
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, GreenlightError)
            else f"the samples cannot be understood ({type(error).__name__}: {error})"
        )
        missing |= {name: NoEvidenceError(reason) for name in names}


def _find_doubt(result: BenchmarkResult, gate: Gate) -> str:
    plan = gate.benchmark
    if not result.complete:
        return f"the benchmark is not complete: {result.reason or 'it does not say why'}"
    if result.stopped_at and (
        result.stopped_at not in plan.look_pairs or result.pairs < result.stopped_at
    ):
        return (
            f"the benchmark stopped at {result.stopped_at} pairs and has {result.pairs}, and the"
            f" gate looks after {', '.join(map(str, plan.look_pairs))}"
        )
    if result.pairs < plan.pairs and not result.stopped_at:
        return f"the benchmark has {result.pairs} pairs, the gate asks for {plan.pairs}"
    if result.concurrency != plan.concurrency:
        return (
            f"the benchmark ran at concurrency {result.concurrency}, the gate asks for"
            f" {plan.concurrency}"
        )
    if result.max_tokens != plan.max_tokens and not _sets_own_lengths(result):
        return (
            f"the benchmark ran with {result.max_tokens} tokens per request, the gate asks for"
            f" {plan.max_tokens}"
        )
    if result.block_tokens != plan.block_tokens:
        return (
            f"the throughput windows ran with {result.block_tokens} tokens per request, the gate"
            f" asks for {plan.block_tokens}"
        )
    return ""


def _sets_own_lengths(result: BenchmarkResult) -> bool:
    """Whether the workload says how long answers are, not the gate."""
    workload = json.loads(result.workload or "{}")
    return bool(workload.get("output_tokens") or workload.get("trace"))


def _read_prices(result: BenchmarkResult) -> dict[str, float] | None:
    found = {"candidate": result.candidate.price_per_hour} | (
        {"live": result.live.price_per_hour} if result.live else {}
    )
    prices = {
        role: price
        for role, price in found.items()
        if price is not None and 0 < price < float("inf")
    }
    return prices if len(prices) == len(found) else None


def _explain_missing_blocks(found: int, gate: Gate) -> str:
    wanted = gate.benchmark.throughput_blocks
    return (
        f"the benchmark has {found} pairs of throughput windows, the gate asks for {wanted}"
        if found < wanted
        else ""
    )
