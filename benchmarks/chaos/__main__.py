"""`make chaos`: every case on a real cluster under a constant streaming load; a row per case, and a
line of JSON at the end.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.chaos.cases import Case, World, all_cases
from benchmarks.serving.model import openvino_model
from greenlight.core.errors import GreenlightError, NoAnswerError
from greenlight.core.http import call
from tests.cluster.cluster import NODE_ADDRESS, running_cluster, wait_until
from tests.cluster.host_environment import host_volumes, load_host_image
from tests.cluster.stage import SERVICE, Stage
from tests.gcs import running_server

LONGEST = 1800.0  # seconds of load at most
QUIET = 1.0  # seconds of load after each case
Row = dict[str, Any]


def main(
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    users: Annotated[
        int, typer.Option(help="Users of the load; half of them keep their connections alive.")
    ] = 16,
    tokens: Annotated[int, typer.Option(help="Tokens of each stream.")] = 16,
) -> None:
    """What goes wrong in a rollout, and what a constant load sees of it."""
    console = Console(width=140)
    with world() as here, tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "load.jsonl"
        here.deploy()
        cases = [case for case in all_cases() if only in case.name]
        with load(here.stage, users, tokens, output):
            time.sleep(2)
            for case in cases:
                here.restore(case.starts)
                case.began = time.time()
                try:
                    case.problem = case.run(here)
                    case.live, left = here.live(), here.left_over()
                    case.problem = case.problem or left
                    if here.stage.target.read().slot("green") is None:
                        here.deploy()  # the next run converges
                except (
                    GreenlightError,
                    AssertionError,
                    TimeoutError,
                    subprocess.TimeoutExpired,
                ) as error:
                    case.problem = f"{type(error).__name__}: {error}"
                    case.live = here.live()
                time.sleep(QUIET)
                case.ended = time.time()
                console.print(
                    f"{case.ended - case.began:5.0f} s  {case.name}:"
                    f" {'as it should' if right(case) else f'live is {case.live}: {case.problem}'}",
                    markup=False,
                )
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    report(console, cases, rows, here)
    raise SystemExit(
        0
        if all(right(case) for case in cases) and not any(row["result"] != "whole" for row in rows)
        else 1
    )


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A cluster with the shipped manifests, a bucket with the models, and all calls made from
    inside its network.
    """
    model = openvino_model()
    with running_cluster() as cluster, contextlib.ExitStack() as stack:
        with tempfile.TemporaryDirectory() as scratch:
            image = load_host_image(cluster, Path(scratch))
        namespace = cluster.new_namespace()
        volumes = host_volumes(cluster, namespace)
        stack.enter_context(cluster.inside())
        os.environ["STORAGE_EMULATOR_HOST"] = stack.enter_context(running_server(NODE_ADDRESS))
        from google.cloud import storage

        stage = Stage(cluster, namespace, storage.Client().create_bucket("chaos"), image, volumes)
        stage.install()
        uris = {
            name: stage.artifact(model, name, "baseline" if name == "one" else "candidate")
            for name in ("one", "two", "three", "truncated")
        }
        stage.bucket.blob("models/truncated/model/openvino_model.bin").upload_from_string(b"half")
        yield World(stage, uris)


@contextlib.contextmanager
def load(stage: Stage, users: int, tokens: int, output: Path) -> Iterator[None]:
    """A constant load of streams on the stable Service, from inside the cluster's network."""
    url = f"http://{stage.cluster.service_ip(stage.namespace, SERVICE)}"
    # the node's rules follow the first switch of a new Service a moment later
    wait_until(lambda: answers(url), "the stable Service", 30)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.cluster.load",
            url,
            str(users),
            str(tokens),
            str(LONGEST),
            str(output),
        ]
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(90)


def answers(url: str) -> bool:
    try:
        return call("GET", f"{url}/ready", 2).status_code == 200
    except NoAnswerError:
        return False


def right(case: Case) -> bool:
    return not case.problem and case.live == case.ends


def how(case: Case) -> str:
    return (
        "as it should"
        if right(case)
        else f"WRONG, live is {case.live or 'nobody'}: {case.problem or f'{case.ends} should be'}"
    )


def during(rows: list[Row], case: Case) -> list[Row]:
    return [row for row in rows if case.began <= row["sent"] < case.ended]


def report(console: Console, cases: list[Case], rows: list[Row], here: World) -> None:
    table = Table(
        title=(
            f"{len(rows)} streams through the stable Service, half of the users on kept-alive"
            " connections"
        )
    )
    for heading in ("case", "requests", "lost", "cut", "live", "end"):
        table.add_column(
            heading, justify="right" if heading in ("requests", "lost", "cut") else "left"
        )
    for case in cases:
        seen = during(rows, case)
        counts = [sum(row["result"] == result for row in seen) for result in ("lost", "cut")]
        table.add_row(case.name, str(len(seen)), *map(str, counts), case.live, how(case))
    console.print(table)
    for row in [row for row in rows if row["result"] != "whole"][:10]:
        console.print(
            f"{row['result']} at {row['sent']:.3f},"
            f" {'kept alive' if row['kept'] else 'new connection'}, turn {row['turn']}:"
            f" {row['why']}",
            markup=False,
        )
    bench: dict[str, Any] = {
        "cases": len(cases),
        "requests": len(rows),
        "lost": sum(row["result"] == "lost" for row in rows),
        "cut": sum(row["result"] == "cut" for row in rows),
        "wrong_end": sum(not right(case) for case in cases),
        **switch_times(here, rows),
    }
    print("BENCH", json.dumps(bench))


def switch_times(here: World, rows: list[Row]) -> dict[str, Any]:
    """Medians over the undisturbed switches, in milliseconds after the API server accepted the
    flip.

    first_new_ms is the first byte of the new color; last_old_ms the start of the last request that
    the old color answered on a new connection; last_old_keepalive_ms that on a kept-alive one, of
    which each user may send old_keepalive_requests at most.
    """
    found: dict[str, list[float]] = {
        "first_new_ms": [],
        "last_old_ms": [],
        "last_old_keepalive_ms": [],
        "old_keepalive_requests": [],
    }
    for flip in here.flips:
        near = [row for row in rows if flip.at - 5 < row["sent"] < flip.at + 2 and row["first"]]
        new = [
            row for row in near if row["release"] == flip.release and row["first"] > flip.at - 0.5
        ]
        old = [row for row in near if row["release"] != flip.release]
        late = [row for row in old if row["kept"] and row["sent"] > flip.at]
        found["first_new_ms"].append(1000 * (min(row["first"] for row in new) - flip.at))
        for name, kept in (("last_old_ms", False), ("last_old_keepalive_ms", True)):
            found[name].append(
                1000
                * (
                    max((row["sent"] for row in old if row["kept"] == kept), default=flip.at)
                    - flip.at
                )
            )
        found["old_keepalive_requests"].append(
            max(
                [
                    sum(row["user"] == user for row in late)
                    for user in {row["user"] for row in late}
                ],
                default=0,
            )
        )
    return {name: round(statistics.median(values), 1) for name, values in found.items() if values}


if __name__ == "__main__":
    typer.run(main)
