"""Each step's exact command line of the compiled pipeline, in the components image, with artifacts
and history in a bucket: what a backend would run.

No step finds more than the image has, or than its executor input says. The local target takes the
cluster's place, in the same root.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from greenlight.core.history import load_run
from greenlight.models.builtin import TINY
from greenlight.pipelines.compiler import Build, compile_for
from greenlight.pipelines.resources import load_resources
from greenlight.resolve.parameters import Parameters
from tests.end_to_end.conftest import SMALL_GATE
from tests.gcs import running_server
from tests.pipelines.backend import Backend, Task
from tests.pipelines.components_image import ComponentsImage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DIGEST = (
    f"registry.example.com/components@sha256:{'ab' * 32}"  # the name of the image that is at hand
)
HOPELESS_GATE = SMALL_GATE.replace("max: 0.5", "max: 0.0000001")
TO_THE_GATE = [
    "resolve",
    "download",
    "reference",
    "quantize",
    "evaluate",
    "select",
    "deploy-green",
    "benchmark",
    "gate",
]


class Cloud:
    """The bucket, and the backend that runs steps in the image."""

    def __init__(self, image: ComponentsImage, emulator: str, bucket: Any) -> None:
        self.bucket, self.history = bucket, f"gs://{bucket.name}/greenlight"
        self.spec = yaml.safe_load(
            compile_for("vertex", Build(DIGEST, load_resources(), Parameters()))
        )
        # else a step would ask Secret Manager for them
        secrets = {
            "HF_TOKEN": "none",
            "GREENLIGHT_API_KEY": "",
        }
        machine = {"STORAGE_EMULATOR_HOST": emulator, "OMP_NUM_THREADS": "1", **secrets}

        def run_command(command: list[str], variables: dict[str, str]) -> tuple[int, str]:
            done = image.run(*command, **machine | variables | self.variables)
            return done.returncode, done.stdout

        self.backend = Backend(self.spec, bucket, image.gcs, run_command)

    def run(self, run_id: str, **parameters: object) -> dict[str, Task]:
        """A name in capitals is a variable of the steps' environment."""
        self.variables = {
            name: str(parameters.pop(name)) for name in list(parameters) if name.isupper()
        }
        given = {
            "model": f"gs://{self.bucket.name}/training-runs",
            "target": "local",
            "home": "/tmp/home",
            "history": self.history,
        }
        return self.backend.run(run_id, given | parameters)

    def upload_checkpoint(self, name: str, *, only: str = "*") -> None:
        for path in TINY.glob(only):
            self.bucket.blob(f"training-runs/{name}/{path.name}").upload_from_filename(str(path))


@pytest.fixture(scope="module")
def cloud(components_image: ComponentsImage) -> Iterator[Cloud]:
    with (
        components_image.running(),
        running_server("127.0.0.1") as emulator,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", emulator)
        from google.cloud import storage as google

        from greenlight.core import storage

        storage._client.cache_clear()
        cloud = Cloud(components_image, emulator, google.Client().create_bucket("cloud"))
        cloud.upload_checkpoint("step-100")
        yield cloud
        storage._client.cache_clear()


def ran(tasks: dict[str, Task], states: tuple[str, ...] = ("succeeded",)) -> list[str]:
    """The steps in these states. Groups are left out."""
    failed = {
        name: task.log[-3000:]
        for name, task in tasks.items()
        if task.state == "failed" and task.log
    }
    assert not failed, "\n".join(f"{name}: {log}" for name, log in failed.items())
    return [
        name
        for name, task in tasks.items()
        if task.state in states and not name.startswith(("condition", "exit-handler", "for-loop"))
    ]


def test_a_candidate_that_the_gate_refuses_is_retired(cloud: Cloud) -> None:
    tasks = cloud.run("run-1", gate=HOPELESS_GATE)
    assert ran(tasks) == [*TO_THE_GATE, "retire", "report"]
    assert tasks["gate"].outputs.parameters["Output"] == "retire"
    run = load_run(cloud.history, "run-1")
    assert (
        run.outcome == "retired"
        and not run.unreadable
        and run.decision
        and run.decision.verdict == "reject"
    )
    assert run.resolution and run.resolution.checkpoint == "gs://cloud/training-runs/step-100"
    assert run.candidate and (run.candidate.method, run.candidate.format) == ("optimum", "openvino")


def test_the_next_run_reuses_what_is_cached_and_promotes(cloud: Cloud) -> None:
    tasks = cloud.run("run-2", gate=SMALL_GATE)
    assert ran(tasks, ("reused",)) == ["download", "reference", "quantize", "evaluate"]
    assert ran(tasks) == [
        "resolve",
        "select",
        "deploy-green",
        "benchmark",
        "gate",
        "promote",
        "report",
    ]
    run = load_run(cloud.history, "run-2")
    assert (
        run.outcome == "promoted"
        and not run.unreadable
        and run.evaluation
        and run.benchmark
        and run.benchmark.pairs >= 10
    )
    assert (
        run.deployment
        and run.promotion
        and run.promotion.live.release_id == run.deployment.candidate.release_id
    )
    for name in ("report.html", "parameters.json", "gate.json"):
        assert cloud.bucket.blob(f"greenlight/run-2/{name}").exists()
    assert b"promote" in cloud.bucket.blob("greenlight/run-2/report.html").download_as_bytes()
    assert (
        tasks["gate"].outputs.artifacts["decision"]["uri"]
        == "gs://cloud/root/promotion/run-2/gate/decision"
    )


def test_nothing_new_ends_at_the_first_step(cloud: Cloud) -> None:
    """A checkpoint that is still being written is nothing new."""
    cloud.upload_checkpoint("step-200", only="*.json")
    tasks = cloud.run("run-3", gate=SMALL_GATE)
    assert ran(tasks) == ["resolve", "report"]
    assert "step-200" in tasks["resolve"].log
    assert load_run(cloud.history, "run-3").outcome == "up_to_date"


def test_a_sweep_passes_the_chosen_candidate_on_and_leaves_out_what_fails(cloud: Cloud) -> None:
    """The export environment is not where its variable says, so one method cannot work."""
    tasks = cloud.run(
        "run-sweep",
        methods="none,optimum:4",
        gate=SMALL_GATE,
        force=True,
        GREENLIGHT_OPENVINO_PYTHON="/nowhere",
    )
    assert ran(tasks)[:7] == [
        "resolve",
        "quantize/0",
        "evaluate/0",
        "quantize/1",
        "evaluate/1",
        "select",
        "deploy-green",
    ]
    selected = tasks["select"].outputs.artifacts
    assert (
        selected["candidate"]["uri"] == "gs://cloud/root/promotion/run-sweep/quantize/0/candidate"
    )
    assert (
        selected["evaluation"]["uri"] == "gs://cloud/root/promotion/run-sweep/evaluate/0/evaluation"
    )
    run = load_run(cloud.history, "run-sweep")
    assert run.selection and {each.name: each.status for each in run.selection.contenders} == {
        "none": "chosen",
        "optimum:4": "failed",
    }
    assert (
        run.deployment
        and run.deployment.candidate.digest == run.selection.digest
        and not run.unreadable
    )
    assert run.outcome == "promoted"


def test_a_step_that_fails_is_reported(cloud: Cloud) -> None:
    tasks = cloud.run("run-4", model="gs://cloud/nothing-here")
    assert (
        tasks["resolve"].state == tasks["exit-handler-1"].state == "failed"
        and tasks["condition-2"].state == "skipped"
    )
    assert tasks["report"].state == "succeeded"
    (error,) = load_run(cloud.history, "run-4").errors
    assert error.step == "resolve" and "nothing-here" in error.message


def test_every_executor_has_been_run(cloud: Cloud) -> None:
    """Last of this module: what the runs above left in the bucket."""
    ran = {blob.name.split("/")[3] for blob in cloud.bucket.list_blobs(prefix="root/promotion/")}
    assert {f"exec-{name}" for name in ran} == set(cloud.spec["deploymentSpec"]["executors"])
