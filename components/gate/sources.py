"""Where the samples of a decision come from, each read once, and the part of them that a look may use."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from components.errors import GreenlightError
from components.gate.estimates import Floats
from components.gate.evidence import Counts, Documents, NoEvidence, Pairs, check_benchmark, check_evaluation, read_documents, read_pairs, read_rates
from components.gate.objectives import Gate
from components.records import BenchmarkResult, Deployment, Evaluation

Value = TypeVar("Value")


@dataclass(frozen=True)
class Samples:
    """Samples by their source. A source that cannot be used is None, and `missing` says why.

    Attributes:
        counts: by role, failed requests and all, those of the throughput blocks included.
        rates: by role, output tokens a second of the throughput blocks.
        missing: by source, why there is nothing.
        doubt: why the benchmark can speak against a candidate, but not for it: it is not what the gate asked for, whole. Empty when it is.
    """

    documents: Documents | None = None
    pairs: Pairs | None = None
    counts: Counts | None = None
    rates: dict[str, Floats] | None = None
    missing: dict[str, NoEvidence] = field(default_factory=dict)
    doubt: str = ""

    @property
    def flaw(self) -> str:
        """Why nothing may be promoted on this evidence, whether or not an objective asks for the part that is flawed. Empty when it is sound."""
        return next((str(reason) for reason in self.missing.values()), self.doubt)

    def need(self, source: str, value: Value | None) -> Value:
        """The value of a source. Raises NoEvidence with the reason when there is none."""
        if source in self.missing:
            raise self.missing[source]
        if value is None:
            raise NoEvidence("there are no such samples")
        return value

    def first(self, pairs: int) -> "Samples":
        """The samples of a look: the whole blocks within the first `pairs` pairs, and what is not measured in pairs."""
        if self.pairs is None or pairs >= len(self.pairs):
            return self
        sizes = np.bincount(self.pairs.blocks)
        end = int(sizes[: np.searchsorted(np.cumsum(sizes), pairs, side="right")].sum())
        latencies = {metric: {role: values[:end] for role, values in roles.items()} for metric, roles in self.pairs.latencies.items()}
        failed = {role: int(np.isinf(values).sum()) for role, values in latencies["e2e"].items()}
        counts = self.counts
        if counts is not None:
            unseen = {role: self.pairs.failed[role] - failed[role] for role in failed}
            counts = {role: (errors - unseen.get(role, 0), trials - (len(self.pairs) - end)) for role, (errors, trials) in counts.items()}
        return replace(self, pairs=Pairs(latencies, self.pairs.blocks[:end], failed), counts=counts)


def read_samples(evaluation_folder: Path, benchmark_folder: Path, deployment: Deployment, gate: Gate) -> Samples:
    """Everything that the artifacts hold. Never raises: what cannot be read is missing, with the reason."""
    missing: dict[str, NoEvidence] = {}
    documents, pairs, counts, rates, doubt = None, None, None, None, ""
    with _source(missing, "documents"):
        evaluation = Evaluation.load(evaluation_folder)
        check_evaluation(evaluation, deployment)
        documents = read_documents(evaluation_folder, evaluation)
    with _source(missing, "requests", "errors", "blocks"):
        result = BenchmarkResult.load(benchmark_folder)
        check_benchmark(result, deployment)
        doubt = _doubt(result, gate)
        with _source(missing, "requests", "errors"):
            pairs, counts = read_pairs(benchmark_folder, result)
        with _source(missing, "blocks"):
            rates = read_rates(benchmark_folder, result)
            doubt = doubt or _missing_blocks(len(rates["candidate"]), gate)
    return Samples(documents, pairs, counts, rates, missing, doubt)


@contextlib.contextmanager
def _source(missing: dict[str, NoEvidence], *names: str) -> Iterator[None]:
    """What goes wrong inside is why these sources are missing, whatever it is: unforeseen damage to a file must not end in a promotion or a crash."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, GreenlightError) else f"the samples cannot be understood ({type(error).__name__}: {error})"
        missing |= {name: NoEvidence(reason) for name in names}


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
