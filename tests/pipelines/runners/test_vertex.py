"""Vertex AI Pipelines: what exactly is sent, and that nothing is started twice."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from greenlight.core.errors import GreenlightError, InputError
from greenlight.pipelines.runners.interface import Timetable, UnavailableError
from greenlight.pipelines.runners.open_cloud import compile_pipeline
from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry
from greenlight.pipelines.runners.settings import CloudOptions, vertex_settings
from greenlight.pipelines.runners.vertex import VertexRunner
from tests.pipelines.runners.conftest import ACCOUNT, IMAGE, parameters, vertex_options
from tests.pipelines.runners.fake_api import DROPPED, LOST, FakeVertex

RUN = "promotion-20261125-050000-4f2a"
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02, give_up_after=2)
KEY = "projects/proj-1/locations/us-central1/keyRings/r/cryptoKeys/k"
NETWORK = "projects/123/global/networks/greenlight-dev"
POST_JOB = r"POST .*/pipelineJobs"
GET_JOB = r"GET .*/pipelineJobs/.*"


@pytest.fixture(scope="module")
def spec() -> str:
    return compile_pipeline(CloudOptions(runner="vertex", components_image=IMAGE), parameters())


@pytest.fixture
def runner(vertex: FakeVertex, spec: str) -> VertexRunner:
    return VertexRunner(
        vertex_settings(
            vertex_options(vertex, labels="team=ml,cost=42", kms_key=KEY, network=NETWORK)
        ),
        spec,
    )


def job_body(spec: str, name: str, **changes: object) -> dict[str, object]:
    return {
        "displayName": name,
        "pipelineSpec": yaml.safe_load(spec),
        "labels": {"greenlight": "promotion", "team": "ml", "cost": "42"},
        "runtimeConfig": {
            "gcsOutputDirectory": "gs://runs/runs",
            "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
            "parameterValues": parameters(**changes).model_dump(),
        },
        "encryptionSpec": {"kmsKeyName": KEY},
        "serviceAccount": ACCOUNT,
        "network": NETWORK,
    }


def plain(body: dict[str, object]) -> dict[str, object]:
    """Without the enum's number, which the REST transport sends instead of its name."""
    return {
        **body,
        "runtimeConfig": {
            **body["runtimeConfig"],  # type: ignore[dict-item]
            "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
        },
    }


def test_the_request_of_a_submission(runner: VertexRunner, vertex: FakeVertex, spec: str) -> None:
    assert runner.submit(parameters(bits=4), RUN) == RUN
    (request,) = vertex.requests
    assert (request.method, request.path, request.query["pipelineJobId"]) == (
        "POST",
        f"{vertex.PARENT}/pipelineJobs",
        RUN,
    )
    assert request.authorization.startswith("Bearer ")
    assert request.body["runtimeConfig"]["failurePolicy"] in (
        1,
        "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
    )
    assert plain(request.body) == job_body(spec, RUN, bits=4)


@pytest.mark.parametrize("fault", [LOST, DROPPED, 429, 503, 401])
def test_a_submission_that_was_not_answered_starts_one_run(
    runner: VertexRunner, vertex: FakeVertex, fault: int | str
) -> None:
    vertex.faults = [(POST_JOB, fault)]
    assert call_with_retry(runner, lambda: runner.submit(parameters(), RUN), QUICK, print) == RUN
    assert list(vertex.jobs) == [RUN]


def test_a_refusal_is_not_tried_again(runner: VertexRunner, vertex: FakeVertex) -> None:
    vertex.faults = [(POST_JOB, 403)]
    with pytest.raises(GreenlightError, match="refused") as raised:
        runner.submit(parameters(), RUN)
    assert not isinstance(raised.value, UnavailableError)
    assert len(vertex.requests) == 1


def test_looking_and_cancelling(runner: VertexRunner, vertex: FakeVertex) -> None:
    runner.submit(parameters(), RUN)
    details = [
        ("deploy-green", "RUNNING"),
        ("download", "SKIPPED"),
        ("promote", "NOT_TRIGGERED"),
        ("resolve", "SUCCEEDED"),
    ]
    vertex.script = [
        {
            "state": "PIPELINE_STATE_RUNNING",
            "jobDetail": {
                "taskDetails": [{"taskName": name, "state": state} for name, state in details]
            },
        }
    ]
    run = runner.get_run(RUN)
    assert (run.state, run.history) == ("running", "gs://models/greenlight")
    assert [(task.step, task.state) for task in run.tasks] == [
        ("deploy_green", "running"),
        ("download", "reused"),
        ("promote", "skipped"),
        ("resolve", "done"),
    ]
    runner.cancel(RUN)
    assert vertex.requests[-1].path == f"{vertex.PARENT}/pipelineJobs/{RUN}:cancel"
    with pytest.raises(InputError, match="run: 'promotion-x'"):
        runner.get_run("promotion-x")


def test_a_scheduled_run_with_defaults_tells_its_history(
    runner: VertexRunner, vertex: FakeVertex
) -> None:
    """A run that a person started in the console gives only the parameters that differ from the
    defaults.
    """
    runner.submit(parameters(), RUN)
    vertex.jobs[RUN]["runtimeConfig"]["parameterValues"] = {"bits": 4}
    assert runner.get_run(RUN).history == "gs://models/greenlight"


def test_the_requests_of_a_schedule(runner: VertexRunner, vertex: FakeVertex, spec: str) -> None:
    times = Timetable(
        cron="TZ=Europe/Zurich 0 3 * * 1",
        max_concurrent_runs=1,
        start=datetime(2027, 1, 1, tzinfo=UTC),
        end=datetime(2028, 1, 1, tzinfo=UTC),
    )
    made = runner.create_schedule("weekly", parameters(), times)
    assert (made.name, made.state, made.cron) == ("weekly", "active", times.cron)
    (request,) = vertex.sent("POST", ".*/schedules")
    wanted = request.body.pop("createPipelineJobRequest")
    assert request.body == {
        "displayName": "weekly",
        "cron": times.cron,
        "maxConcurrentRunCount": "1",
        "startTime": "2027-01-01T00:00:00Z",
        "endTime": "2028-01-01T00:00:00Z",
    }
    assert wanted["parent"] == "projects/proj-1/locations/us-central1"
    assert plain(wanted["pipelineJob"]) == job_body(spec, "weekly")

    vertex.schedules["projects/proj-1/locations/us-central1/schedules/1"][
        "createPipelineJobRequest"
    ] = wanted
    runner.pause_schedule("weekly")
    assert (vertex.requests[-1].path, runner.schedules()[0].state) == (
        f"{vertex.PARENT}/schedules/1:pause",
        "paused",
    )
    runner.resume_schedule("weekly")
    (request,) = vertex.sent("POST", ".*:resume")
    assert request.body.get("catchUp", False) is False
    runner.update_schedule("weekly", None, Timetable(cron="0 4 * * *"))
    (request,) = vertex.sent("PATCH", ".*")
    assert request.query["updateMask"] == "cron,maxConcurrentRunCount"
    assert request.body["cron"] == "0 4 * * *" and "createPipelineJobRequest" not in request.body
    runner.update_schedule("weekly", parameters(bits=4), Timetable(cron="0 5 * * *"))
    request = vertex.requests[-1]
    assert request.query["updateMask"] == "cron,maxConcurrentRunCount,createPipelineJobRequest"
    assert plain(request.body["createPipelineJobRequest"]["pipelineJob"]) == job_body(
        spec, "weekly", bits=4
    )
    runner.delete_schedule("weekly")
    assert vertex.schedules == {}
    with pytest.raises(InputError, match="no such schedule"):
        runner.pause_schedule("weekly")


def test_a_schedule_whose_answer_was_lost_is_made_once(
    runner: VertexRunner, vertex: FakeVertex
) -> None:
    vertex.faults = [("POST .*/schedules", LOST)]
    times = Timetable(cron="0 3 * * 1")
    assert (
        call_with_retry(
            runner, lambda: runner.create_schedule("weekly", parameters(), times), QUICK, print
        ).name
        == "weekly"
    )
    assert len(vertex.schedules) == 1


def test_schedules_of_others_are_left_alone(runner: VertexRunner, vertex: FakeVertex) -> None:
    vertex.schedules["x"] = {
        "name": "x",
        "displayName": "weekly",
        "cron": "* * * * *",
        "state": "ACTIVE",
    }
    assert runner.schedules() == []
    with pytest.raises(InputError, match="no such schedule"):
        runner.delete_schedule("weekly")


def test_the_request_of_a_template(
    runner: VertexRunner, vertex: FakeVertex, spec: str, tmp_path: Path
) -> None:
    file = tmp_path / "promotion.yaml"
    file.write_text(spec)
    assert runner.push_template(str(file), ["latest", "v1"]).endswith(
        "/pipelines/proj-1/templates/promotion/sha256:0123"
    )
    (request,) = vertex.sent("POST", "/pipelines.*")
    assert request.authorization == "Bearer token-1"
    assert 'name="tags"\r\n\r\nlatest,v1\r\n' in request.body
    assert 'name="content"; filename="promotion.yaml"' in request.body and spec in request.body


def test_the_console_link(runner: VertexRunner) -> None:
    assert (
        runner.link(RUN)
        == f"https://console.cloud.google.com/vertex-ai/locations/us-central1/pipelines/runs/{RUN}?project=proj-1"
    )
