"""Single steps, on the same code that the pipeline runs: `greenlight download | quantize |
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
            "Workload, which says what is sent and when: short, chat, summarize, code, a path, a"
            " gs:// URI, or the YAML itself."
        )
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Requests per second to each color. Default: the workload's rate."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Number of processes that generate the load. Default: the workload's number."
    ),
]


def register(app: typer.Typer) -> None:
    for command in (download, quantize, evaluate, benchmark, saturate):
        app.command(rich_help_panel="One step alone")(command)


def log_to_terminal() -> None:
    """Print progress on stderr, one line per event, since results go to stdout."""

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
                "Model: a hub id, a local folder, builtin:tiny, or a gs:// prefix of a model or of"
                " checkpoints, whose newest complete one is taken."
            )
        ),
    ],
    output_path: Annotated[
        Path, typer.Option(help="Folder that the artifact is written to: record.json and model/.")
    ],
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit of a hub model. Empty: its default branch.")
    ] = "",
    from_gguf: Annotated[
        str,
        typer.Option(
            help="Name of the GGUF file that the model holds instead of safetensors: it is"
            " dequantized."
        ),
    ] = "",
) -> None:
    """Download a model and verify it. Only safetensors are taken, and an interrupted download is
    resumed.

    Private models of the hub need the environment variable HF_TOKEN.
    """
    from greenlight.models.download import download_model
    from greenlight.models.open_source import check_source, parse_source

    log_to_terminal()
    check_source(model_id, revision, from_gguf)
    source = parse_source(model_id, revision, from_gguf)
    record = download_model(source, source.resolve(), output_path)
    record.save(output_path)
    print(record.model_dump_json(indent=2, exclude={"files"}))


def quantize(
    input_model: Annotated[
        Path,
        typer.Option(help="Full-precision model: a downloaded artifact, or any checkpoint folder."),
    ],
    output_model: Annotated[
        Path, typer.Option(help="Folder that the artifact is written to: record.json and model/.")
    ],
    method: Annotated[
        str,
        typer.Option(
            help=("Quantization method: awq, bnb, fp8, gptq, none, optimum, smallest or w8a8.")
        ),
    ] = "optimum",
    bits: Annotated[int, typer.Option(help="Bits per weight: 4 or 8.")] = 8,
    calibration: Annotated[
        str,
        typer.Option(
            help=(
                "Calibration data, texts or chats: a JSONL or Parquet path or gs:// URI, or"
                " builtin."
            )
        ),
    ] = "builtin",
    calibration_samples: Annotated[
        int,
        typer.Option(help="Maximum number of calibration documents, sampled with a fixed seed."),
    ] = 128,
    calibration_length: Annotated[
        int, typer.Option(help="Maximum number of tokens per calibration document.")
    ] = 2048,
    gate: Annotated[
        str,
        typer.Option(
            help="Gate whose quality limits the method `smallest` keeps. Others ignore it."
        ),
    ] = "default",
) -> None:
    """Quantize a model, and compare the saved checkpoint with what was quantized."""
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.quality_limits import write_quality_limits
    from greenlight.quantize.calibration_text import Calibration
    from greenlight.quantize.candidate import quantize_model
    from greenlight.quantize.methods import check_method

    require("local", "The command quantize", "torch", "transformers")
    log_to_terminal()
    limits = write_quality_limits(load_gate(gate)) if check_method(method, bits).searches else ""
    data = Calibration(calibration, calibration_samples, calibration_length)
    record = quantize_model(
        input_model, output_model, method=method, bits=bits, calibration=data, limits=limits
    )
    record.save(output_model)
    print(record.model_dump_json(indent=2, exclude={"files"}))


def evaluate(
    baseline: Annotated[Path, typer.Option(help="Artifact of the full-precision model.")],
    candidate: Annotated[Path, typer.Option(help="Artifact of the quantized model.")],
    output_dir: Annotated[
        Path, typer.Option(help="Folder that record.json and documents.parquet are written to.")
    ],
    text: Annotated[
        str,
        typer.Option(
            help="Held-out text: a JSONL or Parquet file with a `text` per document, or builtin."
        ),
    ] = "builtin",
    tasks: Annotated[
        str,
        typer.Option(
            help=(
                "Tasks that both models are asked, separated by commas: names of lm-eval's tasks,"
                " or paths or gs:// URIs of JSONL files of items. Empty: none."
            )
        ),
    ] = "",
    task_limit: Annotated[
        int, typer.Option(help="Maximum number of items per task, from its start. 0: all.")
    ] = 0,
    few_shot: Annotated[
        int,
        typer.Option(help="Number of solved examples shown before each item of a task."),
    ] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder of the baseline's predictions, which are computed once and then reused."
                " Default: `reference` in the output folder."
            )
        ),
    ] = None,
) -> None:
    """Score a quantized model against its baseline, token by token, and ask both the same tasks.

    The baseline's predictions and answers are kept in the folder --reference, and reused for the
    next candidate.
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
        str, typer.Option(help="URL of the candidate, such as http://127.0.0.1:8081.")
    ],
    output_dir: Annotated[
        Path,
        typer.Option(
            help="Folder that record.json, requests.parquet and blocks.parquet are written to."
        ),
    ],
    endpoint_b: Annotated[
        str, typer.Option(help="URL of the live model. Empty: only the first endpoint is measured.")
    ] = "",
    workload: WorkloadOption = "short",
    max_length: Annotated[
        int,
        typer.Option(help="Maximum number of new tokens per request, unless the workload says it."),
    ] = 64,
    prompts: Annotated[
        str,
        typer.Option(
            help=(
                "Prompts instead of the workload's: a JSONL file of texts or chats. builtin: the"
                " workload's."
            )
        ),
    ] = "builtin",
    pairs: Annotated[int, typer.Option(help="Number of pairs of requests.")] = 100,
    users: Annotated[
        int,
        typer.Option(
            help="Number of users that send pairs at the same time, unless the workload says it."
        ),
    ] = 1,
    concurrency: Annotated[
        int, typer.Option(help="Number of concurrent users while throughput is measured.")
    ] = 8,
    rate: RateOption = None,
    workers: WorkersOption = None,
    seed: Annotated[
        int,
        typer.Option(help="Seed of prompt lengths, arrival times and the order within pairs."),
    ] = 1,
) -> None:
    """Measure one endpoint, or two against each other with pairs of requests: the same prompt to
    both, one right after the other.
    """
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
            help=(
                "URL of a server, such as http://127.0.0.1:8081. Several of one color are separated"
                " by commas."
            )
        ),
    ],
    endpoint_b: Annotated[
        str,
        typer.Option(
            help="URL of a server of another color. Empty: only the first color is measured."
        ),
    ] = "",
    workload: WorkloadOption = "chat",
    prompts: Annotated[
        str,
        typer.Option(
            help=(
                "Prompts instead of the workload's: a JSONL file of texts or chats. builtin: the"
                " workload's."
            )
        ),
    ] = "builtin",
    start: Annotated[
        float, typer.Option(min=0.01, help="First rate, in requests per second.")
    ] = 1.0,
    most: Annotated[
        float, typer.Option(min=0.01, help="Highest rate that is tried, in requests per second.")
    ] = 1000.0,
    seconds: Annotated[
        float, typer.Option(min=1, help="Length of each measurement, in seconds.")
    ] = 15.0,
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find the highest request rate at which a server keeps the workload's SLO.

    The rate is doubled until the SLO breaks; then the highest rate that keeps it is found to within
    a tenth. Two colors are measured one after the other.
    """
    from greenlight.benchmark.saturation import find_saturation, saturation_table
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
        rates = {name: saturation.model_dump() for name, saturation in found.items()}
        print(json.dumps(rates, indent=2))
    else:
        Console(highlight=False).print(saturation_table(found, load.slo))
