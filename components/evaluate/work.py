"""Judge a candidate against its baseline on held-out text, token by token, both reloaded from disk in this process."""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.evaluate.bootstrap import quantile_of_clusters, ratio_of_sums
from components.evaluate.compare import TAIL, Sums, compare
from components.evaluate.scorers import Scorer, load_scorer, silence
from components.evaluate.text import BUILTIN, load_text
from components.evaluate.tokens import Document, Reader
from components.quantize.checkpoint import open_checkpoint
from components.records import RECORD_FILE, Evaluation, Metric, ScoredCandidate

log = logging.getLogger("greenlight.evaluate")

DOCUMENTS_FILE, TOKENS_FILE = "documents.parquet", "tokens.parquet"
PROGRESS_SECONDS = 1.0
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Scored:
    """One document, scored."""

    document: int
    bytes: int
    sums: Sums


class Pair(NamedTuple):
    """Both models, the candidate in a thread of its own."""

    baseline: Scorer
    candidate: Scorer
    beside: ThreadPoolExecutor

    def compare(self, inputs: list[int], targets: list[int]) -> Sums:
        candidate = self.beside.submit(self.candidate.logits, inputs)
        return compare(self.baseline.logits(inputs), candidate.result(), targets)


def evaluate_model(baseline_folder: Path | str, candidate_folder: Path | str, output_folder: Path | str, text: str = BUILTIN) -> Evaluation:
    """Score both models on the same tokens. Writes `documents.parquet` and `tokens.parquet` into `output_folder`; the record is the caller's to save.

    Args:
        baseline_folder, candidate_folder: Model artifacts, or plain model folders.
        text: `builtin`, or the path or gs:// URI of JSONL with a `text` a line.

    Raises:
        InputError: an argument is unusable.
        IntegrityError: a model is not what its record says, or the candidate is not made from this baseline.
        GreenlightError: a model cannot be loaded, or gives logits that are not finite.
    """
    started = time.monotonic()
    (Path(output_folder) / RECORD_FILE).unlink(missing_ok=True)  # what a killed attempt left is nobody's artifact
    texts = load_text(text)
    baseline = open_checkpoint("baseline", Path(baseline_folder))
    candidate = open_checkpoint("candidate", Path(candidate_folder))
    reader = Reader(baseline)
    reader.check_same(candidate.folder, texts)
    documents = [reader.read(each) for each in texts]

    log.info("loading the baseline and the candidate (%s)", candidate.record.format)
    threads = max(1, len(os.sched_getaffinity(0)) // 2)  # the two models compute side by side
    with silence(), ThreadPoolExecutor(1) as beside:
        pair = Pair(load_scorer(baseline, threads), load_scorer(candidate, threads), beside)
        log.info("scoring %d documents of %d tokens", len(documents), sum(len(document.ids) for document in documents))
        scored = _score(pair, reader, documents)
    write_documents(scored, Path(output_folder))
    record = Evaluation(
        baseline_digest=baseline.record.digest,
        candidate_digest=candidate.record.digest,
        candidate=ScoredCandidate(**candidate.record.model_dump(include={"method", "bits", "format", "bytes"})),
        documents=len(scored),
        tokens=sum(each.sums.tokens for each in scored),
        metrics=summarize(scored),
        seconds=round(time.monotonic() - started, 3),
    )
    kl = record.metrics["kl_mean"]
    log.info("KL %.5f nats (%.5f to %.5f)", kl.value, kl.low, kl.high, extra={"figure": f"KL {kl.value:.4f}"})
    return record


def summarize(scored: list[Scored]) -> dict[str, Metric]:
    """The metrics of an Evaluation, each with its interval over documents."""
    tokens = [each.sums.tokens for each in scored]
    size = [each.bytes for each in scored]
    baseline = [each.sums.nll_baseline for each in scored]
    candidate = [each.sums.nll_candidate for each in scored]
    added = [each.sums.nll_candidate - each.sums.nll_baseline for each in scored]
    return {
        "perplexity": _metric(candidate, tokens, _exp),
        "baseline_perplexity": _metric(baseline, tokens, _exp),
        "perplexity_ratio": _metric(added, tokens, _exp),
        "bits_per_byte": _metric(candidate, size, _bits),
        "baseline_bits_per_byte": _metric(baseline, size, _bits),
        "kl_mean": _metric([each.sums.kl_sum for each in scored], tokens, _not_negative),
        "kl_p99": _tail([each.sums.kl for each in scored]),
        "top1_agreement": _metric([each.sums.top1_agree for each in scored], tokens, _share),
    }


def _score(pair: Pair, reader: Reader, documents: list[Document]) -> list[Scored]:
    scored: list[Scored] = []
    told = time.monotonic()
    for number, document in enumerate(documents):
        sums = Sums()
        for inputs, targets in reader.windows(document):
            sums += pair.compare(inputs, targets)
        scored.append(Scored(number, document.bytes, sums))
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("scored %d of %d documents", number + 1, len(documents), extra={"figure": f"{(number + 1) / len(documents):.0%}"})
    return scored


def write_documents(scored: list[Scored], folder: Path) -> None:
    """A row a document: its number, tokens, bytes, and the sums over its tokens; and a row a token: its document and its divergence."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"document": each.document, "bytes": each.bytes} | dataclasses.asdict(each.sums) for each in scored]
    columns = ("document", "tokens", "bytes", "nll_baseline", "nll_candidate", "kl_sum", "top1_agree")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in columns}), folder / DOCUMENTS_FILE)
    tokens = {"document": [each.document for each in scored for _ in each.sums.kl], "kl": [kl for each in scored for kl in each.sums.kl]}
    pq.write_table(pa.table(tokens, pa.schema({"document": pa.int32(), "kl": pa.float32()})), folder / TOKENS_FILE)


def _exp(nats: float) -> float:
    return math.exp(min(nats, 709.0))  # a ruined model must get a huge perplexity, not an overflow


def _bits(nats: float) -> float:
    return nats / math.log(2)


def _not_negative(value: float) -> float:
    return max(value, 0.0)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _metric(numerator: list[float] | list[int], denominator: list[int], scale: Callable[[float], float]) -> Metric:
    estimate, low, high = (scale(value) for value in ratio_of_sums(numerator, denominator, CONFIDENCE))
    return Metric(value=estimate, low=low, high=high, confidence=CONFIDENCE)


def _tail(divergences: list[list[float]]) -> Metric:
    """The 99th percentile of the divergences of tokens, rounded to 32 bits as they are kept."""
    tokens = np.concatenate([np.asarray(each, np.float32) for each in divergences])
    documents = np.repeat(np.arange(len(divergences)), [len(each) for each in divergences])
    estimate, low, high = (_not_negative(value) for value in quantile_of_clusters(tokens, documents, TAIL, CONFIDENCE))
    return Metric(value=estimate, low=low, high=high, confidence=CONFIDENCE)
