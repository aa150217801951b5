"""Kubeflow Pipelines: what exactly is sent, and that nothing is started twice."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from greenlight.core.errors import GreenlightError, InputError
from greenlight.pipelines.runners.interface import Timetable, UnavailableError
from greenlight.pipelines.runners.kubeflow import KubeflowRunner
from greenlight.pipelines.runners.open_cloud import compile_pipeline
from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry
from greenlight.pipelines.runners.settings import CloudOptions, kubeflow_settings
from tests.pipelines.runners.conftest import IMAGE, kubeflow_options, parameters
from tests.pipelines.runners.fake_api import DROPPED, LOST, FakeKubeflow

RUN = "promotion-20261125-050000-4f2a"
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02, give_up_after=2)
ROOT = FakeKubeflow.ROOT
POST_RUN = rf"POST {ROOT}/runs"
RUNTIME = {"parameters": parameters().model_dump(), "pipeline_root": "gs://runs/runs"}


@pytest.fixture(scope="module")
def spec() -> str:
    return compile_pipeline(CloudOptions(runner="kubeflow", components_image=IMAGE), parameters())


@pytest.fixture
def runner(kubeflow: FakeKubeflow, spec: str) -> KubeflowRunner:
    return KubeflowRunner(kubeflow_settings(kubeflow_options(kubeflow)), spec)


def test_the_requests_of_a_submission(
    runner: KubeflowRunner, kubeflow: FakeKubeflow, spec: str
) -> None:
    assert runner.submit(parameters(), RUN) == "runs-1"
    sent = [(request.method, request.path.removeprefix(ROOT)) for request in kubeflow.requests]
    assert [path for method, path in sent if method == "POST"] == [
        "/experiments",
        "/pipelines/upload",
        "/pipelines/upload_version",
        "/runs",
    ]
    experiment, upload, version, run = kubeflow.sent("POST", ".*")
    assert experiment.body == {"display_name": "greenlight"}
    assert upload.query["name"] == "greenlight-promotion" and spec in upload.body
    assert version.query["pipelineid"] == "pipe-1" and spec in version.body
    assert run.body == {
        "experiment_id": "experiments-1",
        "display_name": RUN,
        "pipeline_version_reference": {"pipeline_id": "pipe-1", "pipeline_version_id": "version-1"},
        "runtime_config": RUNTIME,
        "service_account": "greenlight-pipeline",
    }


def test_the_same_pipeline_is_uploaded_once(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    runner.submit(parameters(), RUN)
    runner.submit(parameters(bits=4), "another")
    assert len(kubeflow.sent("POST", ".*upload.*")) == 2 and len(kubeflow.things["runs"]) == 2


@pytest.mark.parametrize("fault", [LOST, DROPPED, 429, 503, 401])
def test_a_submission_that_was_not_answered_starts_one_run(
    runner: KubeflowRunner, kubeflow: FakeKubeflow, fault: int | str
) -> None:
    kubeflow.faults = [(POST_RUN, fault)]
    assert (
        call_with_retry(runner, lambda: runner.submit(parameters(), RUN), QUICK, print) == "runs-1"
    )
    assert len(kubeflow.things["runs"]) == 1


def test_a_refusal_is_not_tried_again(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    kubeflow.faults = [(POST_RUN, 400)]
    with pytest.raises(GreenlightError, match="refused") as raised:
        runner.submit(parameters(), RUN)
    assert not isinstance(raised.value, UnavailableError)
    assert len(kubeflow.sent("POST", f"{ROOT}/runs")) == 1


def test_a_token_is_read_anew(kubeflow: FakeKubeflow, spec: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    runner = KubeflowRunner(
        kubeflow_settings(kubeflow_options(kubeflow, kfp_token_file=str(token))), spec
    )
    run_id = runner.submit(parameters(), RUN)
    token.write_text("second\n")
    runner.get_run(run_id)
    assert (kubeflow.requests[0].authorization, kubeflow.requests[-1].authorization) == (
        "Bearer first",
        "Bearer second",
    )


def test_looking_and_cancelling(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    run_id = runner.submit(parameters(), RUN)
    details = [
        ("resolve-driver", "SUCCEEDED", None),
        ("resolve", "SUCCEEDED", None),
        ("executor", "SUCCEEDED", None),
        ("executor(0)", "FAILED", None),
        ("condition-1", "RUNNING", None),
        ("download", "RUNNING", None),
        ("deploy-green", "FAILED", {"message": "Error (exit code 1)"}),
        ("promote", "SKIPPED", None),
        ("gate", "PENDING", None),
    ]
    tasks = [
        {"display_name": name, "state": state, "error": error} for name, state, error in details
    ]
    kubeflow.script = [{"state": "RUNNING", "run_details": {"task_details": tasks}}]
    run = runner.get_run(run_id)
    assert (run.state, run.history) == ("running", "gs://models/greenlight")
    assert {task.step: task.state for task in run.tasks} == {
        "resolve": "done",
        "download": "running",
        "deploy_green": "failed",
        "promote": "skipped",
        "gate": "waiting",
    }
    runner.cancel(run_id)
    assert (kubeflow.requests[-1].method, kubeflow.requests[-1].path) == (
        "POST",
        f"{ROOT}/runs/{run_id}:terminate",
    )
    with pytest.raises(InputError, match="run: 'x'"):
        runner.get_run("x")


def test_a_run_that_was_started_with_the_defaults_tells_its_history(
    runner: KubeflowRunner, kubeflow: FakeKubeflow
) -> None:
    run_id = runner.submit(parameters(), RUN)
    kubeflow.things["runs"][0]["runtime_config"] = {"parameters": {"bits": 4}}
    spec, platform = yaml.safe_load_all(runner.spec)
    kubeflow.things["versions"][0]["pipeline_spec"] = {
        "pipeline_spec": spec,
        "platform_spec": platform,
    }
    assert runner.get_run(run_id).history == "gs://models/greenlight"


def test_the_requests_of_a_recurring_run(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    times = Timetable(
        cron="0 3 * * 1",
        start=datetime(2027, 1, 1, tzinfo=UTC),
        end=datetime(2028, 1, 1, tzinfo=UTC),
    )
    made = runner.create_schedule("weekly", parameters(), times)
    assert (made.name, made.state, made.cron, made.max_concurrent_runs) == (
        "weekly",
        "active",
        "0 3 * * 1",
        1,
    )
    (request,) = kubeflow.sent("POST", f"{ROOT}/recurringruns")
    assert request.body == {
        "experiment_id": "experiments-1",
        "display_name": "weekly",
        "mode": "ENABLE",
        "pipeline_version_reference": {"pipeline_id": "pipe-1", "pipeline_version_id": "version-1"},
        "runtime_config": RUNTIME,
        "service_account": "greenlight-pipeline",
        "max_concurrency": "1",
        "no_catchup": True,
        "trigger": {
            "cron_schedule": {
                "cron": "0 0 3 * * 1",
                "start_time": "2027-01-01T00:00:00+00:00",
                "end_time": "2028-01-01T00:00:00+00:00",
            }
        },
    }
    for verb, state, call in (
        ("disable", "paused", runner.pause_schedule),
        ("enable", "active", runner.resume_schedule),
    ):
        call("weekly")
        assert kubeflow.requests[-1].path == f"{ROOT}/recurringruns/recurringruns-1:{verb}"
        assert [schedule.state for schedule in runner.schedules()] == [state]
    with pytest.raises(InputError, match="changes no recurring run"):
        runner.update_schedule("weekly", None, times)
    runner.delete_schedule("weekly")
    assert kubeflow.requests[-1].method == "DELETE" and runner.schedules() == []


def test_a_recurring_run_whose_answer_was_lost_is_made_once(
    runner: KubeflowRunner, kubeflow: FakeKubeflow
) -> None:
    kubeflow.faults = [("POST .*/recurringruns", LOST)]
    call_with_retry(
        runner,
        lambda: runner.create_schedule("weekly", parameters(), Timetable(cron="0 3 * * 1")),
        QUICK,
        print,
    )
    assert len(kubeflow.things["recurringruns"]) == 1


def test_a_time_zone_is_refused(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    with pytest.raises(InputError, match="leave the time zone out"):
        runner.create_schedule("weekly", parameters(), Timetable(cron="TZ=Europe/Zurich 0 3 * * 1"))
    assert kubeflow.requests == []


def test_names_are_asked_for_by_filter(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    runner.submit(parameters(), RUN)
    (listing,) = kubeflow.sent("GET", f"{ROOT}/runs")
    assert json.loads(listing.query["filter"]) == {
        "predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": RUN}]
    }


def test_the_links(runner: KubeflowRunner, kubeflow: FakeKubeflow) -> None:
    assert runner.link("runs-1") == f"{kubeflow.url}/#/runs/details/runs-1"
    assert runner.push_template() == f"{kubeflow.url}/#/pipelines/details/pipe-1/version/version-1"
