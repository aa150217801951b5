"""The benchmark of quantizing: its checkpoints, its watch over processes, and its arithmetic. What
it measures takes minutes, and is not run here.
"""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.quantize import __main__ as bench
from benchmarks.quantize import direct
from benchmarks.quantize.checkpoints import SHAPES, Shape, make_checkpoint
from benchmarks.quantize.process import Memory, Run, run
from benchmarks.quantize.table import Cell, goal, growth, row
from greenlight.models.checkpoint_checks import check_checkpoint
from greenlight.quantize.methods.base import SHARD_BYTES

MB = 1_000_000


@pytest.mark.slow
def test_a_checkpoint_is_whole_and_as_large_as_it_says(tmp_path: Path) -> None:
    shape = Shape(128, 256, 2)
    parameters = make_checkpoint(tmp_path / "model", shape, vocabulary=2048, shard_bytes=300_000)
    check_checkpoint("random", tmp_path / "model")
    files = list((tmp_path / "model").glob("*.safetensors"))
    norms, embeddings = 128 * 5, 2 * 2048 * 128
    assert parameters == 2 * (shape.layer_parameters + 2 * 128) + embeddings + norms - 4 * 128
    assert (
        len(files) > 3 and 0 < sum(path.stat().st_size for path in files) - 2 * parameters < 20_000
    )
    assert (tmp_path / "model/tokenizer.json").is_file()


@pytest.mark.parametrize(("size", "shape"), SHAPES.items())
def test_sizes_are_what_they_are_called(size: str, shape: Shape) -> None:
    parameters = shape.layers * shape.layer_parameters + 2 * bench.VOCABULARY * shape.hidden
    assert parameters / 1e9 == pytest.approx(float(size), rel=0.25 if size == "0.1" else 0.02)
    assert shape.hidden % 128 == shape.intermediate % 128 == 0


def test_memory_of_all_processes_is_seen(tmp_path: Path) -> None:
    child = "import time; x = bytearray(200_000_000); time.sleep(0.5); sum(range(10_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    found = run([sys.executable, "-c", code], dict(os.environ), tmp_path / "log", 60)
    assert found.failed == "" and 0.5 < found.seconds < 60
    assert 200 * MB < found.work.anonymous < found.work.peak < 1000 * MB
    assert found.check == Memory() and 0.05 < found.cpu < found.seconds + 0.5


def test_a_failed_process_and_a_slow_one_are_told(tmp_path: Path) -> None:
    assert (
        run(
            [sys.executable, "-c", "print('first'); raise ValueError('no')"],
            dict(os.environ),
            tmp_path / "log",
            60,
        ).failed
        == "ValueError: no"
    )
    slow = run(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        dict(os.environ),
        tmp_path / "log",
        0.3,
    )
    assert slow.failed == "not done after 0 s" and slow.seconds < 30


def test_the_memory_of_a_gpu_is_that_of_our_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the driver's program, which tells of its sibling, the measured process,
    and of another.
    """
    children = "$(cat /proc/$PPID/task/*/children)"
    tell = f'for child in {children}; do [ $child = $$ ] || echo "$child, $mib"; done'
    (tmp_path / "nvidia-smi").write_text(
        f"#!/bin/bash\nfor mib in 100 700 300; do sleep 0.4; {tell}; echo '1, 5000'; done\nexec"
        " sleep 60\n"
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = run(
        [sys.executable, "-c", "import time; time.sleep(3)"], dict(os.environ), tmp_path / "log", 60
    )
    assert (
        found.failed == ""
        and found.work.gpu == 700 * 2**20
        and found.check.gpu == 0
        and found.seconds < 50
    )


def cell(size: str, seconds: float) -> Cell:
    ours = [
        Run(
            seconds + 20,
            cpu=2 * seconds,
            work=Memory(900 * MB, 500 * MB),
            check=Memory(700 * MB, 600 * MB),
        )
    ]
    return Cell(
        "bnb:4",
        size,
        ours,
        [Run(10.0, cpu=20.0, work=Memory(800 * MB, 400 * MB))],
        [20.0],
        disk=80 * MB,
        largest_file=79 * MB,
    )


def test_the_reload_check_is_no_overhead() -> None:
    found = cell("0.1", 11.0)
    assert (found.seconds, found.ratio, found.anonymous) == (11.0, 1.1, 600 * MB)
    assert (
        row(found, 1234 * MB)
        == "| bnb:4 | 0.1 | 11 | 10 | 22 | 20 | 1.10 | 20 | 0.50 / 0.90 | 0.60 / 0.70 | 0.40 / 0.80"
        " | 1.23 | 80 | - |"
    )
    found.ours[0].work.gpu, found.ours[0].check.gpu, found.direct[0].work.gpu = (
        2340 * MB,
        600 * MB,
        1500 * MB,
    )
    assert row(found, 1234 * MB).endswith("| 1.23 | 80 | 2.34 / 0.60 / 1.50 |")


def test_a_method_that_failed_stays_in_the_table() -> None:
    found = Cell(
        "awq:4",
        "0.1",
        [Run(3.0, failed="out of memory")],
        [Run(1.0, failed="no accelerator")],
        [0.0],
    )
    assert row(found, 0).startswith("| awq:4 | 0.1 | out of memory |")
    library = Cell("awq:4", "0.1", [Run(3.0)], [Run(1.0, failed="no accelerator")], [0.0])
    assert library.ratio is None and "| no accelerator | 0 | - | - |" in row(library, 0)


def test_the_goal_is_the_largest_thing_in_hand_and_the_constant() -> None:
    shape = Shape(1000, 3000, 2)
    layer = 4 * 1000 * (2000 + 512 + 9000)
    assert goal(cell("0.1", 1.0), shape, 32, 10, 5 * MB) == int(1.3 * 79 * MB) + 5 * MB
    assert (
        goal(Cell("gptq:4", "0.1", largest_file=1), shape, 32, 10, 5 * MB)
        == int(1.3 * (layer + 4 * 10 * 1000)) + 5 * MB
    )
    # the embeddings
    assert goal(Cell("gptq:4", "0.1", largest_file=1), shape, 32_000, 0, 0) == int(
        1.3 * 4 * 32_000 * 1000
    )
    assert goal(cell("0.1", 1.0), SHAPES["1.5"], 32_000, 1024, 0) < SHARD_BYTES


def test_growth_is_from_one_size_to_the_next() -> None:
    assert growth([cell("0.1", 10.0), cell("0.5", 40.0)]) == [
        "bnb:4, 0.1 to 0.5: x5.0 parameters: x4.0 seconds, x1.0 anonymous memory"
    ]


def test_summary_ends_in_figures() -> None:
    lines, numbers = bench.summary([cell(bench.BUILTIN, 5.0), cell("0.1", 11.0)], 1024)
    assert numbers == {
        "bnb:4 0.1": {
            "seconds": 11.0,
            "cpu_s": 22.0,
            "ratio": 1.1,
            "gpu_gb": 0.0,
            "memory_gb": 0.6,
            "goal_gb": 0.732,
        }
    }
    assert (
        sum(line.startswith("| bnb:4") for line in lines) == 1
        and "constants: bnb:4 0.60 GB" in lines
    )


def test_unknown_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--sizes", "0.1,7"])
    assert "7 is not one of 0.1, 0.5, 1.5" in capsys.readouterr().err


def test_methods_that_cannot_run_here_are_left_out_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.quantize.hardware._capability_here", lambda: None)
    assert bench.runnable("bnb:4,fp8:8,bnb:3") == ["bnb:4"]
    printed = capsys.readouterr().out
    assert "fp8:8 is left out" in printed and "bnb:3 is left out" in printed


def test_the_library_is_called_with_the_same_weights() -> None:
    try:
        command = direct.command("optimum", 4, Path("model"), Path("out"), Path("texts"), 128)
    except Exception as error:  # without the export environment
        pytest.skip(str(error))
    assert command[1:3] == ["export", "openvino"] and "int4" in command and command[-1] == "out"
