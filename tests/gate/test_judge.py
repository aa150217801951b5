import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenlight.core.records import BenchmarkResult, Decision, ObjectiveResult
from greenlight.gate.judge import judge
from greenlight.gate.objectives import load_gate
from tests.gate.artifacts import (
    DEPLOYMENT,
    World,
    lenient_gate,
    make_artifacts,
    paired_requests,
    throughput_blocks,
    write_benchmark,
)


def decide(folder: Path, world: World, pairs: int = 100) -> Decision:
    return judge(*make_artifacts(folder, world), DEPLOYMENT, lenient_gate(pairs=pairs))


def objective(decision: Decision, name: str) -> ObjectiveResult:
    return next(each for each in decision.objectives if each.name == name)


def test_a_clearly_better_candidate_is_promoted(tmp_path: Path) -> None:
    decision = decide(tmp_path, World(slower=0.3, throughput=5))
    assert (decision.verdict, decision.action) == ("promote", "promote"), decision.reason
    assert (
        decision.gate_name == "quick"
        and len(decision.evaluation_digest) == len(decision.benchmark_digest) == 64
    )
    tail = objective(decision, "p95 of E2E vs live")
    assert tail.estimate and tail.bound and tail.estimate <= tail.bound < 1.1
    assert (
        tail.reason.startswith("p95 of E2E is 0.")
        and "x live; at 95% confidence at most 0." in tail.reason
        and tail.reason.endswith("limit 1.10x live")
    )
    assert decision.objectives[0].unit == "nats"


def test_without_auto_promote_it_is_held(tmp_path: Path) -> None:
    folders = make_artifacts(tmp_path, World(slower=0.3, throughput=5))
    assert judge(*folders, DEPLOYMENT, lenient_gate(), auto_promote=False).action == "hold"


def test_a_clearly_slower_candidate_is_rejected_and_the_objective_named(tmp_path: Path) -> None:
    decision = decide(tmp_path, World(slower=3, throughput=0.3))
    assert (decision.verdict, decision.action) == ("reject", "retire")
    assert "beyond the limit" in decision.reason
    assert (
        objective(decision, "p50 of E2E vs live").status
        == objective(decision, "output tokens/s vs live").status
        == "fail"
    )
    assert objective(decision, "mean KL divergence").status == "pass"


def test_a_damaged_candidate_is_rejected_however_fast(tmp_path: Path) -> None:
    decision = decide(tmp_path, World(slower=0.3, throughput=5, kl=0.2))
    assert decision.verdict == "reject"
    assert decision.reason.startswith("mean KL divergence is 0.")


def test_equal_models_are_promoted_with_enough_pairs_and_never_rejected(tmp_path: Path) -> None:
    verdicts = Counter(
        decide(tmp_path / str(seed), World(pairs=2400, blocks=12, seed=seed), pairs=2400).verdict
        for seed in range(4)
    )
    assert verdicts["promote"] >= 3
    assert verdicts["reject"] == 0


def test_equal_models_with_few_pairs_are_not_rejected(tmp_path: Path) -> None:
    verdicts = Counter(decide(tmp_path / str(seed), World(seed=seed)).verdict for seed in range(20))
    assert verdicts["reject"] <= 1


@pytest.mark.parametrize(
    "world",
    [World(slower=1.2), World(slower=1.2, tail=0), World(slower_tail=4, tail=0.08)],
    ids=["slower", "no tail", "only the tail"],
)
def test_a_candidate_beyond_the_limit_is_never_promoted(tmp_path: Path, world: World) -> None:
    for seed in range(20):
        assert decide(tmp_path / str(seed), replace(world, seed=seed)).verdict != "promote"


@pytest.mark.parametrize(
    ("failing", "verdict"),
    [
        ({"candidate": 1.0}, "reject"),
        ({"live": 1.0}, "inconclusive"),
        ({"candidate": 1.0, "live": 1.0}, "inconclusive"),
    ],
)
def test_all_requests_fail(tmp_path: Path, failing: dict[str, float], verdict: str) -> None:
    decision = judge(
        *make_artifacts(tmp_path, World(slower=0.3, throughput=5, failing=failing)),
        DEPLOYMENT,
        load_gate("quick"),
    )
    assert decision.verdict == verdict


def test_some_failures_fail_the_tail(tmp_path: Path) -> None:
    decision = decide(tmp_path, World(slower=0.3, throughput=5, failing={"candidate": 0.15}))
    assert decision.verdict != "promote"
    assert objective(decision, "p95 of E2E vs live").status != "pass"
    assert objective(decision, "p50 of E2E vs live").status == "pass"


def test_no_error_is_not_proof_of_none(tmp_path: Path) -> None:
    folders = make_artifacts(tmp_path, World(slower=0.3, throughput=5))
    errors = objective(judge(*folders, DEPLOYMENT, load_gate("quick")), "error rate vs live")
    assert (errors.estimate, errors.status) == (0, "inconclusive")
    assert errors.bound == pytest.approx(0.036, abs=0.001)


def test_one_color_missing(tmp_path: Path) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World(slower=0.3, throughput=5))
    world, random = World(slower=0.3, throughput=5), np.random.default_rng(0)
    requests = [row for row in paired_requests(world, random) if row.role == "candidate"]
    blocks = [block for block in throughput_blocks(world, random) if block.role == "candidate"]
    write_benchmark(benchmark, requests, blocks, live=None, pairs=100)
    decision = judge(evaluation, benchmark, DEPLOYMENT, lenient_gate())
    assert decision.verdict == "inconclusive"
    assert "there is no live color to compare with" in decision.reason


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"complete": False, "reason": "it was asked to end (SIGTERM)"}, "asked to end"),
        ({"pairs": 101}, "holds 100 whole pairs, its record says 101"),
        ({"concurrency": 4}, "at concurrency 4, the gate asks for 8"),
        ({"max_tokens": 32}, "ran with 32 tokens per request, the gate asks for 24"),
        ({"stopped_at": 50}, "stopped at 50 pairs and has 100, and the gate looks after 100"),
        ({"block_tokens": 24}, "windows ran with 24 tokens per request, the gate asks for 128"),
        ({"candidate": None}, "is not a BenchmarkResult record"),
        ({"requests_digest": "0" * 64}, "changed or cut off"),
        ({"blocks_digest": "0" * 64}, "changed or cut off"),
    ],
)
def test_a_benchmark_in_doubt_promotes_nothing(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World(slower=0.3, throughput=5))
    record = benchmark / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    decision = judge(evaluation, benchmark, DEPLOYMENT, lenient_gate())
    assert decision.verdict == "inconclusive"
    assert any(says in objective.reason for objective in decision.objectives)


def test_fewer_pairs_than_the_gate_asks_for(tmp_path: Path) -> None:
    decision = decide(tmp_path, World(slower=0.3, throughput=5), pairs=200)
    assert decision.verdict == "inconclusive"
    assert "has 100 pairs, the gate asks for 200" in decision.reason


def test_an_aborted_benchmark_can_still_speak_against_a_candidate(tmp_path: Path) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World(slower=3, throughput=0.3))
    BenchmarkResult.load(benchmark).model_copy(
        update={"complete": False, "reason": "the server died"}
    ).save(benchmark)
    assert judge(evaluation, benchmark, DEPLOYMENT, lenient_gate()).verdict == "reject"


def test_another_digest_is_no_evidence(tmp_path: Path) -> None:
    folders = make_artifacts(tmp_path, World(slower=0.3, throughput=5))
    for role in ("candidate", "live"):
        other = getattr(DEPLOYMENT, role).model_copy(update={"digest": "another"})
        decision = judge(*folders, DEPLOYMENT.model_copy(update={role: other}), lenient_gate())
        assert decision.verdict == "inconclusive"
        assert "which is deployed" in decision.reason
    assert {each.status for each in judge(*folders, DEPLOYMENT, lenient_gate()).objectives} == {
        "pass"
    }


@pytest.mark.parametrize(
    ("objective", "flawed"),
    [
        ("{metric: kl_mean, max: 0.05}", "benchmark"),
        ("{metric: error_rate, max: 0.5}", "evaluation"),
    ],
)
def test_evidence_that_no_objective_asks_for_must_be_sound_too(
    tmp_path: Path, objective: str, flawed: str
) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World())
    gate = load_gate(f"name: narrow\nconfidence: 0.95\nobjectives:\n  - {objective}\n")
    assert judge(evaluation, benchmark, DEPLOYMENT, gate).verdict == "promote"
    (tmp_path / flawed / "record.json").unlink()
    decision = judge(evaluation, benchmark, DEPLOYMENT, gate)
    assert (decision.verdict, decision.action) == ("inconclusive", "retire")
    assert decision.reason.startswith("all objectives pass, but ") and flawed in decision.reason


def test_nothing_there(tmp_path: Path) -> None:
    decision = judge(tmp_path / "a", tmp_path / "b", DEPLOYMENT, load_gate("quick"))
    assert (decision.verdict, decision.action) == ("inconclusive", "retire")
    assert {each.status for each in decision.objectives} == {"inconclusive"}
    assert (decision.evaluation_digest, decision.benchmark_digest) == ("", "")


def test_absolute_objectives_need_no_live_color(tmp_path: Path) -> None:
    gate = load_gate("""
        name: absolute
        confidence: 0.95
        objectives:
          - {metric: ttft, statistic: p95, max: 0.5}
          - {metric: longest_gap, statistic: mean, max: 0.5}
          - {metric: output_tokens_per_second, min: 100}
          - {metric: error_rate, max: 0.03}
          - {metric: bits_per_byte, max: 2}
    """)
    decision = judge(*make_artifacts(tmp_path, World()), DEPLOYMENT, gate)
    assert decision.verdict == "promote", decision.reason
    assert " ms; at 95% confidence at most " in decision.objectives[0].reason


@pytest.mark.alone
def test_judging_2400_pairs_is_quick(tmp_path: Path) -> None:
    folders = make_artifacts(tmp_path, World(pairs=2400))
    judge(*folders, DEPLOYMENT, lenient_gate())  # imports
    start = time.process_time()
    judge(*folders, DEPLOYMENT, lenient_gate())
    assert time.process_time() - start < 3
