"""Real quantizations of the built-in model, by every method."""

import errno
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.models.builtin import TINY
from greenlight.models.integrity import verify_model
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import quantize_model
from greenlight.quantize.methods import methods
from tests.quantize.candidates import Candidates

EVERY = [
    ("none", 16),
    ("bnb", 4),
    ("bnb", 8),
    ("gptq", 4),
    ("gptq", 8),
    ("awq", 4),
    ("w8a8", 8),
    ("optimum", 4),
    ("optimum", 8),
]
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), EVERY)
def test_artifact_is_complete(candidates: Candidates, method: str, bits: int) -> None:
    artifact = candidates.make(method, bits)
    record = verify_model(artifact)
    assert (record.role, record.method, record.bits, record.format) == (
        "candidate",
        method,
        bits,
        methods()[method].format,
    )
    assert record.bytes == sum(path.stat().st_size for path in (artifact / "model").iterdir())
    assert record.seconds > 0
    assert record.peak_memory_bytes > 10_000_000
    assert record.libraries == methods()[method].versions()
    assert {path.name for path in artifact.iterdir()} == {"model", "record.json"}
    assert not list(artifact.parent.glob(".*"))
    for name in COMPANIONS:
        assert (artifact / "model" / name).read_bytes() == (TINY / name).read_bytes()
    for path in (artifact / "model").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, (
            f"{path.name} cannot be read by the user that serves it"
        )
    json.loads((artifact / "model/config.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), EVERY)
def test_artifact_tells_neither_calibration_text_nor_paths(
    candidates: Candidates, method: str, bits: int
) -> None:
    texts = [json.loads(line)["text"] for line in candidates.calibration.read_text().splitlines()]
    secrets = [
        line.strip().encode()
        for text in texts
        for line in text.splitlines()
        if len(line.split()) > 4
    ]
    secrets += [json.dumps(secret.decode())[1:-1].encode() for secret in secrets] + [
        str(candidates.folder).encode(),
        str(TINY.parent).encode(),
    ]
    for path in candidates.make(method, bits).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path.name


@pytest.mark.slow
def test_sizes_are_as_the_bits_say(candidates: Candidates) -> None:
    size = {
        (method, bits): Model.load(candidates.make(method, bits)).bytes for method, bits in EVERY
    }
    for method in ("bnb", "gptq", "optimum"):
        assert size[method, 4] < size[method, 8] < size["none", 16]
    assert size["optimum", 8] < 0.6 * size["none", 16]


def test_artifact_as_baseline(tmp_path: Path) -> None:
    first = quantize_model(TINY, tmp_path / "first", "none", 16)
    second = quantize_model(tmp_path / "first", tmp_path / "second", "none", 16)
    assert second.files == first.files
    assert second.commit == first.commit


def test_changed_baseline_is_refused(tmp_path: Path) -> None:
    quantize_model(TINY, tmp_path / "baseline", "none", 16)
    weights = tmp_path / "baseline/model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        quantize_model(tmp_path / "baseline", tmp_path / "out", "none", 16)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "pickle",
        ),
        (
            lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"),
            "tokenizer.json",
        ),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
    ],
)
def test_unusable_baseline_is_named(tmp_path: Path, change, says: str) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    change(folder)
    with pytest.raises(InputError, match=says):
        quantize_model(folder, tmp_path / "out", "bnb", 8)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_quantized_baseline_is_refused(tmp_path: Path, candidates: Candidates) -> None:
    with pytest.raises(InputError, match=r"already quantized \(bitsandbytes\)"):
        quantize_model(candidates.make("bnb", 4), tmp_path / "out", "gptq", 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), ("", "no documents"), ('{"text": "a"}\n{"txt": "b"}\n', "line 2")],
)
def test_unusable_calibration_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "calibration.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        quantize_model(TINY, tmp_path / "out", "gptq", 4, Calibration(str(path)))
    assert caught.value.field == "calibration"


def test_failed_library_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what an earlier run made must not be taken for the result
    quantize_model(TINY, tmp_path / "out", "none", 16)
    # an environment without optimum-intel
    monkeypatch.setenv("GREENLIGHT_OPENVINO_PYTHON", sys.executable)
    with pytest.raises(GreenlightError, match=r"optimum-intel failed .*ModuleNotFoundError"):
        quantize_model(TINY, tmp_path / "out", "optimum", 8)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_killed_run_leaves_nothing_to_take_for_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    code = (
        f"from greenlight.quantize.candidate import quantize_model; quantize_model({str(TINY)!r},"
        f" {str(output)!r}, 'bnb', 8)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while (
        not (children := psutil.Process(process.pid).children())
        or not (tmp_path / ".out.partial/scratch/output.log").is_file()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=30)
    assert not any(
        child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children
    )
    assert (tmp_path / ".out.partial").is_dir()
    with pytest.raises(IntegrityError):
        Model.load(output)

    quantize_model(TINY, output, "none", 16)
    assert verify_model(output).method == "none"
    assert list(tmp_path.iterdir()) == [output]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB: less than any method writes for the built-in model."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "greenlight-test", folder],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_too_small_disk_is_seen_before_the_work(small_disk: Path) -> None:
    with pytest.raises(
        GreenlightError,
        match=r"The disk is full: quantizing needs about 8\.5 MB and .* has 4\.2 MB free",
    ):
        quantize_model(TINY, small_disk / "out", "none", 16)
    assert not list((small_disk / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "bnb", "optimum"])
def test_disk_that_fills_up_leaves_nothing(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    # as if somebody else had filled it since
    monkeypatch.setattr(type(methods()[method]), "disk", 0.0)
    with pytest.raises(GreenlightError, match="The disk is full"):
        quantize_model(TINY, small_disk / "out", method, 8)
    assert list(small_disk.iterdir()) == [small_disk / "out"]
    assert not list((small_disk / "out").iterdir())


def test_output_on_a_file_system_without_folder_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mounted bucket is: the folder is copied, and the record still comes last."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOTSUP, "folders cannot be renamed here")

    monkeypatch.setattr(os, "rename", refuse)
    quantize_model(TINY, tmp_path / "out", "none", 16)
    assert verify_model(tmp_path / "out").bytes > 8_000_000
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_progress_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="greenlight"):
        quantize_model(TINY, tmp_path / "out", "none", 16)
    assert [record.figure for record in caplog.records if hasattr(record, "figure")] == ["8.5 MB"]
