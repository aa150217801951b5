"""What quantizing takes beside the library called directly, on random checkpoints of growing size:
seconds, memory and disk, and how they grow.

Both work on the same checkpoint, in processes of their own, one after the other, in an order that
changes from round to round. Memory is anonymous / all of it; the constant in the goal is what the
same method takes for the built-in model of 0.004 billion parameters. The last line is `BENCH {…}`.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.quantize import direct
from benchmarks.quantize.checkpoints import SHAPES, VOCABULARY, make_checkpoint
from benchmarks.quantize.device import device
from benchmarks.quantize.process import Run, run
from benchmarks.quantize.table import HEAD, MOST_OVERHEAD, Cell, goal, growth, row
from greenlight.core.child_process import SETTINGS
from greenlight.core.errors import GreenlightError
from greenlight.core.records import Model
from greenlight.core.safe_path import PACKAGE_ROOT
from greenlight.models.builtin import TINY
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.methods import check_machine, check_method

METHODS = "bnb:4,bnb:8,gptq:4,gptq:8,optimum:4,optimum:8,awq:4,w8a8:8,fp8:8"
OURS = """
import sys
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import quantize_model
model, output, method, bits, texts, length = sys.argv[1:]
quantize_model(model, output, method, int(bits), Calibration(texts, length=int(length)))
"""
BUILTIN = "0.004"


class Bench:
    """One folder with everything in it."""

    def __init__(self, folder: Path, samples: int, length: int, limit_s: float) -> None:
        self.folder, self.length, self.limit_s = folder, length, limit_s
        self.texts = folder / "texts.jsonl"
        chosen = Calibration(samples=samples).sample_documents()
        self.texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen))
        self.tokens = samples * length
        # that is ours
        quiet = {name: value for name, value in SETTINGS.items() if name != "GLIBC_TUNABLES"}
        self.environment = (
            os.environ
            | quiet
            | {"PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")])}
        )

    def ours(self, cell: Cell, model: Path) -> None:
        output = self.folder / "ours"
        method, bits = cell.method.split(":")
        command = [
            sys.executable,
            "-c",
            OURS,
            str(model),
            str(output),
            method,
            bits,
            str(self.texts),
            str(self.length),
        ]
        cell.ours.append(self._run(command, "ours"))
        record = Model.load(output) if not cell.ours[-1].failed else None
        cell.reload_seconds.append(record.reload_seconds if record else 0.0)
        if record:
            cell.disk, cell.largest_file = (
                record.bytes,
                max(entry.size for entry in record.files.values()),
            )
        shutil.rmtree(output, ignore_errors=True)

    def direct(self, cell: Cell, model: Path) -> None:
        output = self.folder / "direct"
        method, bits = cell.method.split(":")
        cell.direct.append(
            self._run(
                direct.command(method, int(bits), model, output, self.texts, self.length), "direct"
            )
        )
        shutil.rmtree(output, ignore_errors=True)

    def _run(self, command: list[str], name: str) -> Run:
        found = run(command, self.environment, self.folder / f"{name}.log", self.limit_s)
        print(
            f"  {name}: {found.failed or f'{found.seconds:.0f} s, {found.work.peak / 1e9:.2f} GB'}",
            flush=True,
        )
        return found


def measure(bench: Bench, methods: list[str], sizes: list[str], rounds: int) -> Iterator[Cell]:
    """A cell for each method and size, the built-in model first; sizes are made one at a time, for
    the room on the disk.
    """
    for size in [BUILTIN, *sizes]:
        model = TINY if size == BUILTIN else bench.folder / size
        if size != BUILTIN:
            print(
                f"a random checkpoint of {make_checkpoint(model, SHAPES[size]) / 1e9:.3f} billion"
                " parameters",
                flush=True,
            )
        for method in methods:
            cell = Cell(method, size)
            for number in range(1 if size == BUILTIN else rounds):
                print(f"{method} on {size}, round {number + 1}", flush=True)
                sides = (
                    [bench.ours]
                    if size == BUILTIN
                    else (
                        [bench.ours, bench.direct]
                        if number % 2 == 0
                        else [bench.direct, bench.ours]
                    )
                )
                for side in sides:
                    side(cell, model)
            yield cell
        if size != BUILTIN:
            shutil.rmtree(model)


def runnable(methods: str) -> list[str]:
    """Those that this machine can run; says which it cannot, and why."""
    found = []
    for name in methods.split(","):
        method, _, bits = name.partition(":")
        try:
            check_method(method, int(bits))
            check_machine(method)
            found.append(name)
        except GreenlightError as error:
            print(f"{name} is left out: {error}", flush=True)
    return found


def constants(cells: list[Cell]) -> dict[str, int]:
    """The bytes of memory of a method whatever the size of the model."""
    return {
        cell.method: cell.anonymous for cell in cells if cell.size == BUILTIN and not cell.failed
    }


def limit(cell: Cell, cells: list[Cell], tokens: int) -> int:
    return goal(cell, SHAPES[cell.size], VOCABULARY, tokens, constants(cells).get(cell.method, 0))


def summary(cells: list[Cell], tokens: int) -> tuple[list[str], dict]:
    """The lines to print, and what the BENCH line says."""
    lines, numbers = [HEAD], {}
    measured = sorted(
        (cell for cell in cells if cell.size != BUILTIN),
        key=lambda cell: (cell.method, float(cell.size)),
    )
    for cell in measured:
        most = limit(cell, cells, tokens)
        lines.append(row(cell, most))
        if not cell.failed:
            ratio = None if cell.ratio is None else round(cell.ratio, 3)
            numbers[f"{cell.method} {cell.size}"] = {
                "seconds": round(cell.seconds, 1),
                "cpu_s": round(median(run.cpu for run in cell.ours), 1),
                "ratio": ratio,
                "gpu_gb": round(cell.gpu / 1e9, 3),
                "memory_gb": round(cell.anonymous / 1e9, 3),
                "goal_gb": round(most / 1e9, 3),
            }
    lines += [
        "",
        "constants: "
        + ", ".join(f"{method} {held / 1e9:.2f} GB" for method, held in constants(cells).items()),
        *growth(measured),
    ]
    return lines, numbers


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", default=",".join(SHAPES), help="billions of parameters, comma-separated"
    )
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--calibration", default="8x128", help="documents x tokens")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that one run may take")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where there is room for the files; default: the folder for temporary ones",
    )
    wanted = parser.parse_args(given)
    sizes = wanted.sizes.split(",")
    if unknown := set(sizes) - set(SHAPES):
        parser.error(f"--sizes: {', '.join(sorted(unknown))} is not one of {', '.join(SHAPES)}")
    samples, _, length = wanted.calibration.partition("x")
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        bench = Bench(Path(name), int(samples), int(length), wanted.limit)
        print(f"on {device()}", flush=True)
        cells: list[Cell] = []
        for cell in measure(bench, runnable(wanted.methods), sizes, wanted.rounds):
            cells.append(cell)
            if cell.size != BUILTIN:  # what is measured so far, should somebody stop it
                print(row(cell, limit(cell, cells, bench.tokens)), flush=True)
    lines, numbers = summary(cells, bench.tokens)
    print("\n".join(lines))
    ratios = [each["ratio"] for each in numbers.values() if each["ratio"] is not None]
    kept = sum(each["memory_gb"] <= each["goal_gb"] for each in numbers.values())
    print(
        f"at most {MOST_OVERHEAD:g} times the library's CPU seconds:"
        f" {sum(ratio <= MOST_OVERHEAD for ratio in ratios)} of {len(ratios)}"
    )
    print(f"anonymous memory within its goal: {kept} of {len(numbers)}")
    print(
        "BENCH "
        + json.dumps(
            {
                "device": device(),
                "calibration": wanted.calibration,
                "rounds": wanted.rounds,
                "found": numbers,
            }
        )
    )


if __name__ == "__main__":
    main()
