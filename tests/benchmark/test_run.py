"""Whole benchmarks: the real Locust process against stub servers."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from greenlight.benchmark.plan import Plan, Side
from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.workload import Workload
from greenlight.core.errors import InputError
from greenlight.core.records import Color, Deployment, Instance, Release
from tests.benchmark.conftest import PROMPTS, StartStub, Stub

QUICK: dict[str, Any] = {
    "pairs": 12,
    "concurrency": 4,
    "throughput_blocks": 2,
    "block_seconds": 0.3,
    "settle_seconds": 0.1,
    "max_tokens": 10,
    "block_tokens": 14,
    "timeout": 10,
}


def load(prompts: str, **changes: Any) -> tuple[Plan, Workload]:
    """A plan with these sizes, and a workload of those that only it knows."""
    own = {name: value for name, value in changes.items() if name not in Plan.model_fields}
    return Plan(
        **(QUICK | {name: value for name, value in changes.items() if name not in own})
    ), Workload(prompts=prompts, **own)


def rows(folder: Path, name: str = "requests.parquet") -> list[dict[str, Any]]:
    return pq.read_table(folder / name).to_pylist()


def release(stub: Stub, name: str, color: Color) -> Release:
    return Release(
        release_id=name,
        color=color,
        service="s",
        model_uri="m",
        digest=f"sha-{name}",
        source="s",
        commit="c",
        method="none",
        bits=16,
        engine="e",
        instances=[Instance(name=name, url=stub.url)],
    )


def deployment_of(candidate: Stub, live: Stub) -> Deployment:
    return Deployment(
        candidate=release(candidate, "new", "green"), live=release(live, "old", "blue")
    )


@pytest.fixture
def deployed(start_stub: StartStub) -> tuple[Deployment, Stub, Stub]:
    candidate, live = (
        start_stub(itl=0.001, release="new", digest="sha-new"),
        start_stub(itl=0.004, release="old", digest="sha-old"),
    )
    return deployment_of(candidate, live), candidate, live


def test_a_proxy_of_the_environment_is_not_asked(
    deployed: tuple[Deployment, Stub, Stub],
    prompts: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    result = run_benchmark(deployed[0], [], [], tmp_path / "result", *load(prompts))
    assert (result.complete, result.reason, result.pairs) == (True, "", 12)
    assert not any(row["error"] for row in rows(tmp_path / "result"))


def test_both_colors(deployed: tuple[Deployment, Stub, Stub], prompts: str, tmp_path: Path) -> None:
    deployment, candidate, live = deployed
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "record.json").write_text("left by an attempt that was killed")
    (folder / "generator").mkdir()
    (folder / "generator" / "requests.jsonl").write_text("so was this\n")

    result = run_benchmark(deployment, [], [], folder, *load(prompts))

    assert (result.complete, result.reason, result.pairs) == (True, "", 12)
    assert sorted(path.name for path in folder.iterdir()) == [
        "blocks.parquet",
        "locust.log",
        "requests.parquet",
    ]
    requests = rows(folder)
    pairs = [row for row in requests if row["phase"] == "pairs"]
    by_pair: dict[int, list[dict[str, Any]]] = {}
    for row in pairs:
        by_pair.setdefault(row["pair"], []).append(row)
    assert sorted(by_pair) == list(range(12))
    for members in by_pair.values():
        first, second = members  # in the order in which they were sent
        assert {first["role"], second["role"]} == {"candidate", "live"}
        assert (first["order"], second["order"]) == (0, 1)
        assert first["prompt"] == second["prompt"]
        assert first["sent"] + first["e2e"] <= second["sent"]
    assert len({members[0]["role"] for members in by_pair.values()}) == 2, (
        "both colors come first now and then"
    )
    assert Counter(row["prompt"] for row in pairs[:14]) == dict.fromkeys(range(len(PROMPTS)), 2), (
        "every prompt once before any comes again"
    )
    assert {(row["role"], row["color"], row["release"]) for row in requests} == {
        ("candidate", "green", "new"),
        ("live", "blue", "old"),
    }
    assert all(
        row["status"] == 200
        and not row["error"]
        and row["tokens_out"] == (10 if row["phase"] == "pairs" else 14) == len(row["itls"]) + 1
        for row in requests
    )
    assert all(
        row["intended"] <= row["sent"] and abs(row["sent"] - time.time()) < 600 for row in requests
    )

    # Exactly the requests that the servers saw, less the warm-up of concurrency + 2.
    for summary, stub, role in (
        (result.candidate, candidate, "candidate"),
        (result.live, live, "live"),
    ):
        assert summary
        own = [row for row in requests if row["role"] == role]
        assert summary.requests == len(own) == len(stub.requests(len(own) + 6)) - 6
        assert (summary.errors, summary.output_tokens) == (0, sum(row["tokens_out"] for row in own))
        assert summary.e2e and summary.ttft and summary.itl
    assert result.live and result.live.e2e and result.candidate.e2e
    assert result.candidate.e2e.p50 < result.live.e2e.p50

    blocks = rows(folder, "blocks.parquet")
    assert [(block["block"], block["pair"], block["order"]) for block in blocks] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
    assert result.candidate.output_tokens_per_second > result.live.output_tokens_per_second > 0
    for block in blocks:
        others = [
            row
            for row in requests
            if row["phase"] == "throughput" and row["block"] == block["block"]
        ]
        assert {row["role"] for row in others} == {block["role"]}
        assert block["requests"] == len(others)
        assert 0 < block["output_tokens"] <= 14 * len(others)
        # At 4 streams with a token every 4 ms (1 ms) no more than this can arrive; a busy machine
        # gives less.
        assert block["tokens_per_second"] <= 4 / (0.004 if block["role"] == "live" else 0.001)


def test_one_endpoint(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    stub = start_stub()
    result = run_benchmark(
        None, [stub.url], [], tmp_path / "result", *load(prompts, users=3, throughput_blocks=0)
    )
    assert (result.complete, result.pairs, result.live, result.candidate.requests) == (
        True,
        12,
        None,
        12,
    )
    assert len(rows(tmp_path / "result", "blocks.parquet")) == 0


def test_replicas_take_turns(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    one, two = start_stub(), start_stub()
    run_benchmark(
        None, [one.url, two.url], [], tmp_path / "result", *load(prompts, throughput_blocks=0)
    )
    assert Counter(row["endpoint"] for row in rows(tmp_path / "result")) == {one.url: 6, two.url: 6}


def test_failed_requests_are_counted_and_do_not_end_it(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    candidate, live = start_stub(cut_every=5), start_stub(fail_every=7)
    result = run_benchmark(
        None, [candidate.url], [live.url], tmp_path / "result", *load(prompts, throughput_blocks=0)
    )
    # The warm-up took the numbers 1 to 6: the 12 measured requests are 7 to 18.
    assert (result.complete, result.candidate.errors, result.live and result.live.errors) == (
        True,
        2,
        2,
    )
    failed = [
        (row["role"], row["error"], row["status"], row["tokens_out"])
        for row in rows(tmp_path / "result")
        if row["error"]
    ]
    assert Counter(failed) == {("candidate", "broken", 200, 6): 2, ("live", "http", 500, 0): 2}


def test_a_server_killed_half_way(
    deployed: tuple[Deployment, Stub, Stub], start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    _, _, live = deployed
    # in its eighth request after the warm-up
    dying = start_stub(release="new", digest="sha-new", die_after=6 + 8)
    result = run_benchmark(
        deployment_of(dying, live), [], [], tmp_path / "result", *load(prompts, throughput_blocks=0)
    )
    assert not result.complete
    assert dying.url in result.reason
    assert result.pairs == 12, "the others were tried, and failed"
    own = [
        row
        for row in rows(tmp_path / "result")
        if row["role"] == "candidate" and row["phase"] == "pairs"
    ]
    assert [row["error"] for row in sorted(own, key=lambda row: row["pair"])] == [""] * 7 + [
        "broken"
    ] + ["connect"] * 4
    assert result.live and result.live.errors == 0
    assert len(live.requests(12)) >= 12


def test_a_server_that_is_gone_is_not_waited_for(
    deployed: tuple[Deployment, Stub, Stub], start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    _, _, live = deployed
    dying = start_stub(release="new", digest="sha-new", die_after=6 + 8)
    result = run_benchmark(
        deployment_of(dying, live),
        [],
        [],
        tmp_path / "result",
        *load(prompts, pairs=100_000, throughput_blocks=0),
    )
    assert not result.complete and f"{dying.url} is unavailable" in result.reason
    assert 8 < result.pairs < 1000


def test_another_release_is_not_measured(
    deployed: tuple[Deployment, Stub, Stub], start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    _, _, live = deployed
    other = start_stub(release="new", digest="sha-other")
    result = run_benchmark(deployment_of(other, live), [], [], tmp_path / "result", *load(prompts))
    assert not result.complete
    assert "model_digest 'sha-other', not 'sha-new'" in result.reason
    assert (result.pairs, result.candidate.requests) == (0, 0)
    assert rows(tmp_path / "result") == []


def test_a_process_that_is_replaced_meanwhile(
    deployed: tuple[Deployment, Stub, Stub],
    prompts: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment, candidate, _ = deployed
    from greenlight.benchmark import run, versions

    pids = iter([1, 2])
    real = versions.read_versions

    def another_process(sides: Sequence[Side]) -> dict[str, dict[str, Any] | str]:
        found = real(sides)
        return found | {candidate.url: candidate.version() | {"pid": next(pids)}}

    monkeypatch.setattr(run, "read_versions", another_process)
    result = run_benchmark(
        deployment, [], [], tmp_path / "result", *load(prompts, pairs=2, throughput_blocks=0)
    )
    assert not result.complete
    assert "was replaced during the benchmark" in result.reason


def test_time_limit(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    stub = start_stub(itl=0.02)
    result = run_benchmark(
        None,
        [stub.url],
        [],
        tmp_path / "result",
        *load(prompts, pairs=100_000, throughput_blocks=0, time_limit=8),
    )
    assert not result.complete
    assert "time limit of 8 s" in result.reason
    kept = rows(tmp_path / "result")
    assert result.pairs == len(kept) > 0
    assert all(not row["error"] for row in kept), "requests that we cut ourselves are no failures"


def test_sigterm_keeps_what_was_measured(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    stub = start_stub(itl=0.005)
    before = signal.getsignal(signal.SIGTERM)

    def end_it_after_some_requests() -> None:
        stub.requests(6 + 5)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=end_it_after_some_requests)
    killer.start()
    result = run_benchmark(
        None,
        [stub.url],
        [],
        tmp_path / "result",
        *load(prompts, pairs=100_000, throughput_blocks=0),
    )
    killer.join()
    assert not result.complete
    assert "SIGTERM" in result.reason
    assert result.pairs == len(rows(tmp_path / "result")) >= 4
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_generator_that_dies(
    start_stub: StartStub, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenlight.benchmark import generator

    broken = tmp_path / "locustfile.py"
    broken.write_text("raise RuntimeError('no load today')\n")
    monkeypatch.setattr(generator, "LOCUSTFILE", broken)
    result = run_benchmark(None, [start_stub().url], [], tmp_path / "result", *load(prompts))
    assert not result.complete
    assert "no load today" in result.reason


def test_the_generator_ends_with_its_step(
    start_stub: StartStub, prompts: str, tmp_path: Path
) -> None:
    stub = start_stub(itl=0.005)
    script = f"""
        from greenlight.benchmark.run import run_benchmark
        from greenlight.benchmark.plan import Plan
        from greenlight.benchmark.workload import Workload
        plan = Plan(pairs=100_000, throughput_blocks=0)
        folder = {str(tmp_path / "result")!r}
        run_benchmark(None, [{stub.url!r}], [], folder, plan, Workload(prompts={prompts!r}))
    """
    step = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    assert len(stub.requests(15)) >= 15
    step.kill()
    step.wait()
    time.sleep(2)
    seen = len(stub.requests(0))
    time.sleep(0.5)
    assert len(stub.requests(0)) == seen, "nobody sends any more"


def test_nobody_listens(tmp_path: Path, prompts: str) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9"):
        run_benchmark(None, ["http://127.0.0.1:9"], [], tmp_path / "result", *load(prompts))
    with pytest.raises(InputError, match="http://"):
        run_benchmark(None, ["localhost:9"], [], tmp_path / "result", *load(prompts))
    with pytest.raises(InputError, match="endpoint-a"):
        run_benchmark(None, [], [], tmp_path / "result", *load(prompts))
