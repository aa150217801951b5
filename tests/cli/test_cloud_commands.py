"""The command line on runs in a cloud: refused before anything is sent, followed through every
weather, with the exit codes of a local run.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.cli import main as cli
from greenlight.core.step import StepEvent
from tests.pipelines.runners import conftest as cloud
from tests.pipelines.runners.conftest import (
    ACCOUNT,
    CLUSTER,
    IMAGE,
    bucket,
    gcs_server,
    history,
    kubeflow,
    private_key,
    upload,
    vertex,
)
from tests.pipelines.runners.fake_api import DROPPED, LOST, FakeKubeflow, FakeVertex
from tests.report.run_factory import RunFactory

__all__ = ["bucket", "gcs_server", "history", "kubeflow", "private_key", "upload", "vertex"]

Outcome = tuple[int, str, str]
RUN = "promotion-20261125-050000-4f2a"
SUCCEEDED = [
    ("resolve", "SUCCEEDED"),
    ("download", "SKIPPED"),
    ("quantize", "SUCCEEDED"),
    ("gate", "SUCCEEDED"),
    ("promote", "SUCCEEDED"),
    ("retire", "NOT_TRIGGERED"),
]


@pytest.fixture
def greenlight(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """The command in this process: exit code, stdout, stderr."""

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["greenlight", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def on_vertex(vertex: FakeVertex, monkeypatch: pytest.MonkeyPatch) -> FakeVertex:
    for name, value in cloud.vertex_options(vertex).model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"GREENLIGHT_{name.upper()}", str(value))
    return vertex


@pytest.fixture
def on_kubeflow(kubeflow: FakeKubeflow, monkeypatch: pytest.MonkeyPatch) -> FakeKubeflow:
    for name, value in cloud.kubeflow_options(kubeflow).model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"GREENLIGHT_{name.upper()}", str(value))
    return kubeflow


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


def there(vertex: FakeVertex, history: str, run_id: str = RUN) -> None:
    """A run that was submitted earlier."""
    vertex.jobs[run_id] = {
        "name": run_id,
        "state": "PIPELINE_STATE_RUNNING",
        "runtimeConfig": {"parameterValues": {"history": history}},
    }


def figure(folder: Path, step: str, words: str) -> None:
    event = StepEvent(
        time="2026-11-25T05:00:00+00:00", run=RUN, step=step, event="finished", figure=words
    )
    (folder / f"{step}.event.json").write_text(event.model_dump_json())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bits", "3"], ["bits", "3", "4 or 8"]),
        (["--bits", "four"], ["--bits", "valid integer"]),
        (["--quantisation", "bnb"], ["--quantisation"]),
        (["--method", "awq9"], ["method", "awq9"]),
        (["--replicas", "0"], ["replicas", "0"]),
        (["--target", "local"], ["target", "local", "projects/P"]),
        (["--target", "kubernetes:mine"], ["target", "kubernetes:mine"]),
        (["--history", "out/history"], ["history", "out/history", "gs://"]),
        (["--prompts", __file__], ["prompts", "bucket"]),
        (["--runner", "airflow"], ["runner", "airflow", "vertex"]),
        (["--project", "P"], ["project", "'P'"]),
        (["--region", "europe"], ["region", "europe", "us-central1"]),
        (["--pipeline-root", "/tmp/x"], ["pipeline_root", "/tmp/x", "gs://"]),
        (["--service-account", "me"], ["service_account", "me", "e-mail"]),
        (["--network", "vpc"], ["network", "vpc", "projects/"]),
        (["--kms-key", "k"], ["kms_key", "keyRings"]),
        (["--labels", "Team=ML"], ["labels", "Team=ML", "key=value"]),
        (["--failure-policy", "never"], ["failure_policy", "never", "slow or fast"]),
        (["--components-image", "components:1"], ["components_image", "components:1", "digest"]),
        (["--resources", "/no/such.yaml"], ["resources", "/no/such.yaml"]),
        (["--poll-seconds", "0"], ["poll_seconds", "0"]),
    ],
    ids=lambda value: (
        " ".join(value) if isinstance(value, list) and value and value[0].startswith("--") else None
    ),
)
def test_a_wrong_value_is_refused_before_anything_is_sent(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, words: list[str], said: list[str]
) -> None:
    code, out, err = greenlight(
        "run", "--target", CLUSTER, "--history", "gs://models/greenlight", *words
    )
    assert (code, out, on_vertex.requests) == (2, "", [])
    for word in said:
        assert word in err


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
            figure(run.folder, "resolve", "new, commit 398f9666e366")
            figure(run.builds[1], "quantize", "4.9 MB")
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
    there(on_vertex, history)
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
    there(on_vertex, history)
    on_vertex.script = [job("SUCCEEDED", [("resolve", "SUCCEEDED"), ("download", "NOT_TRIGGERED")])]
    code, out, _ = greenlight("follow", RUN)
    assert code == 0 and "up_to_date" in out


def test_a_failed_run_names_the_step_its_last_error_and_the_link(
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
    there(on_vertex, history)
    on_vertex.script = [
        job("FAILED", [("resolve", "SUCCEEDED"), ("deploy-green", "FAILED")], "exit status 1")
    ]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1
    assert "failed     deploy_green: no node has room for it. Add one." in out
    assert f"/pipelines/runs/{RUN}?project=proj-1" in out.splitlines()[-1]


def test_a_step_that_died_without_a_word_fails_with_the_clouds(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, history: str
) -> None:
    there(on_vertex, history)
    on_vertex.script = [job("FAILED", [("resolve", "FAILED")], "The replica was\nout of memory")]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1 and "failed     resolve: out of memory" in out


def test_a_cancelled_run_is_no_success(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, history: str
) -> None:
    there(on_vertex, history)
    on_vertex.script = [job("CANCELLED", [("resolve", "CANCELLED")])]
    code, out, _ = greenlight("follow", RUN)
    assert code == 1 and "cancelled" in out


def test_a_cloud_that_stays_away_does_not_end_the_run(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(on_vertex, "gs://models/greenlight")
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
    there(on_vertex, history)

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


def test_a_refusal_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['greenlight', 'run', '--runner', 'vertex', '--target',"
        f" '{CLUSTER}', '--history', 'gs://m/g', '--bits', '3']\nfrom greenlight.cli import main as cli\ntry:\n "
        "   cli.main()\nexcept SystemExit as ended:\n    assert ended.code == 2\nprint([name for"
        " name in ('kfp.compiler', 'google.cloud.aiplatform_v1', 'kfp_server_api', 'torch',"
        " 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.strip() == "[]" and "bits: 3" in done.stderr


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
    there(on_vertex, history)
    on_vertex.jobs[RUN] |= job("SUCCEEDED", SUCCEEDED)
    code, out, err = greenlight("follow", RUN, "--json")
    told = json.loads(out)
    assert (code, told["run_id"], told["outcome"], told["verdict"]) == (
        0,
        RUN,
        "promoted",
        "promote",
    )
    assert "verdict    promote" in err, "what a person reads goes to stderr"


def test_cancel_and_ui(greenlight: Callable[..., Outcome], on_vertex: FakeVertex) -> None:
    there(on_vertex, "gs://models/greenlight")
    assert greenlight("cancel", RUN)[0] == 0 and on_vertex.sent("POST", f".*/{RUN}:cancel")
    assert greenlight("ui", RUN)[1].strip().endswith(f"/pipelines/runs/{RUN}?project=proj-1")
    assert greenlight("ui", RUN, "--runner", "local")[0] == 2
    assert greenlight("cancel", "promotion-x")[0] == 2


def test_what_only_a_run_needs_is_not_asked_for_a_link(
    greenlight: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIPELINE_ROOT", "SERVICE_ACCOUNT", "COMPONENTS_IMAGE"):
        monkeypatch.delenv(f"GREENLIGHT_{name}", raising=False)
    assert greenlight("ui", RUN, "--runner", "vertex", "--project", "proj-1")[0] == 0


def test_a_schedule_from_the_command_line(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex
) -> None:
    where = ("--target", CLUSTER, "--history", "gs://models/greenlight")
    code, out, err = greenlight(
        "schedule", "create", "weekly", "--cron", "0 3 * * 1", "--start", "2127-01-01", *where
    )
    assert (code, out.strip()) == (0, "weekly: 0 3 * * 1, active"), err
    assert greenlight("schedule", "create", "weekly", "--cron", "0 3 * * 1", *where)[0] == 2
    assert greenlight("schedule", "create", "other", "--cron", "0 25 * * 1", *where)[0] == 2
    assert greenlight("schedule", "pause", "weekly")[0] == 0
    assert "paused" in greenlight("schedule", "list")[1]
    assert [
        (each["name"], each["state"])
        for each in json.loads(greenlight("schedule", "list", "--json")[1])
    ] == [("weekly", "paused")]
    assert greenlight("schedule", "resume", "weekly")[0] == 0
    assert greenlight("schedule", "update", "weekly", "--cron", "0 4 * * 1", "--times-only")[0] == 0
    assert "0 4 * * 1" in greenlight("schedule", "list")[1]
    assert greenlight("schedule", "delete", "weekly")[0] == 0
    assert len(on_vertex.sent("POST", ".*/schedules")) == 1 and on_vertex.schedules == {}


def test_a_template_from_the_command_line(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex
) -> None:
    code, out, err = greenlight(
        "template",
        "push",
        "--tag",
        "v1",
        "--target",
        CLUSTER,
        "--history",
        "gs://models/greenlight",
    )
    assert code == 0, err
    assert out.strip().endswith("/templates/promotion/sha256:0123")
    (request,) = on_vertex.sent("POST", "/pipelines.*")
    assert "latest,v1" in request.body and f"defaultValue: {CLUSTER}" in request.body


def test_the_same_on_kubeflow(
    greenlight: Callable[..., Outcome],
    on_kubeflow: FakeKubeflow,
    history: str,
    upload: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    run = RunFactory(tmp_path / "records", "runs-1").through("gate").moved()
    figure(run.builds[1], "quantize", "4.9 MB")  # by an earlier run: it is older than this one
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


@pytest.mark.parametrize("backend", ["vertex", "kubeflow"])
def test_compile_for_a_cloud(
    greenlight: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    file = tmp_path / "out" / "promotion.yaml"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "greenlight",
            "compile",
            "--runner",
            backend,
            "--components-image",
            IMAGE,
            "--target",
            CLUSTER,
            str(file),
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert (
        greenlight(
            "compile",
            "--runner",
            backend,
            "--components-image",
            IMAGE,
            "--bits",
            "3",
            str(tmp_path / "x"),
        )[0]
        == 2
    )
    assert (IMAGE in file.read_text(), f"defaultValue: {CLUSTER}" in file.read_text()) == (
        True,
        True,
    )
