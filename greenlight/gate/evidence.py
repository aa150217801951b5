"""What a decision rests on, read from the artifacts and checked. Anything missing, cut off, doubled
or not finite is no evidence.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenlight.benchmark.samples import BLOCKS, REQUESTS
from greenlight.core.errors import GreenlightError
from greenlight.core.files import file_digest
from greenlight.core.records import RECORD_FILE, BenchmarkResult, Deployment, Evaluation
from greenlight.evaluate.answers import ANSWERS_FILE
from greenlight.stats.estimates import Floats, Ints

DOCUMENTS, TOKENS = "documents.parquet", "tokens.parquet"
DOCUMENT_COLUMNS = ("tokens", "bytes", "nll_baseline", "nll_candidate", "kl_sum", "top1_agree")
MIN_DOCUMENTS = 10
"""Documents below which resampling them says too little."""
TOLERANCE = 1e-6
"""Relative difference between a recorded figure and the same figure from its samples, above which
they do not belong together.
"""

LATENCIES = ("ttft", "itl", "longest_gap", "e2e")


class NoEvidenceError(GreenlightError):
    """Samples from which nothing can be concluded. The message is the reason of every objective
    that needs them.
    """


@dataclass(frozen=True)
class Pairs:
    """Paired requests. Arrays have one element per pair; a failed request is infinitely slow.

    Attributes:
        latencies: by metric, then by role.
        blocks: number of the block of each pair, from 0 without gaps.
    """

    latencies: dict[str, dict[str, Floats]]
    blocks: Ints
    failed: dict[str, int]

    def __len__(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True)
class Documents:
    """Sums by document, as `greenlight.components.evaluate` made them, and what its record says of
    them.

    Attributes:
        token_kl, token_document: the divergence at each token and its document. None in evaluations
            from before they were kept.
    """

    recorded: dict[str, float]
    tokens: Floats
    bytes: Floats
    nll_baseline: Floats
    nll_candidate: Floats
    kl_sum: Floats
    top1_agree: Floats
    token_kl: Floats | None = None
    token_document: Ints | None = None

    def __len__(self) -> int:
        return len(self.tokens)


Counts = dict[str, tuple[int, int]]
"""By role: failed requests, and all."""


def record_digest(folder: Path) -> str:
    """sha256 of the record of an artifact; empty when there is none."""
    try:
        return hashlib.sha256((folder / RECORD_FILE).read_bytes()).hexdigest()
    except OSError:
        return ""


def check_evaluation(evaluation: Evaluation, deployment: Deployment) -> None:
    """Raises NoEvidenceError when it is about another model than the one deployed."""
    if evaluation.candidate_digest != deployment.candidate.digest:
        raise NoEvidenceError(
            f"the evaluation is of model {evaluation.candidate_digest[:12]}, not of"
            f" {deployment.candidate.digest[:12]}, which is deployed"
        )


def check_benchmark(result: BenchmarkResult, deployment: Deployment) -> None:
    """Raises NoEvidenceError when it measured other releases than those deployed."""
    for role, summary, release in (
        ("candidate", result.candidate, deployment.candidate),
        ("live", result.live, deployment.live),
    ):
        if summary and (summary.release_id, summary.digest) != (release.release_id, release.digest):
            measured, wanted = (
                f"{found.release_id or 'an unnamed release'} ({found.digest[:12]})"
                for found in (summary, release)
            )
            raise NoEvidenceError(
                f"the benchmark measured {measured} as {role}, not {wanted}, which is deployed"
            )


def read_documents(folder: Path, evaluation: Evaluation) -> Documents:
    table = _read_parquet(folder / DOCUMENTS, "")
    columns: dict[str, Any] = {name: _read_floats(table, name) for name in DOCUMENT_COLUMNS}
    documents = Documents(
        recorded={name: metric.value for name, metric in evaluation.metrics.items()}, **columns
    )
    count, tokens = len(documents), documents.tokens.sum()
    if (count, tokens) != (evaluation.documents, evaluation.tokens):
        raise NoEvidenceError(
            f"{DOCUMENTS} holds {count} documents with {tokens:.0f} tokens, its record says"
            f" {evaluation.documents} with {evaluation.tokens}"
        )
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise NoEvidenceError(f"{DOCUMENTS} holds values in {name} that are not finite")
    if (
        (documents.tokens <= 0).any()
        or (documents.bytes <= 0).any()
        or (documents.top1_agree < 0).any()
        or (documents.top1_agree > documents.tokens).any()
    ):
        raise NoEvidenceError(f"{DOCUMENTS} holds counts that cannot be")
    return _add_tokens(folder, documents)


def _add_tokens(folder: Path, documents: Documents) -> Documents:
    """With the divergences of single tokens, which must be those that the sums are of."""
    if not (folder / TOKENS).is_file():
        return documents
    table = _read_parquet(folder / TOKENS, "")
    kl, document = _read_floats(table, "kl"), _read_floats(table, "document").astype(int)
    if len(kl) != documents.tokens.sum() or not np.isfinite(kl).all():
        raise NoEvidenceError(
            f"{TOKENS} holds {len(kl)} tokens, {DOCUMENTS} {documents.tokens.sum():.0f}, or values"
            " that are not finite"
        )
    if (
        (document < 0).any()
        or (document >= len(documents)).any()
        or (np.bincount(document, minlength=len(documents)) != documents.tokens).any()
    ):
        raise NoEvidenceError(f"{TOKENS} and {DOCUMENTS} do not hold the same documents")
    if not np.allclose(
        np.bincount(document, kl, minlength=len(documents)), documents.kl_sum, rtol=1e-4, atol=1e-6
    ):
        raise NoEvidenceError(f"the divergences in {TOKENS} do not add up to those in {DOCUMENTS}")
    return replace(documents, token_kl=kl, token_document=document)


def read_flips(folder: Path, evaluation: Evaluation) -> Floats | None:
    """Of each item of all tasks: 1 where only the baseline answered right, -1 where only the
    candidate did, else 0. None where no tasks were asked.
    """
    if not evaluation.tasks:
        return None
    table = _read_parquet(folder / ANSWERS_FILE, "")
    names = np.array(_read_columns(table, ["task"])["task"])
    baseline, candidate = (_read_floats(table, role) for role in ("baseline", "candidate"))
    if not (np.isin(baseline, (0, 1)).all() and np.isin(candidate, (0, 1)).all()):
        raise NoEvidenceError(f"{ANSWERS_FILE} holds answers that are neither right nor wrong")
    flips = baseline - candidate
    for task in evaluation.tasks:
        own = flips[names == task.name]
        found, said = (
            (len(own), (own > 0).sum(), (own < 0).sum()),
            (task.items, task.right_to_wrong, task.wrong_to_right),
        )
        if found != said:
            raise NoEvidenceError(
                f"{ANSWERS_FILE} holds {found[0]} items of {task.name} with {found[1]} and"
                f" {found[2]} flips, its record says {said}"
            )
    if len(flips) != sum(task.items for task in evaluation.tasks):
        raise NoEvidenceError(f"{ANSWERS_FILE} holds items of tasks that its record does not name")
    return flips


def read_pairs(folder: Path, result: BenchmarkResult) -> tuple[Pairs, Counts]:
    """The paired requests, and the failed ones among all requests, those of the throughput windows
    included.
    """
    pairs, counts = extract_pairs(
        _read_parquet(folder / REQUESTS, result.requests_digest), result.live is not None
    )
    for role, summary in (("candidate", result.candidate), ("live", result.live)):
        if summary and counts.get(role, (0, 0)) != (summary.errors, summary.requests):
            raise NoEvidenceError(
                f"{REQUESTS} holds {counts.get(role, (0, 0))[1]} requests to {role}, its record"
                f" says {summary.requests}, or their failures differ"
            )
    if len(pairs) != result.pairs:
        raise NoEvidenceError(
            f"{REQUESTS} holds {len(pairs)} whole pairs, its record says {result.pairs}"
        )
    return pairs, counts


def extract_pairs(requests: pa.Table, against_live: bool) -> tuple[Pairs, Counts]:
    """The same from a table of requests."""
    names = [
        "phase",
        "pair",
        "block",
        "order",
        "role",
        "prompt",
        "asked",
        "intended",
        "ttft",
        "e2e",
        "itls",
        "tokens_out",
        "error",
    ]
    rows = _read_columns(requests, names)
    roles = ["candidate", "live"] if against_live else ["candidate"]
    counts: Counts = {}
    pairs: dict[int, dict[str, int]] = {}
    for index, (phase, pair, role) in enumerate(
        zip(rows["phase"], rows["pair"], rows["role"], strict=True)
    ):
        if role not in roles:
            raise NoEvidenceError(
                f"{REQUESTS} holds requests to {role!r}, of which the record knows nothing"
            )
        errors, trials = counts.get(role, (0, 0))
        counts[role] = (errors + bool(rows["error"][index]), trials + 1)
        if phase == "pairs":
            if role in pairs.setdefault(pair, {}):
                raise NoEvidenceError(f"{REQUESTS} holds two requests to {role} of pair {pair}")
            pairs[pair][role] = index
    full = sorted(pair for pair, members in pairs.items() if len(members) == len(roles))
    if not full:
        raise NoEvidenceError(f"{REQUESTS} holds no whole pair")
    for pair in full:
        for name, wanted in (("prompt", 1), ("asked", 1), ("order", len(roles))):
            if len({rows[name][index] for index in pairs[pair].values()}) != wanted:
                raise NoEvidenceError(
                    f"{REQUESTS}: the requests of pair {pair} do not belong together"
                )
        times = [
            rows["intended"][index]
            for index in sorted(pairs[pair].values(), key=lambda index: rows["order"][index])
        ]
        if not (all(map(math.isfinite, times)) and times == sorted(times)):
            raise NoEvidenceError(
                f"{REQUESTS}: the second request of pair {pair} was sent before the first; the"
                " clock went backwards"
            )
    latencies: dict[str, dict[str, Floats]] = {metric: {} for metric in LATENCIES}
    for role in roles:
        values = np.array([_read_latencies(rows, pairs[pair][role]) for pair in full])
        for metric, column in zip(LATENCIES, values.T, strict=True):
            latencies[metric][role] = column
    blocks = np.unique(
        [rows["block"][pairs[pair]["candidate"]] for pair in full], return_inverse=True
    )[1].astype(np.int64)
    failed = {role: int(np.isinf(latencies["e2e"][role]).sum()) for role in roles}
    return Pairs(latencies, blocks, failed), counts


def read_rates(folder: Path, result: BenchmarkResult) -> dict[str, Floats]:
    """Output tokens per second of the throughput windows by role; element i of both is the i-th
    pair of windows.
    """
    return extract_rates(
        _read_parquet(folder / BLOCKS, result.blocks_digest), result.live is not None
    )


def extract_rates(blocks: pa.Table, against_live: bool) -> dict[str, Floats]:
    """The same from a table of blocks."""
    rows = _read_columns(blocks, ["pair", "role", "seconds", "output_tokens", "tokens_per_second"])
    found: dict[tuple[int, str], float] = {}
    for pair, role, seconds, tokens, rate in zip(*rows.values(), strict=True):
        if not (
            math.isfinite(rate)
            and seconds > 0
            and tokens >= 0
            and math.isclose(rate, tokens / seconds, rel_tol=TOLERANCE)
        ):
            raise NoEvidenceError(
                f"{BLOCKS} holds a block of {tokens} tokens in {seconds} s that gives {rate}"
                " tokens/s, which cannot be"
            )
        if (pair, role) in found:
            raise NoEvidenceError(f"{BLOCKS} holds two blocks of {role} in pair {pair}")
        found[pair, role] = rate
    roles = ["candidate", "live"] if against_live else ["candidate"]
    whole = sorted({pair for pair, _ in found if all((pair, role) in found for role in roles)})
    return {role: np.array([found[pair, role] for pair in whole]) for role in roles}


def _read_latencies(rows: dict[str, list[Any]], index: int) -> Sequence[float]:
    """TTFT, mean gap, longest gap and E2E of one request. No gaps (a single token): NaN."""
    if rows["error"][index]:
        return [math.inf] * len(LATENCIES)
    ttft, e2e, itls, tokens, asked = (
        rows[name][index] for name in ("ttft", "e2e", "itls", "tokens_out", "asked")
    )
    if not (math.isfinite(ttft) and math.isfinite(e2e) and 0 < ttft <= e2e) or not all(
        math.isfinite(gap) and gap >= 0 for gap in itls
    ):
        raise NoEvidenceError(
            f"{REQUESTS} holds a request with TTFT {ttft} s and E2E {e2e} s, or with gaps, that"
            " cannot be"
        )
    if tokens != asked or len(itls) != tokens - 1:
        raise NoEvidenceError(
            f"{REQUESTS} holds a request with {tokens} tokens and {len(itls)} gaps; {asked} tokens"
            " were asked for, and it has no error"
        )
    return ttft, sum(itls) / len(itls) if itls else math.nan, max(itls, default=math.nan), e2e


def _read_parquet(path: Path, digest: str) -> pa.Table:
    try:
        if digest and file_digest(path) != digest:
            raise NoEvidenceError(
                f"{path.name} is not the file that its record was made from: it was changed or"
                " cut off"
            )
        return pq.read_table(path)
    except FileNotFoundError:
        raise NoEvidenceError(f"{path.name} is missing") from None
    except (OSError, pa.ArrowException) as error:
        raise NoEvidenceError(
            f"{path.name} cannot be read: {str(error).splitlines()[0][:120]}"
        ) from None


def _read_columns(table: pa.Table, names: Sequence[str]) -> dict[str, list[Any]]:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise NoEvidenceError(f"the column {missing[0]} is missing")
    columns = {name: table[name].to_pylist() for name in names}
    for name, values in columns.items():
        if any(value is None for value in values):
            raise NoEvidenceError(f"the column {name} has gaps")
    return columns


def _read_floats(table: pa.Table, name: str) -> Floats:
    try:
        return np.array(_read_columns(table, [name])[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise NoEvidenceError(f"the column {name} does not hold numbers") from None
