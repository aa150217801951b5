"""The component of the step `gate`, as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.cache_keys import step_key
from greenlight.core.records import Decision
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts

SCRIPT = """
import json, sys
from types import SimpleNamespace
from greenlight.components.gate.component import gate
folder, gate_file = sys.argv[1:]
at = lambda name: SimpleNamespace(path=f"{folder}/{name}", uri=f"{folder}/{name}", metadata={})
action = gate.python_func(
    evaluation=at("evaluation"), result=at("benchmark"), release=at("release"),
    decision=at("decision"),
    gate_file=gate_file, auto_promote=True, run_id="run-1", history=f"{folder}/history",
)
print(json.dumps(action))
"""


def run_component(folder: Path, gate_file: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), gate_file],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("world", "outputs"),
    [
        (World(slower=0.3, throughput=5, pairs=150), ("promote", "promote")),
        (World(slower=3), ("reject", "retire")),
    ],
)
def test_verdict_and_action(tmp_path: Path, world: World, outputs: tuple[str, str]) -> None:
    make_artifacts(tmp_path, world)
    DEPLOYMENT.save(tmp_path / "release")
    done = run_component(tmp_path, "quick")
    assert done.returncode == 0, done.stdout + done.stderr
    *events, last = (json.loads(line) for line in done.stdout.splitlines())
    assert last == outputs[1]
    assert events[-1]["figure"].startswith(f"{outputs[0]}, ")
    decision = Decision.load(tmp_path / "decision")
    assert (decision.verdict, decision.action, decision.code_version) == (
        *outputs,
        step_key("gate"),
    )
    assert (tmp_path / "history" / "run-1" / "gate.json").read_text() == decision.model_dump_json(
        indent=2
    )


def test_no_evaluation_is_judged(tmp_path: Path) -> None:
    make_artifacts(tmp_path, World(slower=0.3, throughput=5, pairs=150))
    (tmp_path / "evaluation" / "record.json").unlink()
    DEPLOYMENT.save(tmp_path / "release")
    done = run_component(tmp_path, "quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Decision.load(tmp_path / "decision").verdict == "inconclusive"


def test_no_deployment_is_an_error(tmp_path: Path) -> None:
    done = run_component(tmp_path, "quick")
    assert done.returncode == 1
    assert "holds no record.json" in done.stdout
    assert not (tmp_path / "decision").exists()
