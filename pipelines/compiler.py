"""The compiled pipeline: the one thing that every runner runs.

The local runner takes it as it is. For a cloud the same DAG gets its image, machines, retries and
defaults written into it, as KFP's own SDK would write them; what only Kubernetes knows goes
into a second YAML document, which Vertex would refuse.
"""

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from greenlight.core.errors import InputError
from greenlight.core.secrets import PREFIX
from greenlight.core.step import SECONDS
from greenlight.pipelines.resources import StepResources
from greenlight.resolve.parameters import Parameters

Backend = Literal["vertex", "kubeflow"]
Spec = dict[str, Any]

DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")
DEADLINE_GRACE_SECONDS = 300
"""A step ends itself in time and says why. Kubernetes' own deadline comes later, for one that
cannot.
"""
GPU = "nvidia.com/gpu"
SPOT = "cloud.google.com/gke-spot"


@dataclass(frozen=True)
class Build:
    """What a cloud's pipeline has that the local one has not.

    Args:
        image: of every step, REPOSITORY@sha256:DIGEST.
        resources: of every step, by its name.
        defaults: parameters that a person need not give.
        allow_tag: take an image without a digest, which may change under a run.
    """

    image: str
    resources: dict[str, StepResources]
    defaults: Parameters
    allow_tag: bool = False

    def __post_init__(self) -> None:
        if not self.image:
            raise InputError(
                "components_image",
                self.image,
                "give the image of the steps as REPOSITORY@sha256:DIGEST; the workflow `images`"
                " prints it",
            )
        if not self.allow_tag and not DIGEST.fullmatch(self.image):
            raise InputError(
                "components_image",
                self.image,
                "name it by its digest, REPOSITORY@sha256:DIGEST, or add --allow-tag: a tag may"
                " move under a run",
            )


def compile_promotion() -> str:
    """The pipeline's KFP intermediate representation as YAML text, the same bytes for the same
    code.
    """
    from kfp import compiler  # slow to import: 2-3 s

    from greenlight.pipelines.promotion import promotion

    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder) / "promotion.yaml"
        compiler.Compiler().compile(promotion, str(path))
        return path.read_text()


def compile_for(backend: Backend, build: Build) -> str:
    """The pipeline for a cloud: one YAML document for Vertex, two for Kubeflow. The same bytes for
    the same arguments.
    """
    spec = yaml.safe_load(compile_promotion())
    for name, value in build.defaults.model_dump().items():
        spec["root"]["inputDefinitions"]["parameters"][name]["defaultValue"] = value
    for step, task in steps(spec):
        resources = build.resources[step]
        container = _executor(spec, task)["container"]
        container["image"] = build.image
        container["resources"] = _machine(resources, backend)
        container["env"] = _environment(resources, backend)
        if policy := _retries(resources):
            task["retryPolicy"] = policy
    if backend == "kubeflow":
        return _dump(spec) + "---\n" + _dump(_platform(spec, build.resources))
    if spot := [step for step, _ in steps(spec) if build.resources[step].spot]:
        raise InputError(
            "resources",
            f"steps.{spot[0]}.spot",
            "Vertex runs no step of a pipeline on Spot; write false, or run on Kubeflow",
        )
    # A run's id on Vertex: the one that it was submitted with, and is known by everywhere. The
    # other placeholder is a number that the API never tells.
    return _dump(spec).replace("{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}")


def steps(spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step of the DAG and of the groups in it: its name, and its task."""
    for dag in [
        spec["root"]["dag"],
        *(component["dag"] for component in spec["components"].values() if "dag" in component),
    ]:
        for name, task in dag["tasks"].items():
            if "executorLabel" in spec["components"][task["componentRef"]["name"]]:
                yield name.replace("-", "_"), task


def _executor(spec: Spec, task: dict[str, Any]) -> dict[str, Any]:
    executor: dict[str, Any] = spec["deploymentSpec"]["executors"][_label(spec, task)]
    return executor


def _label(spec: Spec, task: dict[str, Any]) -> str:
    return str(spec["components"][task["componentRef"]["name"]]["executorLabel"])


def _machine(resources: StepResources, backend: Backend) -> dict[str, Any]:
    """Limits, twice: as numbers, which Vertex reads, and as text, which Kubeflow reads since
    2.4.
    """
    machine: dict[str, Any] = {
        "cpuLimit": float(resources.cpu),
        "resourceCpuLimit": f"{resources.cpu:g}",
        "memoryLimit": resources.memory_gb,
        "resourceMemoryLimit": resources.memory,
    }
    if accelerator := resources.accelerator:
        kind, count = (
            accelerator.vertex_type if backend == "vertex" else GPU,
            str(accelerator.count),
        )
        machine["accelerator"] = {
            "type": kind,
            "resourceType": kind,
            "count": count,
            "resourceCount": count,
        }
    return machine


def _environment(resources: StepResources, backend: Backend) -> list[dict[str, str]]:
    variables = {SECONDS: str(resources.timeout_minutes * 60)}
    if backend == "vertex":  # the name of the secret, which the step reads by itself
        variables |= {PREFIX + secret.env: secret.secret_manager for secret in resources.secrets}
    return [{"name": name, "value": value} for name, value in sorted(variables.items())]


def _retries(resources: StepResources) -> dict[str, Any] | None:
    retries = resources.retries
    if not retries.attempts:
        return None
    return {
        "maxRetryCount": retries.attempts,
        "backoffDuration": f"{retries.wait_seconds}s",
        "backoffFactor": float(retries.factor),
        "backoffMaxDuration": f"{retries.longest_seconds}s",
    }


def _platform(spec: Spec, resources: dict[str, StepResources]) -> Spec:
    """What only Kubernetes knows: nodes, taints, Secrets, deadlines. Checked against
    kfp-kubernetes' own schema.
    """
    from google.protobuf.json_format import MessageToDict, ParseDict
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

    executors = {
        _label(spec, task): MessageToDict(
            ParseDict(_pod(resources[step]), KubernetesExecutorConfig())
        )
        for step, task in steps(spec)
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _pod(step: StepResources) -> dict[str, Any]:
    labels = dict(step.node_selector)
    tolerations = [toleration.model_dump(exclude_defaults=True) for toleration in step.tolerations]
    if step.accelerator:
        labels["cloud.google.com/gke-accelerator"] = step.accelerator.type
        tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})
    if step.spot:
        labels[SPOT] = "true"
        tolerations.append(
            {"key": SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        )
    pod: dict[str, Any] = {
        "activeDeadlineSeconds": step.timeout_minutes * 60 + DEADLINE_GRACE_SECONDS
    }
    if labels:
        pod["nodeSelector"] = {"labels": labels}
    if tolerations:
        pod["tolerations"] = tolerations
    if step.secrets:
        pod["secretAsEnv"] = [
            {
                "secretName": secret.kubernetes_secret,
                "secretNameParameter": {"runtimeValue": {"constant": secret.kubernetes_secret}},
                "keyToEnv": [{"secretKey": secret.key, "envVar": secret.env}],
                "optional": True,
            }
            for secret in step.secrets
        ]
    return pod


def _dump(document: Spec) -> str:
    return yaml.safe_dump(document, sort_keys=True, width=160, allow_unicode=True)
