"""Open loop, several workers, chats, early ends, saturation: real generators against servers with
known timing.
"""

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.saturation import find_saturation
from greenlight.benchmark.workload import Workload, load_workload
from greenlight.core.errors import InputError
from greenlight.gate.looks import Looks
from greenlight.gate.objectives import load_gate
from tests.benchmark.conftest import PROMPTS, StartStub
from tests.benchmark.test_run import deployment_of, load, rows
from tests.gate.artifacts import World, documents, write_evaluation

pytestmark = pytest.mark.alone


def by_role(found: list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    return sorted((row for row in found if row["role"] == role), key=lambda row: row["intended"])


def test_open_loop_sends_when_due(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    """A server that stands still for half a second makes all wait that were due meanwhile, and each
    is charged for it.
    """
    one, two = start_stub(itl=0.001, stall_at=6 + 31), start_stub(itl=0.001)
    plan, workload = load(
        prompts, pairs=100, throughput_blocks=0, arrivals="constant", rate=40, slo={"e2e": 0.2}
    )
    result = run_benchmark(None, [one.url], [two.url], tmp_path, plan, workload)
    found = by_role(rows(tmp_path), "candidate")
    assert (len(found), result.pairs, result.candidate.errors) == (100, 100, 0)
    due = [row["intended"] for row in found]
    assert np.diff(due) == pytest.approx([1 / 40] * 99, abs=1e-4)
    waited = [row for row in found if row["e2e"] > 0.1]
    assert len(waited) >= 15, (
        "those that were due in the half second, not only the one that was under way"
    )
    longest = max(waited, key=lambda row: row["e2e"])
    later = [
        row["e2e"]
        for row in found
        if longest["intended"] < row["intended"] < longest["intended"] + 0.4
    ]
    assert later == sorted(later, reverse=True), "each waited less, as it was due later"
    assert all(
        row["ttft"] == pytest.approx(row["e2e"] - sum(row["itls"]), abs=0.02) for row in found
    )
    assert result.candidate.goodput < 0.95 < (result.live.goodput if result.live else 0)
    assert result.generator.asked_rate == pytest.approx(40)
    pairs = {row["pair"]: row["intended"] for row in found}
    assert all(row["intended"] == pairs[row["pair"]] for row in by_role(rows(tmp_path), "live")), (
        "both of a pair are due at the same time"
    )


def test_a_generator_that_is_the_bottleneck_is_not_judged(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    stub = start_stub(ttft=0.2, itl=0.001)
    plan, workload = load(
        prompts, pairs=40, throughput_blocks=0, concurrency=1, arrivals="poisson", rate=50
    )
    result = run_benchmark(
        None, [stub.url], [], tmp_path, plan, workload.model_copy(update={"users": 2})
    )
    assert not result.complete
    assert "the load generator was the bottleneck" in result.reason
    assert result.generator.send_lag_p99 > 1, "two streams at once carry ten requests per second"


def test_times_at_fifty_streams(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    """The generator's own error, from what the server wrote down: within 1 ms or 2%, in the median;
    a busy machine makes some later.
    """
    stub = start_stub(ttft=0.05, itl=0.02)
    plan, workload = load(prompts, pairs=150, users=50, throughput_blocks=0, max_tokens=20)
    result = run_benchmark(None, [stub.url], [], tmp_path, plan, workload)
    assert result.complete
    truth = stub.requests(150 + 6)[6:]
    true_ttft = statistics.median(told["left"][0] - told["arrived"] for told in truth)
    true_gap = statistics.median(statistics.mean(np.diff(told["left"])) for told in truth)
    assert result.candidate.ttft and result.candidate.itl
    assert result.candidate.itl.p50 == pytest.approx(true_gap, abs=0.001, rel=0.02)
    assert result.candidate.ttft.p50 == pytest.approx(true_ttft, abs=0.004, rel=0.02), (
        "and the time that the request took to get there"
    )


def test_workers_share_the_load(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    one, two = start_stub(itl=0.002), start_stub(itl=0.002)
    plan, workload = load(prompts, pairs=31, users=4, workers=2, concurrency=6, block_seconds=0.5)
    result = run_benchmark(None, [one.url], [two.url], tmp_path, plan, workload)
    assert (result.complete, result.reason, result.pairs, result.generator.workers) == (
        True,
        "",
        31,
        2,
    )
    found = rows(tmp_path)
    assert sorted(
        row["pair"] for row in found if row["phase"] == "pairs" and row["role"] == "live"
    ) == list(range(31))
    assert {row["block"] for row in found if row["phase"] == "throughput"} == {0, 1, 2, 3}
    blocks = rows(tmp_path, "blocks.parquet")
    assert [block["block"] for block in blocks] == [0, 1, 2, 3]
    for block in blocks:
        own = [
            row for row in found if row["phase"] == "throughput" and row["block"] == block["block"]
        ]
        assert {row["role"] for row in own} == {block["role"]}, (
            "both loaded the same color at the same time"
        )
        assert block["tokens_per_second"] > 3.5 / 0.002 / 4, (
            "more than one worker's three users would have been"
        )


def test_chats(start_stub: StartStub, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "why?"}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    stub = start_stub(itl=0.002, group=3)
    result = run_benchmark(
        None,
        [stub.url],
        [],
        tmp_path / "result",
        *load(str(tmp_path / "chats.jsonl"), throughput_blocks=0),
    )
    assert (result.complete, result.candidate.errors, result.candidate.output_tokens) == (
        True,
        0,
        120,
    )
    assert {json.dumps(told["messages"]) for told in stub.requests(18)} == {json.dumps(chat)}
    assert result.candidate.itl and result.candidate.itl.p50 == pytest.approx(
        0.002 * 9 / 9, rel=0.7
    )


def test_lengths_are_the_same_in_a_pair_and_vary_between_pairs(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    output = {"distribution": "uniform", "min": 3, "max": 12}
    one, two = start_stub(itl=0.001), start_stub(itl=0.001)
    plan, workload = load(prompts, throughput_blocks=0, pairs=20, output_tokens=output)
    result = run_benchmark(None, [one.url], [two.url], tmp_path, plan, workload)
    assert (result.complete, result.max_tokens) == (True, 12)
    pairs = itertools.groupby(
        sorted(rows(tmp_path), key=lambda row: row["pair"]), key=lambda row: row["pair"]
    )
    asked = [{(row["asked"], row["tokens_out"]) for row in members} for _, members in pairs]
    assert all(len(each) == 1 and next(iter(each))[0] == next(iter(each))[1] for each in asked)
    assert len(set.union(*asked)) > 4


def test_a_trace_and_its_time(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        "".join(
            json.dumps({"timestamp": at, "prompt": PROMPTS[0], "output_tokens": 2 + at}) + "\n"
            for at in range(4)
        )
    )
    stub = start_stub(itl=0.001)
    plan, workload = load(
        prompts,
        throughput_blocks=0,
        pairs=6,
        arrivals="trace",
        trace=str(trace),
        speed=10,
        seconds=0.45,
    )
    result = run_benchmark(None, [stub.url], [], tmp_path / "result", plan, workload)
    found = by_role(rows(tmp_path / "result"), "candidate")
    assert (result.complete, result.pairs) == (True, 5), "the sixth was due after the time was up"
    assert [row["asked"] for row in found] == [2, 3, 4, 5, 2]
    assert np.diff([row["intended"] for row in found]) == pytest.approx([0.1] * 4, abs=1e-3)


def test_a_look_that_decides_ends_the_pairs(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    fast, slow = (
        start_stub(ttft=0.002, itl=0.001, release="new", digest="sha-new"),
        start_stub(ttft=0.01, itl=0.004, release="old", digest="sha-old"),
    )
    deployment = deployment_of(fast, slow)
    write_evaluation(
        tmp_path / "evaluation",
        documents(World(), np.random.default_rng(1)),
        deployment.candidate.digest,
    )
    gate = load_gate("""
name: looking
confidence: 0.95
objectives: [{metric: kl_mean, max: 0.5}, {metric: e2e, statistic: p50, scope: vs_live, max: 1.0}]
benchmark: {pairs: 400, looks: [200, 400], users: 4, throughput_blocks: 0, max_tokens: 8}
""")
    looks = Looks(gate, tmp_path / "evaluation", deployment)
    result = run_benchmark(
        deployment, [], [], tmp_path / "result", gate.benchmark, Workload(prompts=prompts), looks
    )
    assert (result.complete, result.reason, result.stopped_at) == (True, "", 200)
    assert 200 <= result.pairs < 400
    from greenlight.gate.judge import judge

    result.save(tmp_path / "result")
    decision = judge(tmp_path / "evaluation", tmp_path / "result", deployment, gate)
    assert (decision.verdict, [look.pairs for look in decision.looks]) == ("promote", [200])


def test_saturation_finds_what_a_server_can_carry(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    # two at a time, 50 ms each: 40 per second, less what chance piles up
    stub = start_stub(ttft=0.05, itl=0.0001, slots=2)
    workload = Workload(
        prompts=prompts, arrivals="constant", rate=1, output_tokens=2, slo={"ttft": 0.15}
    )  # type: ignore[arg-type]
    found = find_saturation([stub.url], workload, start=32, most=200, seconds=1.5)
    assert found.bounded
    assert 30 <= found.rate <= 46
    kept = [probe.rate for probe in found.probes if probe.kept]
    assert max(kept) == found.rate
    unbounded = find_saturation([start_stub().url], workload, start=60, most=60, seconds=1)
    assert (unbounded.bounded, unbounded.rate) == (False, 60)
    assert len(unbounded.probes) <= 3, "a probe in which the generator was late is tried again"


def test_saturation_needs_an_objective() -> None:
    with pytest.raises(InputError, match="has no slo"):
        find_saturation(["http://127.0.0.1:9"], Workload(), start=1, most=2, seconds=1)
    assert load_workload("chat").slo.limits
    assert Plan().look_pairs == (100,)
