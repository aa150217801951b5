"""`make bench-load`: times that the load generator measures against what a server with known timing
really did, and guidellm on the same server.

The server writes down when each request arrived and when each token left, on the machine's one
clock. What a client measures beyond that is its own share: the way to the server and back, and what
it does between two looks at its sockets. Neither warms its connections up. Rounds of both clients
alternate, in turns as to which is first; figures are medians over rounds. The last line is `BENCH
{…}`: `ttft_p50_off_ms` and the like are Greenlight's, `guidellm_…` those of the other,
`million_seconds` and `million_mb` of summing up a million requests.
"""

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.samples import REQUESTS
from greenlight.benchmark.workload import Workload
from greenlight.core.errors import GreenlightError
from greenlight.models.builtin import TINY

STUB = Path(__file__).parents[2] / "tests" / "benchmark" / "stub_server.py"
TTFT, ITL, TOKENS = 0.05, 0.02, 32
"""The server's plan: seconds, seconds, tokens of an answer."""

Times = dict[str, np.ndarray]
"""`ttft` and `itl` (the mean gap of a request), seconds, one value per request."""


@dataclass(frozen=True)
class Measured:
    """One client in one round. Differences to the truth in milliseconds, CPU in seconds for a
    thousand requests.
    """

    off: dict[str, float]
    true: dict[str, float]
    cpu: float


def main(
    streams: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 50,
    requests: Annotated[int, typer.Option(min=10, help="Of a client in a round.")] = 500,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Measure, and print the table."""
    clients: dict[str, Callable[[str, int, int, Path], Times]] = {
        "greenlight": greenlight,
        "guidellm": guidellm,
    }
    found: dict[str, list[Measured]] = {name: [] for name in clients}
    for number in range(rounds):
        for name in list(clients)[:: 1 if number % 2 == 0 else -1]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(_measure(clients[name], streams, requests))
    Console(width=120).print(_table(found, streams, requests, rounds))
    million = json.loads(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.load_generator.million"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    print(
        f"a million requests summed up: {million['seconds']} s, {million['peak_mb']} MB at most, of"
        f" which {million['peak_before_mb']} MB were the requests"
    )
    line = {
        f"{key}_off_ms": round(_median(found["greenlight"], key), 3)
        for key in found["greenlight"][0].off
    }
    line |= {
        f"guidellm_{key}_off_ms": round(_median(found["guidellm"], key), 3)
        for key in found["guidellm"][0].off
    }
    print(
        "BENCH "
        + json.dumps(
            line
            | {
                "streams": streams,
                "rounds": rounds,
                "million_seconds": million["seconds"],
                "million_mb": million["peak_mb"],
            }
        )
    )


def greenlight(url: str, streams: int, requests: int, folder: Path) -> Times:
    plan = Plan(pairs=requests, users=streams, throughput_blocks=0, max_tokens=TOKENS)
    result = run_benchmark(None, [url], [], folder, plan, Workload(warm_up=0))
    if not result.complete:
        raise GreenlightError(f"the benchmark is not complete: {result.reason}")
    rows = pq.read_table(folder / REQUESTS, columns=["ttft", "itls"])
    return {
        "ttft": rows["ttft"].to_numpy(),
        "itl": np.array([np.mean(gaps) for gaps in rows["itls"].to_pylist()]),
    }


def guidellm(url: str, streams: int, requests: int, folder: Path) -> Times:
    report = folder / "report.json"
    command = [str(Path(sys.executable).with_name("guidellm")), "run", "--disable-console"]
    command += [
        "--backend",
        f"kind=openai_http,target={url}",
        "--profile",
        f"kind=concurrent,streams={streams}",
    ]
    command += [
        "--constraint",
        f"kind=max_requests,count={requests}",
        "--tokenizer",
        f"kind=huggingface_auto,model={TINY}",
    ]
    command += [
        "--data",
        f"kind=synthetic_text,prompt_tokens=32,output_tokens={TOKENS}",
        "--output",
        f"kind=json,path={report}",
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder),
        "GUIDELLM__LOGGING__DISABLED": "true",
    }
    subprocess.run(
        command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    (benchmark,) = json.loads(report.read_text())["benchmarks"]
    rows = benchmark["requests"]["successful"]
    columns = {"ttft": "time_to_first_token_ms", "itl": "inter_token_latency_ms"}
    return {
        name: np.array([row[column] for row in rows]) / 1000 for name, column in columns.items()
    }


def _measure(
    client: Callable[[str, int, int, Path], Times], streams: int, requests: int
) -> Measured:
    with tempfile.TemporaryDirectory() as temporary, _server(Path(temporary)) as (url, log):
        before = _cpu()
        times = client(url, streams, requests, Path(temporary))
        cpu = _cpu() - before
        told = _told(log, requests)
    true = {
        "ttft": [each["left"][0] - each["arrived"] for each in told],
        "itl": [float(np.mean(np.diff(each["left"]))) for each in told],
    }
    quantiles = {
        f"{name}_p{percent}": (name, percent) for name in ("ttft", "itl") for percent in (50, 95)
    }
    truth = {
        key: 1000 * float(np.percentile(true[name], percent))
        for key, (name, percent) in quantiles.items()
    }
    off = {
        key: 1000 * float(np.percentile(times[name], percent)) - truth[key]
        for key, (name, percent) in quantiles.items()
    }
    return Measured(off, truth, 1000 * cpu / requests)


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a new server, and where it writes down what it did."""
    log = folder / "server.log"
    process = subprocess.Popen(
        [sys.executable, str(STUB), "--ttft", str(TTFT), "--itl", str(ITL), "--log", str(log)],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", log
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _told(log: Path, requests: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10  # its last line may still be on the way
    while len(lines := log.read_text().splitlines()) < requests and time.monotonic() < deadline:
        time.sleep(0.05)
    return [json.loads(line) for line in lines[-requests:]]  # before them, if anything, a warm-up


def _cpu() -> float:
    """Seconds of this process, and of its children that have ended: the server has not."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _median(rounds: list[Measured], key: str) -> float:
    return statistics.median(each.off[key] for each in rounds)


def _table(found: dict[str, list[Measured]], streams: int, requests: int, rounds: int) -> Table:
    table = Table(
        title=(
            f"{streams} streams, {requests} requests of {TOKENS} tokens, {rounds} rounds: beyond"
            " what the server did, ms (medians)"
        )
    )
    for column in ("", "TTFT p50", "TTFT p95", "ITL p50", "ITL p95", "CPU s/1,000"):
        table.add_column(column, justify="left" if not column else "right")
    for name, each in found.items():
        true = {key: statistics.median(one.true[key] for one in each) for key in each[0].true}
        offs = [f"{_median(each, key):+.2f} on {true[key]:.2f}" for key in true]
        table.add_row(name, *offs, f"{statistics.median(one.cpu for one in each):.1f}")
    return table


if __name__ == "__main__":
    typer.run(main)
