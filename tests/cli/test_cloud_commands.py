"""The command line on runs in a cloud: submitted, followed through every failure of the connection,
with the exit codes of a local run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.step import StepEvent
from tests.cli.cloud_fixtures import (
    Outcome,
    bucket,
    gcs_server,
    greenlight,
    history,
    kubeflow,
    on_kubeflow,
    on_vertex,
    private_key,
    upload,
    vertex,
)
from tests.pipelines.runners.conftest import ACCOUNT, CLUSTER
from tests.pipelines.runners.fake_api import DROPPED, LOST, FakeKubeflow, FakeVertex
from tests.report.run_factory import RunFactory

__all__ = [
    "bucket",
    "gcs_server",
    "greenlight",
    "history",
    "kubeflow",
    "on_kubeflow",
    "on_vertex",
    "private_key",
    "upload",
    "vertex",
]

RUN = "promotion-20261125-050000-4f2a"
SUCCEEDED = [
    ("resolve", "SUCCEEDED"),
    ("download", "SKIPPED"),
    ("quantize", "SUCCEEDED"),
    ("gate", "SUCCEEDED"),
    ("promote", "SUCCEEDED"),
    ("retire", "NOT_TRIGGERED"),
]


def job(state: str, tasks: list[tuple[str, str]], message: str = "") -> dict[str, Any]:
    details = [
        {
            "taskName": name,
            "state": state,
            "error": {"code": 2, "message": message if state == "FAILED" else ""},
        }
        for name, state in tasks
    ]
    return {"state": f"PIPELINE_STATE_{state}", "jobDetail": {"taskDetails": details}}


def submit_earlier(vertex: FakeVertex, history: str, run_id: str = RUN) -> None:
    """Give Vertex a run that was submitted earlier."""
    vertex.jobs[run_id] = {
        "name": run_id,
        "state": "PIPELINE_STATE_RUNNING",
        "runtimeConfig": {"parameterValues": {"history": history}},
    }


def write_figure(folder: Path, step: str, words: str) -> None:
    event = StepEvent(
        time="2026-11-25T05:00:00+00:00", run=RUN, step=step, event="finished", figure=words
    )
    (folder / f"{step}.event.json").write_text(event.model_dump_json())


def test_a_run_is_submitted_and_followed_to_its_verdict(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same lines as a local run, through a lost answer, a dropped connection, a 429, a 503 and
    an expired token.
    """
    run_ids: list[str] = []

    def answer(request: Any, answer: Any = on_vertex.answer) -> Any:
        said = answer(request)
        if on_vertex.jobs and not run_ids:  # its steps begin to write
            run_ids.append(next(iter(on_vertex.jobs)))
            run = RunFactory(tmp_path / "records", run_ids[0]).through("gate").moved()
            write_figure(run.folder, "resolve", "new, commit 398f9666e366")
            write_figure(run.builds[1], "quantize", "4.9 MB")
            upload(run.history)
        return said

    monkeypatch.setattr(on_vertex, "answer", answer)
    on_vertex.faults = [
        ("POST .*/pipelineJobs", LOST),
        *[("GET .*/pipelineJobs/.*", fault) for fault in (DROPPED, 429, 503, 401)],
    ]
    on_vertex.script = [
        job("PENDING", []),
        job("RUNNING", [("resolve", "RUNNING")]),
        job("RUNNING", SUCCEEDED[:3]),
        job("SUCCEEDED", SUCCEEDED),
    ]
    code, out, err = greenlight("run", "--target", CLUSTER, "--history", history)
    assert code == 0, err
    (run_id,) = on_vertex.jobs
    assert (
        f"run {run_id}: builtin:tiny" in out and on_vertex.jobs[run_id]["serviceAccount"] == ACCOUNT
    )
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(
        line.startswith("resolve done") and line.endswith("s new, commit 398f9666e366")
        for line in lines
    )
    assert any(line.startswith("download reused") for line in lines)
    assert any(line.startswith("quantize done") and line.endswith("4.9 MB") for line in lines)
    assert not any(line.startswith("retire") for line in lines)
    assert any(line.startswith("verdict promote") for line in lines)
    assert (
        "console   "
        f" https://console.cloud.google.com/vertex-ai/locations/us-central1/pipelines/runs/{run_id}?project=proj-1"
        in out
    )
    assert err.count("trying again") >= 3


@pytest.mark.parametrize(("verdict", "expected"), [("reject", 3), ("inconclusive", 3)])
def test_a_verdict_has_the_exit_code_of_a_local_run(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
    verdict: str,
    expected: int,
) -> None:
    upload(
        RunFactory(tmp_path / "records", RUN)
        .through("benchmark")
        .gate(verdict)
        .moved("retired", reason="the gate said no")
        .history
    )
    submit_earlier(on_vertex, history)
    on_vertex.script = [job("SUCCEEDED", SUCCEEDED[:4])]
    code, out, _ = greenlight("follow", RUN)
    assert code == expected and f"verdict    {verdict}" in out


def test_up_to_date_is_a_success(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    upload(RunFactory(tmp_path / "records", RUN).resolve("up_to_date").history)
    submit_earlier(on_vertex, history)
    on_vertex.script = [job("SUCCEEDED", [("resolve", "SUCCEEDED"), ("download", "NOT_TRIGGERED")])]
    code, out, _ = greenlight("follow", RUN)
    assert code == 0 and "up_to_date" in out


def test_a_failed_run_names_the_step_its_error_and_the_link(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    upload(
        RunFactory(tmp_path / "records", RUN)
        .through("evaluate")
        .failed("deploy_green", "no node has room for it. Add one.")
        .history
    )
    submit_earlier(on_vertex, history)
    on_vertex.script = [
        job("FAILED", [("resolve", "SUCCEEDED"), ("deploy-green", "FAILED")], "exit status 1")
    ]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1
    assert "failed     deploy_green: no node has room for it. Add one." in out
    assert f"/pipelines/runs/{RUN}?project=proj-1" in out.splitlines()[-1]


def test_a_step_that_left_no_record_fails_with_the_clouds_message(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, history: str
) -> None:
    submit_earlier(on_vertex, history)
    on_vertex.script = [job("FAILED", [("resolve", "FAILED")], "The replica was\nout of memory")]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1 and "failed     resolve: out of memory" in out


def test_a_cancelled_run_is_no_success(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, history: str
) -> None:
    submit_earlier(on_vertex, history)
    on_vertex.script = [job("CANCELLED", [("resolve", "CANCELLED")])]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1 and "cancelled" in out


def test_a_cloud_that_stays_unavailable_does_not_end_the_run(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_earlier(on_vertex, "gs://models/greenlight")
    monkeypatch.setattr("greenlight.pipelines.runners.follow.time.sleep", lambda seconds: None)
    on_vertex.faults = [("GET .*/pipelineJobs/.*", 503)] * 1000
    code, _, err = greenlight("follow", RUN)
    assert code == 1 and "The run goes on" in err.splitlines()[-1]
    assert not on_vertex.sent("POST", ".*")


def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit_earlier(on_vertex, history)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    code, _, err = greenlight("follow", RUN)
    assert code == 130
    where = "--runner vertex --project proj-1 --region us-central1"
    assert f"greenlight follow {RUN} {where}`" in err and f"greenlight cancel {RUN} {where}`" in err
    assert not on_vertex.sent("POST", ".*:cancel")


def test_a_start_that_is_never_answered_is_not_called_a_failure(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.pipelines.runners.follow.time.sleep", lambda seconds: None)
    on_vertex.faults = [("POST .*/pipelineJobs", LOST), *[("POST .*/pipelineJobs", 503)] * 1000]
    code, _, err = greenlight("run", "--target", CLUSTER, "--history", "gs://models/greenlight")
    (run_id,) = on_vertex.jobs
    assert code == 1 and f"whether {run_id} was started is not known" in err


def test_no_follow_returns_at_once(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex
) -> None:
    code, out, err = greenlight(
        "run", "--no-follow", "--json", "--target", CLUSTER, "--history", "gs://models/greenlight"
    )
    assert code == 0 and "console" in err and json.loads(out)["link"].endswith("?project=proj-1")
    assert [request.method for request in on_vertex.requests] == ["POST"]


def test_the_end_as_json(
    greenlight: Callable[..., Outcome],
    on_vertex: FakeVertex,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    upload(RunFactory(tmp_path / "records", RUN).through("gate").moved().history)
    submit_earlier(on_vertex, history)
    on_vertex.jobs[RUN] |= job("SUCCEEDED", SUCCEEDED)
    code, out, err = greenlight("follow", RUN, "--json")
    shown = json.loads(out)
    assert (code, shown["run_id"], shown["outcome"], shown["verdict"]) == (
        0,
        RUN,
        "promoted",
        "promote",
    )
    assert "verdict    promote" in err, "what a person reads goes to stderr"


def test_cancel_and_ui(greenlight: Callable[..., Outcome], on_vertex: FakeVertex) -> None:
    submit_earlier(on_vertex, "gs://models/greenlight")
    assert greenlight("cancel", RUN)[0] == 0 and on_vertex.sent("POST", f".*/{RUN}:cancel")
    assert greenlight("ui", RUN)[1].strip().endswith(f"/pipelines/runs/{RUN}?project=proj-1")
    assert greenlight("ui", RUN, "--runner", "local")[0] == 2
    assert greenlight("cancel", "promotion-x")[0] == 2


def test_the_same_on_kubeflow(
    greenlight: Callable[..., Outcome],
    on_kubeflow: FakeKubeflow,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    run = RunFactory(tmp_path / "records", "runs-1").through("gate").moved()
    # by an earlier run: it is older than this one
    write_figure(run.builds[1], "quantize", "4.9 MB")
    upload(run.history)
    tasks = [
        {"display_name": step, "state": "SUCCEEDED"} for step in ("resolve", "quantize", "gate")
    ]
    on_kubeflow.script = [
        {
            "state": "SUCCEEDED",
            "created_at": "2026-11-25T06:00:00Z",
            "run_details": {"task_details": tasks},
        }
    ]
    on_kubeflow.faults = [
        ("POST .*/runs", LOST),
        *[("GET .*/runs/.*", fault) for fault in (DROPPED, 429, 503, 401)],
    ]
    code, out, err = greenlight("run", "--target", CLUSTER, "--history", history)
    assert code == 0, err
    assert (
        "run runs-1: builtin:tiny" in out
        and "verdict    promote" in out
        and f"{on_kubeflow.url}/#/runs/details/runs-1" in out
    )
    assert any(line.split()[:2] == ["quantize", "reused"] for line in out.splitlines())
    assert len(on_kubeflow.things["runs"]) == 1
    assert greenlight("cancel", "runs-1")[0] == 0
