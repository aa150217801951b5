"""A history of several runs, the newest of which was measured and judged by the real code, laid out
as a local run or one on Vertex AI leaves it.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.workload import Workload
from greenlight.core.history import save_move
from greenlight.core.records import Deployment, Evaluation, Promotion, Record, Resolution
from greenlight.gate.judge import judge
from greenlight.gate.looks import Looks
from greenlight.gate.objectives import load_gate
from tests.benchmark.conftest import StartStub
from tests.benchmark.test_run import deployment_of
from tests.gate.artifacts import World, documents, write_evaluation
from tests.report.run_factory import RunFactory

SERVICE, MEASURED = "llm-inference", "promotion-20261125103000"
LOCAL = "runs/promotion-2026-11-25-10-30-00-000000/{task}/{output}"
VERTEX = "root/123456789012/promotion-20261125103000/{task}_-4611686018427387904/{output}"
GATE = """
name: small
confidence: 0.95
objectives:
  - {metric: kl_mean, max: 0.05}
  - {metric: ttft, statistic: p50, scope: vs_live, max: 3}
  - {metric: e2e, statistic: p50, scope: vs_live, max: 1.05}
  - {metric: output_tokens_per_second, scope: vs_live, min: 0.95}
  - {metric: error_rate, scope: vs_live, max: 0.5}
benchmark:
  pairs: 60
  looks: [20, 60]
  concurrency: 2
  throughput_blocks: 4
  block_seconds: 0.3
  settle_seconds: 0.1
  max_tokens: 8
  block_tokens: 8
"""


def make_runs(folder: Path, layout: str, prefix: str, start_stub: StartStub, prompts: str) -> str:
    """Fill `folder`, which will be found at `prefix`; returns the history there.

    Args:
        layout: of the artifacts below the prefix, LOCAL or VERTEX.
    """
    history, now = folder / "history", datetime.now(UTC)
    RunFactory(history, "promoted", now - timedelta(days=4)).through("gate").moved()
    RunFactory(history, "rejected", now - timedelta(days=3), method="bnb", bits=4).through(
        "benchmark"
    ).gate("reject").moved("retired")
    RunFactory(history, "baked", now - timedelta(days=2)).through("gate").moved(
        "rolled_back", reason="3 of 40 probes failed."
    )
    RunFactory(history, "failed", now - timedelta(days=1)).resolve().failed(
        "download", "no such model"
    )

    def place(task: str, output: str) -> tuple[Path, str]:
        name = layout.format(task=task, output=output)
        return folder / name, f"{prefix}/{name}"

    def leave(step: str, record: Record) -> None:
        (history / MEASURED).mkdir(parents=True, exist_ok=True)
        (history / MEASURED / f"{step}.json").write_text(record.model_dump_json(indent=2))

    evaluation, evaluation_uri = place("evaluate", "evaluation")
    result, result_uri = place("benchmark", "result")
    candidate, live = (
        start_stub(itl=0.001, release="new", digest="sha-new"),
        start_stub(itl=0.01, release="old", digest="sha-old"),
    )
    deployment = deployment_of(candidate, live)
    releases = {
        role: getattr(deployment, role).model_copy(update={"service": SERVICE})
        for role in ("candidate", "live")
    }
    deployment, gate = Deployment(**releases), load_gate(GATE)
    leave(
        "resolve",
        Resolution(
            verdict="new", reason="", source="s", commit="c", fingerprint="f", resolved_at=now
        ),
    )
    leave("deploy_green", deployment)
    write_evaluation(evaluation, documents(World(), np.random.default_rng(0)), "sha-new")
    leave("evaluate", Evaluation.load(evaluation))
    measured = run_benchmark(
        deployment,
        [],
        [],
        result,
        gate.benchmark,
        Workload(prompts=prompts),
        Looks(gate, evaluation, deployment),
    )
    measured = measured.model_copy(update={"samples_uri": result_uri})
    measured.save(result)
    leave("benchmark", measured)
    decision = judge(evaluation, result, deployment, gate).model_copy(
        update={"evaluation_uri": evaluation_uri, "benchmark_uri": result_uri}
    )
    assert decision.verdict == "promote", decision.reason
    leave("gate", decision)
    moved = Promotion(
        outcome="promoted",
        live=deployment.candidate,
        previous=deployment.live,
        switched_at=now + timedelta(minutes=1),
    )
    leave("promote", moved)
    back = Promotion(
        outcome="rolled_back",
        live=deployment.live,
        previous=deployment.candidate,
        switched_at=now + timedelta(minutes=9),
    )
    save_move(str(history), back)
    return f"{prefix}/history"
