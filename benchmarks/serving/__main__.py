"""`make bench-serving`: our inference server against others on this machine, and against its own
engine without HTTP.

Every contender generates 64 tokens per request from the built-in model, for the same prompts. All
servers are started at once and sleep (SIGSTOP) while another is measured. A round measures each of
them at each concurrency for a few seconds, in an order of its own; a ratio is taken within a round,
and the median over the rounds is reported. `ARGS="--rounds 1 --seconds 2"` is a quick look. A
request that is not answered whole ends the run with exit code 1 and the reason.

The last line is `BENCH {…}`: ratios of tokens/s above 1 and of TTFT (time to first token) below 1
are in our favour, null where `.venv-vllm` is absent (`make vllm`). `ready_seconds`: start of the
process to 200 on /ready, median of three. `resident_mb_over_model_and_kv`: resident memory of the
HTTP process and the engine's process after the load, less the bytes of the weights and of the
configured KV cache. `client_us_per_event`: CPU of the load client. `others_cores`: cores that other
processes of this machine used meanwhile, on average; above a tenth the numbers are worthless.
"""

import signal
import sys
from collections.abc import Callable
from statistics import mean, median
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from benchmarks.serving.contenders import VLLM, server_kinds
from benchmarks.serving.model import openvino_model
from benchmarks.serving.process import MeasuredProcess
from benchmarks.serving.rounds import (
    OTHERS_ALLOWED,
    Measurement,
    measure,
    progress,
    ready_seconds,
    running,
)
from benchmarks.serving.table import client_us, print_bench, print_tables
from greenlight.core.errors import GreenlightError
from greenlight.serving.artifact import Artifact
from greenlight.serving.engine_config import engine_config
from greenlight.serving.engines.registry import ENGINES
from greenlight.serving.settings import Settings

READY_TIMES = 3


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one measurement.")] = 3.0,
) -> None:
    """Measure, and print the tables and the BENCH line."""
    if not VLLM.is_file():
        progress.print(
            "vllm is left out: there is no .venv-vllm (`make vllm`)", style="bold yellow"
        )
    kinds = server_kinds()
    ready = ready_seconds(kinds[0], READY_TIMES)
    found: list[Measurement] = []
    with running(kinds) as processes:
        for number in range(1, rounds + 1):
            found += measure(processes, number, seconds)
        memory = resident_over(processes[kinds[0].name])
    print_tables(Console(width=160), found)
    if spoiled := sum(each.others > OTHERS_ALLOWED for each in found):
        progress.print(
            f"Others used this machine during {spoiled} of {len(found)} measurements: measure again"
            " when it is idle",
            style="bold yellow",
        )
    print_bench(
        found,
        ready_seconds=median(ready),
        resident_mb_over_model_and_kv=memory / 1e6,
        client_us_per_event=client_us(found),
        others_cores=mean(each.others for each in found),
    )


def resident_over(server: MeasuredProcess) -> float:
    """Resident bytes of our OpenVINO server beyond the weights and the KV cache as configured."""
    folder = openvino_model()
    artifact = Artifact.open(str(folder))
    kind = ENGINES["openvino"]
    config = engine_config(Settings(model_id=str(folder)), artifact, kind)
    cache = config.kv_tokens * artifact.kv_numbers * kind.kv_bytes[config.precision]
    return server.resident_bytes() - (folder / "openvino_model.bin").stat().st_size - cache


def _end(number: int, _: object) -> NoReturn:
    # a second one must not interrupt the stopping of the servers
    for again in (
        signal.SIGTERM,
        signal.SIGINT,
    ):
        signal.signal(again, signal.SIG_IGN)
    sys.exit(128 + number)


def run(command: Callable[..., Any]) -> None:
    """Run a command so that its servers are stopped however it ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        typer.run(command)
    except GreenlightError as error:
        progress.print(f"FAILED: {error}", style="bold red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    run(main)
