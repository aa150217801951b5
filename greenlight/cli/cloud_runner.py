"""The cloud that a command talks to: opened from its options, called with retries, and found again
by the next command.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from greenlight.core.errors import InputError
from greenlight.core.extras import require
from greenlight.pipelines.runners.interface import CloudRunner
from greenlight.pipelines.runners.settings import (
    CloudOptions,
    check_runner,
    kubeflow_settings,
    vertex_settings,
)
from greenlight.resolve.parameters import Parameters

T = TypeVar("T")

CALL_SECONDS = 120
"""How long one short call, such as a pause of a schedule, is retried."""


def open_runner(options: CloudOptions, defaults: Parameters | None = None) -> CloudRunner:
    """The runner that the options name. With `defaults` it can submit runs: the pipeline is
    compiled with them.

    Raises:
        InputError: an option is unusable. Nothing has been sent.
    """
    name = check_runner(options.runner)
    submits = defaults is not None
    if name == "local":
        raise InputError("runner", name, "use vertex or kubeflow: this is about runs in a cloud")
    if name == "vertex":
        vertex = vertex_settings(options, submits)
        require("vertex", "Runner vertex", "google.cloud.aiplatform_v1")
        spec = compile_pipeline(options, defaults) if defaults else ""
        from greenlight.pipelines.runners.vertex import VertexRunner

        return VertexRunner(vertex, spec)
    kubeflow = kubeflow_settings(options, submits)
    spec = compile_pipeline(options, defaults) if defaults else ""
    from greenlight.pipelines.runners.kubeflow import KubeflowRunner

    return KubeflowRunner(kubeflow, spec)


def compile_pipeline(options: CloudOptions, defaults: Parameters) -> str:
    """The pipeline for the options' runner, as YAML text. Raises InputError."""
    from greenlight.pipelines.compiler import Build, compile_for, compile_promotion
    from greenlight.pipelines.resources import load_resources
    from greenlight.quantize.methods import check_in_cloud

    name = check_runner(options.runner)
    if name == "local":
        return compile_promotion()
    resources = load_resources(options.resources)
    accelerator = resources["quantize"].accelerator
    for method, _ in defaults.recipes:
        check_in_cloud(method, accelerator.type if accelerator else None)
    build = Build(options.components_image, resources, defaults, options.allow_tag)
    return compile_for(name, build)


def read_files(parameters: Parameters) -> Parameters:
    """The parameters with the text of a gate or workload file in place of its path, so that the
    run records what judged it and what was sent, and steps elsewhere can read it.
    """
    files = {
        field: Path(value)
        for field in ("gate", "workload")
        if "\n" not in (value := getattr(parameters, field))
    }
    return parameters.model_copy(
        update={field: path.read_text() for field, path in files.items() if path.is_file()}
    )


def call_with_retries(runner: CloudRunner, options: CloudOptions, call: Callable[[], T]) -> T:
    """The result of one short call, retried while the cloud is unavailable.

    Raises:
        UnavailableError: the cloud stayed unavailable for CALL_SECONDS.
    """
    from greenlight.pipelines.runners.follow import Patience, patiently

    retries = Patience(first=options.poll_seconds / 10, total=CALL_SECONDS)
    return patiently(runner, call, retries, print_progress)


def options_of_same_cloud(options: CloudOptions) -> str:
    """The options by which another command finds the same run."""
    if options.runner == "vertex":
        return f"--runner vertex --project {options.project} --region {options.region}"
    return f"--runner {options.runner} --kfp-host {options.kfp_host}"


def print_progress(message: str) -> None:
    """On stderr, since results go to stdout."""
    print(message, file=sys.stderr, flush=True)
