"""The component of the report, as KFP calls it: a process that is given where its outputs go, and
nothing of what happened.
"""

import json
import subprocess
import sys
from pathlib import Path

from greenlight.core.records import ReportSummary
from tests.report.run_factory import RunFactory

CALL = """
import json, sys
from kfp import dsl
from greenlight.components.report.component import report

folder, run_id = sys.argv[1:]
metrics = dsl.Metrics(uri=f"{folder}/out/metrics")
status = dsl.PipelineTaskFinalStatus(
    state="RUNNING", pipeline_job_resource_name="", pipeline_task_name="", error_code=None,
    error_message=None)
html = dsl.HTML(uri=f"{folder}/out/html")
run = dict(run_id=run_id, history=f"{folder}/history", status=status)
report.python_func(html=html, metrics=metrics, **run)
print(json.dumps(metrics.metadata))
"""


def call(folder: Path, run_id: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CALL, str(folder), run_id],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_outputs_and_history(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path / "history").through("gate").moved()
    done = call(tmp_path, factory.run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    *events, metadata = (json.loads(line) for line in done.stdout.splitlines())
    assert events[-1]["event"] == "finished" and events[-1]["figure"].startswith("promoted: ")
    page = (tmp_path / "out" / "html").read_bytes()
    assert page == (factory.folder / "report.html").read_bytes()
    summary = ReportSummary.model_validate_json((factory.folder / "report.json").read_bytes())
    assert metadata == summary.scalars == json.loads((tmp_path / "out" / "metrics").read_text())


def test_it_succeeds_when_everything_is_broken(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path / "history").broken("resolve").broken("gate").failed("benchmark")
    done = call(tmp_path, factory.run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"benchmark failed" in (tmp_path / "out" / "html").read_bytes()
