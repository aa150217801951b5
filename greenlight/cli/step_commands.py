"""Each step alone, on the same code that the pipeline runs: `greenlight download | quantize |
evaluate | benchmark | saturate`.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from greenlight.core.extras import require

log = logging.getLogger("greenlight")

WorkloadOption = Annotated[
    str,
    typer.Option(
        help=(
            "What is sent, and when: short, chat, summarize, code, a path, a gs:// URI, or the YAML"
            " itself."
        )
    ),
]
RateOption = Annotated[
    float | None, typer.Option(help="Requests a second to each color, instead of the workload's.")
]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes that generate the load, instead of the workload's.")
]


def register(app: typer.Typer) -> None:
    for command in (download, quantize, evaluate, benchmark, saturate):
        app.command(rich_help_panel="One step alone")(command)


def log_to_terminal() -> None:
    """Progress on stderr, one line an event; results go to stdout."""

    class Lines(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            message, figure = record.getMessage(), getattr(record, "figure", "")
            line = f"{message} ({figure})" if figure and figure not in message else message
            if line != self.last:  # progress that did not move
                print(line, file=sys.stderr, flush=True)
            self.last = line

    log.handlers[:] = [Lines()]
    log.setLevel(logging.INFO)
    log.propagate = False


def download(
    model_id: Annotated[
        str,
        typer.Option(
            help=(
                "Hub id, gs:// prefix of a model or of checkpoints (newest complete one), local"
                " folder, or builtin:tiny."
            )
        ),
    ],
    output_path: Annotated[
        Path, typer.Option(help="Folder for the artifact: record.json and model/.")
    ],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of a hub model.")] = "",
) -> None:
    """Fetch a model: parallel, resumed, verified, safetensors only. HF_TOKEN is used when set."""
    from greenlight.models.download import download_model
    from greenlight.models.open_source import check_source, parse_source

    log_to_terminal()
    check_source(model_id, revision)
    source = parse_source(model_id, revision)
    record = download_model(source, source.resolve(), output_path)
    record.save(output_path)
    print(record.model_dump_json(indent=2, exclude={"files"}))


def quantize(
    input_model: Annotated[
        Path, typer.Option(help="A downloaded artifact, or any checkpoint folder.")
    ],
    output_model: Annotated[
        Path, typer.Option(help="Folder for the artifact: record.json and model/.")
    ],
    method: Annotated[
        str, typer.Option(help="awq, bnb, fp8, gptq, none, optimum, smallest or w8a8.")
    ] = "optimum",
    bits: Annotated[int, typer.Option(help="4 or 8.")] = 8,
    calibration: Annotated[
        str,
        typer.Option(
            help=(
                "Text or chats that methods calibrate on: a JSONL or Parquet path or gs:// URI, or"
                " builtin."
            )
        ),
    ] = "builtin",
    calibration_samples: Annotated[
        int, typer.Option(help="Documents to calibrate on at most, chosen by chance.")
    ] = 128,
    calibration_length: Annotated[
        int, typer.Option(help="Tokens of a document to calibrate on at most.")
    ] = 2048,
    gate: Annotated[
        str, typer.Option(help="Of method smallest: the gate whose limits on quality it keeps.")
    ] = "default",
) -> None:
    """Quantize a model."""
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.quality_limits import quality_limits
    from greenlight.quantize.calibration_text import Calibration
    from greenlight.quantize.candidate import quantize_model
    from greenlight.quantize.methods import check_method

    require("local", "The command quantize", "torch", "transformers")
    log_to_terminal()
    limits = quality_limits(load_gate(gate)) if check_method(method, bits).searches else ""
    data = Calibration(calibration, calibration_samples, calibration_length)
    record = quantize_model(
        input_model, output_model, method=method, bits=bits, calibration=data, limits=limits
    )
    record.save(output_model)
    print(record.model_dump_json(indent=2, exclude={"files"}))


def evaluate(
    baseline: Annotated[Path, typer.Option(help="The full-precision artifact.")],
    candidate: Annotated[Path, typer.Option(help="The quantized artifact.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for record.json and documents.parquet.")],
    text: Annotated[
        str,
        typer.Option(help="Held-out text: JSONL or Parquet with a `text` a document, or builtin."),
    ] = "builtin",
    tasks: Annotated[
        str,
        typer.Option(
            help=(
                "Tasks to ask, with commas between: names of lm-eval's, paths or gs:// URIs of"
                " JSONL files of items. Empty: none."
            )
        ),
    ] = "",
    task_limit: Annotated[
        int, typer.Option(help="Items of each task at most, from its start. 0: all.")
    ] = 0,
    few_shot: Annotated[
        int,
        typer.Option(help="Items with their answers that are shown before each item of a task."),
    ] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder of what the baseline predicts, computed there once. Default: below"
                " output-dir."
            )
        ),
    ] = None,
) -> None:
    """Score a quantized model against its baseline, token by token, and ask both the same tasks.

    What the baseline predicts and answers is kept in the folder REFERENCE, and taken from there for
    the next candidate.
    """
    require("local", "The command evaluate", "tokenizers", "torch", "transformers")
    from greenlight.evaluate.evaluation import evaluate_model
    from greenlight.evaluate.reference import make_reference
    from greenlight.evaluate.tasks import Tasks, check_installed, check_tasks
    from greenlight.evaluate.text_files import check_text

    log_to_terminal()
    check_text(text)
    check_tasks(tasks, task_limit, few_shot)
    if asked := Tasks.parse(tasks, task_limit, few_shot):
        check_installed()
    expected = reference or output_dir / "reference"
    make_reference(baseline, expected, text=text, tasks=asked).save(expected)
    record = evaluate_model(expected, candidate, output_dir)
    record.save(output_dir)
    print(record.model_dump_json(indent=2))


def benchmark(
    endpoint_a: Annotated[
        str, typer.Option(help="URL of the candidate, as in http://127.0.0.1:8081.")
    ],
    output_dir: Annotated[
        Path, typer.Option(help="Folder for record.json, requests.parquet and blocks.parquet.")
    ],
    endpoint_b: Annotated[
        str, typer.Option(help="URL of the live one. Without it only A is measured.")
    ] = "",
    workload: WorkloadOption = "short",
    max_length: Annotated[
        int, typer.Option(help="New tokens a request, where the workload does not say.")
    ] = 64,
    prompts: Annotated[
        str, typer.Option(help="JSONL of texts or chats, or builtin. Instead of the workload's.")
    ] = "builtin",
    pairs: Annotated[int, typer.Option(help="Pairs of requests.")] = 100,
    users: Annotated[
        int,
        typer.Option(
            help="Users that send pairs at the same time, where the workload does not say."
        ),
    ] = 1,
    concurrency: Annotated[int, typer.Option(help="Users at once in the throughput blocks.")] = 8,
    rate: RateOption = None,
    workers: WorkersOption = None,
    seed: Annotated[int, typer.Option(help="Of lengths, arrivals and order.")] = 1,
) -> None:
    """Measure one endpoint, or two against each other in adjacent same-prompt pairs."""
    from greenlight.benchmark.plan import Plan
    from greenlight.benchmark.prompts import check_prompts
    from greenlight.benchmark.workload import load_workload
    from greenlight.core.yaml_file import check

    sizes = {
        "max_tokens": max_length,
        "block_tokens": max_length,
        "pairs": pairs,
        "users": users,
        "concurrency": concurrency,
        "seed": seed,
    }
    plan = check("benchmark", "", sizes, Plan)
    load = load_workload(workload, prompts).having(rate=rate, workers=workers)
    check_prompts(load.prompts)
    from greenlight.benchmark.run import run_benchmark

    log_to_terminal()
    result = run_benchmark(
        None, [endpoint_a], [endpoint_b] if endpoint_b else [], output_dir, plan, load
    )
    result.save(output_dir)
    print(result.model_dump_json(indent=2))
    if not result.complete:
        raise typer.Exit(1)


def saturate(
    endpoint_a: Annotated[
        str,
        typer.Option(
            help="URL of a server, as in http://127.0.0.1:8081; several of one color with commas."
        ),
    ],
    endpoint_b: Annotated[str, typer.Option(help="URL of another color. Left out: only A.")] = "",
    workload: WorkloadOption = "chat",
    prompts: Annotated[
        str, typer.Option(help="JSONL of texts or chats, or builtin. Instead of the workload's.")
    ] = "builtin",
    start: Annotated[
        float, typer.Option(min=0.01, help="Rate to begin with, requests a second.")
    ] = 1.0,
    most: Annotated[
        float, typer.Option(min=0.01, help="Rate at which to end in any case.")
    ] = 1000.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 15.0,
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find the highest rate of requests at which a server keeps the workload's SLO. Each color
    alone, one after the other.

    The rate doubles until the SLO breaks, then the highest that keeps it is searched to within a
    tenth.
    """
    from greenlight.benchmark.saturation import find_saturation, table
    from greenlight.benchmark.workload import load_workload

    load = load_workload(workload, prompts).having(workers=workers)
    log_to_terminal()
    colors = {
        name: urls.split(",") for name, urls in (("a", endpoint_a), ("b", endpoint_b)) if urls
    }
    found = {
        name: find_saturation(urls, load, start=start, most=most, seconds=seconds)
        for name, urls in colors.items()
    }
    if as_json:
        print(
            json.dumps(
                {name: saturation.model_dump() for name, saturation in found.items()}, indent=2
            )
        )
    else:
        Console(highlight=False).print(table(found, load.slo))
