"""The 99th percentile of KL as an objective: judged from the divergences of single tokens, which
must belong to the documents.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlight.core.records import Evaluation, Metric, ObjectiveResult
from greenlight.gate.judge import judge_quality
from greenlight.gate.objectives import load_gate
from greenlight.stats.documents import quantile_of_clusters
from tests.gate.artifacts import World, make_artifacts


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """Documents whose tokens diverge by amounts with a tail."""
    folder, _ = make_artifacts(tmp_path, World(kl=0.01))
    table = pq.read_table(folder / "documents.parquet").to_pydict()
    random = np.random.default_rng(5)
    shares = [random.lognormal(0, 1.2, tokens) for tokens in table["tokens"]]
    kl = np.concatenate(
        [share / share.sum() * total for share, total in zip(shares, table["kl_sum"], strict=True)]
    )
    write(folder, kl, np.repeat(np.arange(len(shares)), table["tokens"]))
    return folder


def write(folder: Path, kl: np.ndarray, document: np.ndarray) -> None:
    pq.write_table(pa.table({"document": document, "kl": kl}), folder / "tokens.parquet")
    record = Evaluation.load(folder)
    tail = quantile_of_clusters(kl, document, 0.99)
    record.model_copy(
        update={
            "metrics": record.metrics
            | {"kl_p99": Metric(value=tail.estimate, low=tail.low, high=tail.high)}
        }
    ).save(folder)


def judged(folder: Path, limit: float) -> ObjectiveResult:
    (result,) = judge_quality(
        folder,
        load_gate(
            f"{{name: tail, confidence: 0.95, objectives: [{{metric: kl_p99, max: {limit}}}]}}"
        ),
    )
    return result


def test_its_bound_is_judged(evaluation: Path) -> None:
    value = Evaluation.load(evaluation).metrics["kl_p99"]
    passed, failed, close = (
        judged(evaluation, 1.5 * value.value),
        judged(evaluation, 0.5 * value.value),
        judged(evaluation, 1.01 * value.value),
    )
    assert (passed.status, failed.status, close.status) == ("pass", "fail", "inconclusive")
    assert (
        passed.estimate == pytest.approx(value.value)
        and passed.bound
        and value.value < passed.bound < value.high
    )
    assert passed.reason.startswith("99th percentile of KL divergence is 0.0")


def test_an_evaluation_without_tokens_cannot_answer(evaluation: Path) -> None:
    (evaluation / "tokens.parquet").unlink()
    assert (
        judged(evaluation, 1).status == "inconclusive"
        and "evaluate again" in judged(evaluation, 1).reason
    )


def test_tokens_of_another_evaluation_are_no_evidence(evaluation: Path) -> None:
    table = pq.read_table(evaluation / "tokens.parquet").to_pydict()
    kl, document = np.array(table["kl"]), np.array(table["document"])
    for other, where, why in (
        (kl * 0.5, document, "do not add up"),
        (kl[:-1], document[:-1], "tokens"),
        (kl, document[::-1], "do not"),
    ):
        write(evaluation, other, where)
        result = judged(evaluation, 1)
        assert result.status == "inconclusive" and why in result.reason
