"""Open the runner of a cloud from the options that name it, and compile the pipeline for it."""

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
