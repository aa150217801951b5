"""The choice among the candidates of a sweep: objectives first, then what the gate prefers."""

from pathlib import Path

import pytest

from greenlight.benchmark.workload import load_workload
from greenlight.core.errors import GreenlightError, RejectedError
from greenlight.core.records import Evaluation, Failure, ScoredCandidate, Selection, Speed
from greenlight.evaluate.answers import Answered, compare_answers, write_both
from greenlight.evaluate.compare import Sums
from greenlight.evaluate.evaluation import Scored, summarize, write_documents
from greenlight.gate.objectives import Gate, load_gate
from greenlight.select.choose import select_candidate

GATE = """
name: strict
confidence: 0.95
select: {prefer: PREFER, within: 0.02}
objectives:
  - {metric: kl_mean, max: 0.05}
  - {metric: top1_agreement, min: 0.9}
  - {metric: e2e, statistic: p50, scope: vs_live, max: 1.05}
"""
PRICED = load_workload("{name: priced, price_per_hour: 3.6}")


def gate(prefer: str = "speed") -> Gate:
    return load_gate(GATE.replace("PREFER", prefer))


def evaluation(
    folder: Path, name: str, kl: float, rate: float = 100.0, size: int = 10, documents: int = 12
) -> Path:
    method, bits = name.split(":")
    divergences = [kl * (1 + number % 3 / 10) for number in range(documents)]
    scored = [
        Scored(number, 400, Sums(100, 300.0, 300.0 + 100 * kl, 100 * each, 97, [each] * 100))
        for number, each in enumerate(divergences)
    ]
    write_documents(scored, folder / name)
    speed = Speed(
        engine="openvino",
        tokens_per_second=rate,
        concurrency=8,
        load_seconds=1.0,
        memory_bytes=10**9,
    )
    candidate = ScoredCandidate(
        uri=f"gs://b/{name}", method=method, bits=int(bits), bytes=size * 10**6, speed=speed
    )
    Evaluation(
        baseline_digest="b" * 64,
        candidate_digest=name,
        documents=documents,
        tokens=100 * documents,
        candidate=candidate,
        metrics=summarize(scored),
    ).save(folder / name)
    return folder / name


def failed(folder: Path, name: str) -> Path:
    Failure(
        candidate=name, step="quantize", error="ChildFailedError", message="it was killed"
    ).save(folder / name)
    return folder / name


def by_name(selection: Selection) -> dict[str, tuple[str, bool]]:
    return {each.name: (each.status, each.on_front) for each in selection.contenders}


def test_objectives_come_before_speed_and_failures_are_left_out(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path, "optimum:8", 0.001, 100),
        evaluation(tmp_path, "optimum:4", 0.2, 400),
        failed(tmp_path, "gptq:4"),
    ]
    folders += [evaluation(tmp_path, "bnb:4", 0.03, 80), evaluation(tmp_path, "bnb:8", 0.0005, 50)]
    found = select_candidate(folders, gate(), PRICED)
    assert (found.chosen, found.index, found.digest, found.prefer) == (
        "optimum:8",
        0,
        "optimum:8",
        "speed",
    )
    assert by_name(found) == {
        "optimum:8": ("chosen", True),
        "optimum:4": ("refused", False),
        "gptq:4": ("failed", False),
        "bnb:4": ("passed", False),
        "bnb:8": ("passed", True),
    }
    reasons = {each.name: each.reason for each in found.contenders}
    assert (
        reasons["optimum:8"]
        == found.reason
        == "it keeps the quality objectives of gate strict; the gate prefers speed: 100 tokens/s"
    )
    assert "limit 0.05" in reasons["optimum:4"] and reasons["gptq:4"] == "quantize: it was killed"
    assert (
        "optimum:8 is no worse in quality" in reasons["bnb:4"]
        and "80 tokens/s against 100 tokens/s" in reasons["bnb:4"]
    )
    assert found.contenders[0].cost_per_million_tokens == pytest.approx(10.0)
    # what is measured later is not asked
    assert [result.metric for result in found.contenders[0].objectives] == [
        "kl_mean",
        "top1_agreement",
    ]


def test_what_the_gate_prefers_changes_the_winner(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path, "optimum:8", 0.001, 100, size=9),
        evaluation(tmp_path, "optimum:4", 0.02, 90, size=5),
    ]
    assert select_candidate(folders, gate("speed"), PRICED).chosen == "optimum:8"
    assert select_candidate(folders, gate("cost"), PRICED).chosen == "optimum:8"
    assert select_candidate(folders, gate("size"), PRICED).chosen == "optimum:4"
    assert select_candidate(folders, gate("quality"), PRICED).chosen == "optimum:8"


def test_a_near_tie_goes_to_quality_and_says_so(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path, "optimum:4", 0.02, 101),
        evaluation(tmp_path, "optimum:8", 0.001, 100),
    ]
    found = select_candidate(folders, gate(), PRICED)
    assert (found.chosen, found.index) == ("optimum:8", 1)
    assert found.reason.endswith(
        "speed: 100 tokens/s, and the best in quality of those within 2% of optimum:4 (101"
        " tokens/s)"
    )


def test_a_drop_in_task_accuracy_is_a_matter_of_quality(tmp_path: Path) -> None:
    strict = load_gate(
        GATE.replace("PREFER", "speed").replace(
            "objectives:", "objectives:\n  - {metric: task_accuracy_drop, max: 0.05}"
        )
    )
    folders = [
        evaluation(tmp_path, name, kl) for name, kl in (("optimum:4", 0.01), ("optimum:8", 0.001))
    ]
    for folder, wrong in zip(folders, (30, 2), strict=True):
        before, after = (
            [Answered("exam", 0, False, [""] * 200, [number >= count for number in range(200)])]
            for count in (0, wrong)
        )
        write_both(before, after, folder)
        Evaluation.load(folder).model_copy(update={"tasks": compare_answers(before, after)}).save(
            folder
        )
    found = select_candidate(folders, strict, PRICED)
    assert by_name(found) == {"optimum:4": ("refused", False), "optimum:8": ("chosen", True)}
    assert found.contenders[0].reason.startswith(
        "drop in task accuracy is 15.00%; at 95% confidence at least"
    )


def test_no_evidence_is_not_quality(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path, "optimum:8", 0.001, documents=3),
        evaluation(tmp_path, "bnb:4", 0.03),
    ]
    (tmp_path / "bnb:8").mkdir()
    found = select_candidate(folders, gate(), PRICED)
    assert by_name(found)["optimum:8"][0] == "refused" and "too few" in found.contenders[0].reason
    (folders[1] / "documents.parquet").unlink()
    with pytest.raises(RejectedError):
        select_candidate(folders, gate(), PRICED)


def test_when_all_fail_or_none_is_good_enough_the_run_ends_here(tmp_path: Path) -> None:
    with pytest.raises(
        GreenlightError,
        match=r"No candidate of the sweep could be made.*gptq:4: quantize: it was killed",
    ) as error:
        select_candidate([failed(tmp_path, "gptq:4"), failed(tmp_path, "bnb:4")], gate(), PRICED)
    assert error.value.exit_code == 1
    folders = [failed(tmp_path, "gptq:4"), evaluation(tmp_path, "optimum:4", 0.2)]
    with pytest.raises(
        RejectedError,
        match=r"keeps the gate's objectives on quality.*optimum:4: mean KL divergence is",
    ) as error:
        select_candidate(folders, gate(), PRICED)
    assert error.value.exit_code == 3


def test_the_only_candidate_is_the_gates_to_judge(tmp_path: Path) -> None:
    found = select_candidate([evaluation(tmp_path, "optimum:4", 0.2)], gate(), PRICED)
    assert (found.chosen, found.reason, found.prefer) == ("optimum:4", "the only candidate", "")
