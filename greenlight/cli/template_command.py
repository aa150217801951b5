"""`greenlight template push`: the pipeline as a template in the cloud's console."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from greenlight.cli.cloud_runner import (
    call_with_retries,
)
from greenlight.cli.options import takes
from greenlight.core.errors import InputError
from greenlight.pipelines.runners.open_cloud import compile_pipeline, open_runner
from greenlight.pipelines.runners.settings import CloudOptions
from greenlight.pipelines.start import read_files
from greenlight.resolve.parameters import Parameters

TagOption = Annotated[
    list[str],
    typer.Option(
        "--tag",
        help="Vertex: a tag for this version, such as v1. Repeat the option for more tags.",
    ),
]

app = typer.Typer(
    name="template",
    no_args_is_help=True,
    help="Offer the pipeline in the cloud's console, where a person starts it from a form.",
)


@app.command("push")
@takes(Parameters, CloudOptions, from_environment=(CloudOptions,))
def push_template(parameters: Parameters, options: CloudOptions, tag: TagOption = []) -> None:  # noqa: B006  typer reads the list, nobody writes it
    """Upload the pipeline as a template. The parameters given here become its defaults."""
    parameters.check_for_cloud()
    if options.runner == "vertex" and not options.templates:
        raise InputError(
            "templates", "", "give the KFP repository; Terraform's output kfp_registry"
        )
    defaults = read_files(parameters)
    runner = open_runner(options, defaults)
    if options.runner == "kubeflow":
        from greenlight.pipelines.runners.kubeflow import KubeflowRunner

        assert isinstance(runner, KubeflowRunner)
        print(call_with_retries(runner, options, runner.push_template))
        return
    from greenlight.pipelines.runners.vertex import VertexRunner

    assert isinstance(runner, VertexRunner)
    push = runner.push_template
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "promotion.yaml"
        file.write_text(compile_pipeline(options, defaults))
        print(call_with_retries(runner, options, lambda: push(str(file), ["latest", *tag])))
