"""The compiled DAG, run by kfp.local on this machine, with a real cluster as its target: what a
user with a kubeconfig and a bucket types.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.history import load_run, runs
from tests.cluster.host_environment import ROOT
from tests.cluster.stage import SERVICE, Stage

GATE = """
name: quick
confidence: 0.95
objectives:
  - {metric: kl_mean, scope: absolute, max: 0.5}
benchmark: {pairs: 10, throughput_blocks: 1, block_seconds: 0.3, max_tokens: 8, block_tokens: 8}
bake: {seconds: 2, max_errors: 0}
"""


@pytest.mark.slow
def test_deploys_benchmarks_promotes_rolls_back_and_retires(stage: Stage, tmp_path: Path) -> None:
    home = tmp_path / "home"
    place = ["--target", "kubernetes", "--namespace", stage.namespace, "--home", str(home)]

    def greenlight(*args: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "greenlight.cli.main", *args]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            timeout=500,
            check=False,
        )
        return done.returncode, done.stdout

    def live() -> str:
        return str(stage.get(f"api/v1/{{ns}}/services/{SERVICE}")["spec"]["selector"]["version"])

    code, output = greenlight("run", *place, "--gate", GATE)
    assert code == 2 and "history" in output and "gs://" in output, (
        "models and results need a bucket"
    )

    code, output = greenlight("run", *place, "--history", stage.history, "--gate", GATE)
    assert code == 0 and "verdict    promote" in output, output
    run = load_run(stage.history, runs(stage.history)[0])
    assert (
        run.outcome == "promoted"
        and run.benchmark
        and run.benchmark.complete
        and run.benchmark.pairs >= 10
    )
    assert run.deployment and (run.deployment.live.engine, run.deployment.candidate.engine) == (
        "transformers",
        "openvino",
    )
    assert live() == "green"

    code, output = greenlight("status", *place, "--json")
    status = json.loads(output)
    assert (status["live"], status["target"], status["holder"]) == ("green", "kubernetes", None)

    code, output = greenlight("rollback", *place)
    assert code == 0 and live() == "blue", output

    hopeless = GATE.replace("max: 0.5", "max: 0.0000001")
    two_pods = ["--workload", "name: two pods\nusers: 2\nworkers: 2\n"]
    code, output = greenlight(
        "run", *place, "--history", stage.history, "--gate", hopeless, "--force", *two_pods
    )
    assert code == 3 and "verdict    reject" in output, output
    assert live() == "blue" and stage.target.running("green") == []
    jobs = stage.get("apis/batch/v1/{ns}/jobs")["items"]
    assert sorted(job["status"].get("succeeded") for job in jobs) == [1, 2]
    merged = load_run(stage.history, runs(stage.history)[0]).benchmark
    assert merged and merged.complete and merged.pairs == 10 and merged.generator.workers == 2, (
        merged
    )
