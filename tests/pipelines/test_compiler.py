"""The pipeline as compiled for the clouds: the same steps with the same parameters, each with what
the resources file says.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.core.errors import InputError
from greenlight.pipelines.compiler import Backend, Build, compile_for, compile_promotion, steps
from greenlight.pipelines.resources import ALL_STEPS, Accelerator, load_resources
from greenlight.resolve.parameters import Parameters

IMAGE = f"registry.example.com/components@sha256:{'ab' * 32}"
DEFAULTS = Parameters(
    target="projects/p/locations/l/clusters/c", history="gs://b/greenlight", bits=4
)
SPOT_AND_GPU = """
defaults: {cpu: 2, memory: 8Gi, timeout_minutes: 60, retries: {attempts: 2}}
steps:
  quantize:
    accelerator: {type: nvidia-l4, count: 1}
    spot: true
    node_selector: {pool: big}
    tolerations: [{key: dedicated, value: greenlight, effect: NoSchedule}]
  gate: {retries: {attempts: 0}}
"""


def compiled(backend: Backend, resources: str = "") -> str:
    return compile_for(backend, Build(IMAGE, load_resources(resources), DEFAULTS))


@pytest.fixture(scope="module")
def texts() -> dict[Backend, str]:
    return {"vertex": compiled("vertex"), "kubeflow": compiled("kubeflow")}


@pytest.fixture(scope="module")
def specs(texts: dict[Backend, str]) -> dict[Backend, dict[str, Any]]:
    return {backend: next(yaml.safe_load_all(text)) for backend, text in texts.items()}


def machines(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        label.removeprefix("exec-"): executor["container"]
        for label, executor in spec["deploymentSpec"]["executors"].items()
    }


def test_the_same_bytes_for_the_same_arguments(texts: dict[Backend, str]) -> None:
    assert {backend: compiled(backend) for backend in texts} == texts


def test_one_document_for_vertex_and_two_for_kubeflow(texts: dict[Backend, str]) -> None:
    assert {backend: len(list(yaml.safe_load_all(text))) for backend, text in texts.items()} == {
        "vertex": 1,
        "kubeflow": 2,
    }


def test_each_document_is_what_kfp_reads(texts: dict[Backend, str]) -> None:
    """No field that its schema does not know."""
    from google.protobuf.json_format import ParseDict
    from kfp.pipeline_spec import pipeline_spec_pb2

    for text in texts.values():
        spec, *platform = yaml.safe_load_all(text)
        ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
        ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        for document in platform:
            ParseDict(document, pipeline_spec_pb2.PlatformSpec())


def test_both_are_the_local_pipeline(specs: dict[Backend, dict[str, Any]]) -> None:
    """The same steps, groups, conditions, commands, inputs and outputs; apart are only the machine,
    the environment and the placeholder of the run's id.
    """
    local = yaml.safe_load(compile_promotion())
    for spec in (local, *specs.values()):
        assert {step for step, _ in steps(spec)} == set(ALL_STEPS)
        for container in machines(spec).values():
            for own in ("image", "resources", "env"):
                container.pop(own, None)
        for _, task in steps(spec):
            task.pop("retryPolicy", None)
        for parameter in spec["root"]["inputDefinitions"]["parameters"].values():
            parameter.pop("defaultValue")
    vertex = yaml.safe_load(
        yaml.safe_dump(specs["vertex"]).replace(
            "{{$.pipeline_job_name}}", "{{$.pipeline_job_uuid}}"
        )
    )
    assert vertex == specs["kubeflow"] == local


@pytest.mark.parametrize("backend", ["vertex", "kubeflow"])
def test_a_person_can_start_a_run_with_the_defaults(backend: Backend) -> None:
    inputs = next(yaml.safe_load_all(compiled(backend)))["root"]["inputDefinitions"]["parameters"]
    for name, value in DEFAULTS.model_dump().items():
        assert (
            inputs[name]["defaultValue"] == value
            and inputs[name]["description"]
            and inputs[name]["isOptional"]
        ), name


def test_every_step_has_its_machine_time_and_image() -> None:
    for container in machines(yaml.safe_load(compiled("vertex"))).values():
        assert container["image"] == IMAGE
        assert {"cpuLimit", "memoryLimit", "resourceCpuLimit", "resourceMemoryLimit"} <= set(
            container["resources"]
        )
        assert (
            int(
                next(
                    each["value"]
                    for each in container["env"]
                    if each["name"] == "GREENLIGHT_STEP_SECONDS"
                )
            )
            > 0
        )


def test_resources_are_written_as_kfp_itself_writes_them(tmp_path: Path) -> None:
    from kfp import compiler, dsl

    @dsl.component(base_image=IMAGE)
    def work() -> None: ...

    @dsl.pipeline(name="p")
    def pipeline() -> None:
        task = (
            work()
            .set_cpu_limit("8")
            .set_memory_limit("30Gi")
            .set_accelerator_type("NVIDIA_L4")
            .set_accelerator_limit(1)
        )
        task.set_retry(2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")

    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    theirs = yaml.safe_load((tmp_path / "p.yaml").read_text())
    resources = load_resources()
    resources["quantize"] = resources["quantize"].model_copy(
        update={"accelerator": Accelerator(type="nvidia-l4")}
    )
    ours = yaml.safe_load(compile_for("vertex", Build(IMAGE, resources, DEFAULTS)))
    assert machines(ours)["quantize"]["resources"] == machines(theirs)["work"]["resources"]
    assert (
        dict(steps(ours))["quantize"]["retryPolicy"] == dict(steps(theirs))["work"]["retryPolicy"]
    )


def test_what_may_fail_is_tried_again_and_a_verdict_never(
    specs: dict[Backend, dict[str, Any]],
) -> None:
    for backend in specs:
        tasks = dict(steps(next(yaml.safe_load_all(compiled(backend)))))
        assert {step for step, task in tasks.items() if "retryPolicy" not in task} == {"gate"}


def test_spot_and_gpus_on_kubeflow(tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text(SPOT_AND_GPU)
    spec, platform = yaml.safe_load_all(compiled("kubeflow", str(file)))
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-quantize"]
    assert pod["nodeSelector"]["labels"] == {
        "pool": "big",
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-spot": "true",
    }
    assert [toleration["key"] for toleration in pod["tolerations"]] == [
        "dedicated",
        "nvidia.com/gpu",
        "cloud.google.com/gke-spot",
    ]
    assert pod["activeDeadlineSeconds"] == "3900"
    assert machines(spec)["quantize"]["resources"]["accelerator"] == {
        "type": "nvidia.com/gpu",
        "resourceType": "nvidia.com/gpu",
        "count": "1",
        "resourceCount": "1",
    }
    with pytest.raises(InputError, match="Vertex runs no step of a pipeline on Spot"):
        compiled("vertex", str(file))


def test_secrets_are_named_and_never_written() -> None:
    _, platform = yaml.safe_load_all(compiled("kubeflow"))
    (secret,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-download"][
        "secretAsEnv"
    ]
    assert (secret["secretName"], secret["keyToEnv"], secret["optional"]) == (
        "greenlight",
        [{"secretKey": "HF_TOKEN", "envVar": "HF_TOKEN"}],
        True,
    )
    environment = {
        each["name"]: each["value"]
        for each in machines(yaml.safe_load(compiled("vertex")))["download"]["env"]
    }
    assert environment["GREENLIGHT_SECRET_HF_TOKEN"] == "hf-token" and "HF_TOKEN" not in environment


@pytest.mark.parametrize(
    "image", ["", "greenlight-components:0.1.0", "registry/components@sha256:12"]
)
def test_an_image_that_may_move_is_refused(image: str) -> None:
    with pytest.raises(InputError, match="components_image"):
        Build(image, {}, DEFAULTS)


def test_an_image_that_may_move_is_taken_when_allowed() -> None:
    assert Build("greenlight-components:0.1.0", {}, DEFAULTS, allow_tag=True).image
