"""The component of the step `benchmark`, as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from greenlight.core.records import BenchmarkResult
from tests.benchmark.conftest import StartStub
from tests.benchmark.test_run import deployment_of

SCRIPT = """
import sys
from types import SimpleNamespace
from greenlight.components.benchmark.component import benchmark
folder, prompts, gate_file = sys.argv[1:]
names = ("evaluation", "release", "result")
evaluation, release, result = (
    SimpleNamespace(path=f"{folder}/{name}", uri=f"gs://bucket/{name}", metadata={})
    for name in names
)
place = dict(target="local", service="llm", namespace="default", home=folder, port=0)
artifacts = dict(evaluation=evaluation, release=release, result=result)
run = dict(run_id="run-1", history=f"{folder}/history", workload="short", gate_file=gate_file)
benchmark.python_func(**artifacts, prompts=prompts, **run, **place)
"""

GATE = """
name: quick
confidence: 0.95
objectives: [{metric: error_rate, max: 0.5}]
benchmark: {pairs: 6, concurrency: 2, throughput_blocks: 3, block_seconds: 0.2,
            settle_seconds: 0.1, max_tokens: 5, block_tokens: 5}
"""


def test_runs_what_the_gate_asks_for(start_stub: StartStub, prompts: str, tmp_path: Path) -> None:
    deployment_of(
        start_stub(release="new", digest="sha-new"), start_stub(release="old", digest="sha-old")
    ).save(tmp_path / "release")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), prompts, GATE],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = BenchmarkResult.load(tmp_path / "result")
    assert (result.complete, result.pairs, result.max_tokens, result.samples_uri) == (
        True,
        6,
        5,
        "gs://bucket/result",
    )
    assert (result.candidate.release_id, result.live and result.live.digest) == ("new", "sha-old")
    figures = [json.loads(line)["figure"] for line in done.stdout.splitlines()]
    assert "warm-up" in figures
    assert figures[-1].endswith(" tok/s")
