"""Bad input: one clear line that names field, value and fix, exit code 2, and nothing touched."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.models.builtin import TINY
from greenlight.version import VERSION

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def greenlight(tmp_path: Path) -> Command:
    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "greenlight.cli.main", *map(str, args)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=Path(__file__).parents[2],
            check=False,
        )

    return run


def refused(greenlight: Command, tmp_path: Path, *args: str | Path) -> str:
    """The one line on stderr of a run that was refused before anything was made."""
    home = tmp_path / "home"
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as free:  # what `make run` left serving may have the default port
        port = free.getsockname()[1]
    result = greenlight("run", "--home", home, "--port", port, *args)
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert not home.exists(), "a refused run left something behind"
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--method", "awq9"], ["method", "awq9", "optimum"]),
        (["--bits", "3"], ["bits", "3", "4"]),
        (["--engine", "tensorrt"], ["engine", "tensorrt", "openvino"]),
        (["--method", "none", "--engine", "vllm"], ["engine", "vllm", "not installed"]),
        (["--replicas", "0"], ["replicas", "0", "1 or more"]),
        (["--target", "nomad"], ["target", "nomad", "local"]),
        (["--service", "Über"], ["service", "Über", "lower-case"]),
        (["--model", "/no/such/folder"], ["model", "/no/such/folder"]),
        (["--gate", "/no/such/gate.yaml"], ["gate", "/no/such/gate.yaml"]),
        (["--prompts", "/no/such/prompts.jsonl"], ["prompts", "/no/such/prompts.jsonl"]),
        (["--text", "/no/such/text.jsonl"], ["text", "/no/such/text.jsonl"]),
        (["--tasks", "/no/such/tasks.jsonl"], ["tasks", "/no/such/tasks.jsonl"]),
        (["--few-shot", "-1"], ["few_shot", "-1"]),
        (
            ["--calibration", "/no/such/data.jsonl"],
            ["calibration", "/no/such/data.jsonl", "Parquet"],
        ),
        (["--calibration-samples", "0"], ["calibration_samples", "0", "1 or more"]),
    ],
    ids=lambda value: value[-2].strip("-") if isinstance(value, list) else None,
)
def test_bad_value(greenlight: Command, tmp_path: Path, args: list[str], words: list[str]) -> None:
    line = refused(greenlight, tmp_path, *args)
    for word in words:
        assert word in line


@pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"), reason="this machine has an NVIDIA GPU, which fp8 may use"
)
def test_method_that_this_machine_cannot_run(greenlight: Command, tmp_path: Path) -> None:
    line = refused(greenlight, tmp_path, "--method", "fp8")
    assert "needs an NVIDIA GPU" in line
    assert "Use w8a8 here" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "name: g\nconfidence: 0.95\nobjectives: [{metric: ttfb, scope: absolute, max: 1}]",
            ["ttfb", "ttft"],
        ),
        (
            "name: g\nconfidence: 0.95\nobjectives: [{metric: kl_mean, scope: absolute}]",
            ["kl_mean", "max"],
        ),
        ("objectives: [", ["YAML"]),
        ("", ["objectives"]),
    ],
    ids=["unknown metric", "missing limit", "invalid YAML", "empty"],
)
def test_bad_gate_file(greenlight: Command, tmp_path: Path, text: str, words: list[str]) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text(text)
    line = refused(greenlight, tmp_path, "--gate", gate)
    for word in ["gate", *words]:
        assert word in line


def test_model_without_config(greenlight: Command, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    assert "config.json" in refused(greenlight, tmp_path, "--model", model)


def test_pickle_only_checkpoint(greenlight: Command, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "safetensors" in refused(greenlight, tmp_path, "--model", model)


def test_empty_prompts_file(greenlight: Command, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.touch()
    line = refused(greenlight, tmp_path, "--prompts", prompts)
    assert "prompts" in line and str(prompts) in line


def test_port_in_use(greenlight: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(greenlight, tmp_path, "--port", str(port))
    assert "port" in line and str(port) in line


def test_help_teaches(greenlight: Command) -> None:
    top = greenlight("--help").stdout
    for command in (
        "run",
        "compile",
        "status",
        "promote",
        "rollback",
        "report",
        "down",
        "download",
        "quantize",
        "evaluate",
        "benchmark",
    ):
        assert command in top
    assert "Exit codes" in top
    assert "--auto-promote" in greenlight("run", "--help").stdout


def test_version(greenlight: Command) -> None:
    result = greenlight("--version")
    assert (result.returncode, result.stdout) == (0, f"greenlight {VERSION}\n")


def test_status_of_nothing(greenlight: Command, tmp_path: Path) -> None:
    result = greenlight("status", "--home", tmp_path, "--json")
    assert result.returncode == 0, result
    assert json.loads(result.stdout)["live"] is None


def test_promote_without_a_held_run(greenlight: Command, tmp_path: Path) -> None:
    result = greenlight("promote", "--home", tmp_path)
    assert result.returncode == 2
    assert "--no-auto-promote" in result.stderr


def test_compile_writes_the_spec(greenlight: Command, tmp_path: Path) -> None:
    result = greenlight("compile", tmp_path / "out" / "promotion.yaml")
    assert result.returncode == 0, result
    assert "promotion" in (tmp_path / "out" / "promotion.yaml").read_text()
