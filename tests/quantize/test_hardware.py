"""What a method needs of a machine: seen on this one, and in what the steps of a cloud get."""

import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.quantize import hardware
from greenlight.quantize.hardware import Gpu, check_accelerator, check_this_machine
from greenlight.quantize.methods import check_in_cloud, check_machine, methods

NEEDS = Gpu(8.9, "only these do it", instead="w8a8")


@pytest.mark.parametrize(
    ("has", "words"), [(None, "this machine has none"), (8.0, "this machine's is of 8.0")]
)
def test_a_machine_without_it_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, has: float | None, words: str
) -> None:
    monkeypatch.setattr(hardware, "_capability_here", lambda: has)
    with pytest.raises(
        InputError,
        match=(
            r"method: 'fp8': needs an NVIDIA GPU of compute capability 8.9 or more, and"
            rf" {words}.*Use w8a8 here"
        ),
    ) as raised:
        check_machine("fp8")
    assert raised.value.field == "method"


def test_a_machine_that_has_it_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_capability_here", lambda: 9.0)
    check_this_machine("fp8", NEEDS)


def test_this_machine_is_asked() -> None:
    """By the driver itself, or by torch where there is no driver: both must say the same."""
    code = (
        "import torch; print('.'.join(map(str, torch.cuda.get_device_capability())) if"
        " torch.cuda.is_available() else 'none')"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert str(hardware._capability_here() or "none") == said


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        (None, "has no accelerator"),
        ("nvidia-tesla-t4", "nvidia-tesla-t4 of the step quantize is of 7.5"),
    ],
    ids=["none", "old"],
)
def test_a_cloud_step_without_it_is_refused(accelerator: str | None, words: str) -> None:
    with pytest.raises(
        InputError,
        match=rf"{words}.*steps\.quantize\.accelerator: {{type: nvidia-l4}}.*or use w8a8",
    ):
        check_in_cloud("fp8", accelerator)


@pytest.mark.parametrize("accelerator", ["nvidia-l4", "nvidia-h100-80gb", "nvidia-of-next-year"])
def test_a_cloud_step_that_has_it_or_that_nobody_knows_is_let_through(accelerator: str) -> None:
    check_accelerator("fp8", NEEDS, accelerator)


def test_what_needs_no_gpu_runs_here() -> None:
    for name, method in methods().items():
        if method.gpu is None:
            check_machine(name)
            check_in_cloud(name, None)


def test_a_cloud_run_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    from greenlight.pipelines.runners.open_cloud import compile_pipeline
    from greenlight.pipelines.runners.settings import CloudOptions
    from greenlight.resolve.parameters import Parameters

    options = CloudOptions(runner="vertex", components_image="r/i@sha256:" + "0" * 64)
    with pytest.raises(InputError, match="the step quantize has no accelerator"):
        compile_pipeline(options, Parameters(method="fp8"))
