"""Judge a candidate, reloaded from disk in this process, against what its baseline predicts for
held-out text, token by token.
"""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from greenlight.core.records import RECORD_FILE, Evaluation, Metric, ScoredCandidate, TaskResult
from greenlight.evaluate.answers import Answered, compare_answers, read_answers, write_both
from greenlight.evaluate.compare import TAIL, Sums, compare
from greenlight.evaluate.golden import golden_set
from greenlight.evaluate.load_tasks import load_tasks
from greenlight.evaluate.parallel import report_seconds, score_windows
from greenlight.evaluate.reference import OpenReference, open_reference
from greenlight.evaluate.scorers import Scorer, load_scorer, silence
from greenlight.evaluate.windows import check_tokenizer
from greenlight.models.checkpoint import open_checkpoint
from greenlight.stats.documents import quantile_of_clusters, ratio_of_sums

log = logging.getLogger("greenlight.evaluate")

DOCUMENTS_FILE, TOKENS_FILE = "documents.parquet", "tokens.parquet"
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Scored:
    """One document, scored."""

    document: int
    bytes: int
    sums: Sums


def evaluate_model(
    reference_folder: Path | str, candidate_folder: Path | str, output_folder: Path | str
) -> Evaluation:
    """Score a candidate on the tokens of a reference, and ask it the same tasks.

    Writes `documents.parquet`, `tokens.parquet`, and where there are tasks `tasks.parquet` into
    `output_folder`; the record is the caller's to save.

    Args:
        reference_folder: a Reference artifact, made from the candidate's baseline.
        candidate_folder: a Model artifact, or a plain model folder.

    Raises:
        InputError: an argument is unusable.
        IntegrityError: an artifact is not what its record says, or the candidate is not made from
            this baseline.
        GreenlightError: the candidate cannot be loaded, or gives logits that are not finite.
    """
    started = time.monotonic()
    # what a killed attempt left is nobody's artifact
    (Path(output_folder) / RECORD_FILE).unlink(missing_ok=True)
    candidate = open_checkpoint("candidate", Path(candidate_folder))
    reference = open_reference(reference_folder)
    check_tokenizer(candidate.folder, reference.encoded)
    tasks = load_tasks(reference.tasks)

    log.info("loading the candidate (%s)", candidate.record.format)
    with silence():
        with report_seconds("loading the candidate"):
            scorer = load_scorer(candidate, len(os.sched_getaffinity(0)))
        scored = score(scorer, reference)
        with report_seconds("asking golden prompts"):
            golden = golden_set(
                scorer, candidate.folder, reference, [each.sums.leads for each in scored]
            )
        answered = tasks.ask("candidate", scorer, candidate) if tasks else []
    write_documents(scored, Path(output_folder))
    record = Evaluation(
        baseline_digest=reference.record.baseline_digest,
        candidate_digest=candidate.record.digest,
        candidate=ScoredCandidate(
            **candidate.record.model_dump(include={"method", "bits", "format", "bytes"})
        ),
        documents=len(scored),
        tokens=sum(each.sums.tokens for each in scored),
        metrics=summarize(scored),
        kl_error=math.sqrt(sum(each.sums.kl_variance for each in scored))
        / sum(each.sums.tokens for each in scored),
        golden=golden,
        tasks=_compare_answers(reference, answered, Path(output_folder)),
        seconds=round(time.monotonic() - started, 3),
    )
    kl = record.metrics["kl_mean"]
    log.info(
        "KL %.5f nats (%.5f to %.5f)",
        kl.value,
        kl.low,
        kl.high,
        extra={"figure": f"KL {kl.value:.4f}"},
    )
    return record


def _compare_answers(
    reference: OpenReference, answered: list[Answered], folder: Path
) -> list[TaskResult]:
    """Both models' answers, of which a file is written where there are any."""
    if not answered:
        return []
    before = read_answers(reference.folder, reference.record.tasks)
    results = compare_answers(before, answered)
    write_both(before, answered, folder)
    for each in results:
        said = f"{each.accuracy:.1%} right, baseline {each.baseline_accuracy:.1%}"
        log.info(
            "%s: %s, of %d items %d became wrong and %d right",
            each.name,
            said,
            each.items,
            each.right_to_wrong,
            each.wrong_to_right,
        )
    return results


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


def score(scorer: Scorer, reference: OpenReference) -> list[Scored]:
    """Compare a loaded candidate with what its baseline predicts, document by document."""
    scored = [
        Scored(number, document.bytes, Sums())
        for number, document in enumerate(reference.documents)
    ]
    for window, found in score_windows(
        scorer,
        reference.windows(),
        lambda each: each.inputs,
        lambda each, logits: compare(each.baseline, logits, each.targets),
        reference.record.tokens,
    ):
        sums = scored[window.document].sums
        sums += found
    return scored


def write_documents(scored: list[Scored], folder: Path) -> None:
    """A row per document: its number, tokens, bytes, and the sums over its tokens; and a row per
    token: its document and its divergence.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"document": each.document, "bytes": each.bytes} | dataclasses.asdict(each.sums)
        for each in scored
    ]
    columns = (
        "document",
        "tokens",
        "bytes",
        "nll_baseline",
        "nll_candidate",
        "kl_sum",
        "top1_agree",
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({name: [row[name] for row in rows] for name in columns}), folder / DOCUMENTS_FILE
    )
    tokens = {
        "document": [each.document for each in scored for _ in each.sums.kl],
        "kl": [kl for each in scored for kl in each.sums.kl],
    }
    pq.write_table(
        pa.table(tokens, pa.schema({"document": pa.int32(), "kl": pa.float32()})),
        folder / TOKENS_FILE,
    )


def _exp(nats: float) -> float:
    return math.exp(min(nats, 709.0))  # a ruined model must get a huge perplexity, not an overflow


def _bits(nats: float) -> float:
    return nats / math.log(2)


def _not_negative(value: float) -> float:
    return max(value, 0.0)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _metric(
    numerator: list[float] | list[int], denominator: list[int], scale: Callable[[float], float]
) -> Metric:
    estimate, low, high = (
        scale(value) for value in ratio_of_sums(numerator, denominator, CONFIDENCE)
    )
    return Metric(value=estimate, low=low, high=high, confidence=CONFIDENCE)


def _tail(divergences: list[list[float]]) -> Metric:
    """The 99th percentile of the divergences of tokens, rounded to 32 bits as they are kept."""
    tokens = np.concatenate([np.asarray(each, np.float32) for each in divergences])
    documents = np.repeat(np.arange(len(divergences)), [len(each) for each in divergences])
    estimate, low, high = (
        _not_negative(value) for value in quantile_of_clusters(tokens, documents, TAIL, CONFIDENCE)
    )
    return Metric(value=estimate, low=low, high=high, confidence=CONFIDENCE)
