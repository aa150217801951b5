"""Quantize a baseline into a candidate: all of it, or nothing that a later run could take for
whole.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from greenlight.core.child_process import ChildFailedError, own_peak_memory
from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.files import flush_to_disk
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, Model, recipe_name
from greenlight.gate.quality_limits import gate_of
from greenlight.models.checkpoint import Checkpoint, open_checkpoint
from greenlight.models.description import describe_folder
from greenlight.models.file_selection import COMPANION
from greenlight.models.integrity import content_digest, describe_files
from greenlight.models.safetensors_header import Tensor
from greenlight.models.tokenizer import write_tokenizer
from greenlight.models.tokenizer_checks import TOKENIZER, TOKENIZER_CONFIG
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.coverage import check_coverage, measure_coverage
from greenlight.quantize.methods import check_machine, check_method
from greenlight.quantize.methods.base import SHARD_BYTES, Job, Method
from greenlight.quantize.reload_check import check_reload, write_probe
from greenlight.quantize.suitability import check_method_takes

log = logging.getLogger("greenlight.quantize")

SEARCHED_BITS = 8
"""Most bits that a weight has in what a method without a choice of bits makes."""
OPENVINO_WEIGHTS = "openvino_model.bin"
# How a full disk reads in what a library prints: Python and Rust; OpenVINO, whose writes into our
# own folder fail for no other reason.
NO_SPACE_LEFT = ("No space left on device", "iostream error")


def quantize_model(
    baseline_folder: Path | str,
    output_folder: Path | str,
    method: str,
    bits: int,
    calibration: Calibration | None = None,
    limits: str = "",
    shard_bytes: int = SHARD_BYTES,
) -> Model:
    """Quantize the model in `baseline_folder` into the artifact `output_folder`: `model/` and,
    last, `record.json`.

    It works in a hidden folder beside the output, so a run that was killed at any line leaves no
    artifact, and the next one removes what it left.

    Args:
        baseline_folder: a Model artifact, or a plain checkpoint folder of safetensors.
        method, bits: see `greenlight.quantize.methods.capabilities`.
        calibration: for methods that calibrate. Default: text that comes with the built-in model.
        limits: on quality, for methods that search; see `greenlight.gate.quality_limits`.
        shard_bytes: maximum bytes per file of weights.

    Raises:
        InputError: an argument is unusable.
        IntegrityError: the baseline is not what its record says, or what the method saved is not
            what it quantized.
        GreenlightError: the library or disk space is missing, or the library failed.
    """
    started = time.monotonic()
    chosen = check_method(method, bits)
    check_machine(method)
    calibration = calibration or Calibration()
    if chosen.searches:
        gate_of(limits)
    if chosen.calibrates:
        calibration.read_documents()
    baseline = open_checkpoint("baseline", Path(baseline_folder))
    if baseline.record.format != "safetensors":
        raise InputError(
            "baseline",
            str(baseline_folder),
            f"is already quantized ({baseline.record.format}); start from the full-precision model",
        )

    source = describe_folder(baseline.folder).tensors
    check_method_takes(method, bits, baseline.config(), source)

    with _workspace(Path(output_folder), int(chosen.disk * baseline.record.bytes)) as workspace:
        log.info(
            "quantizing %s with %s: %s",
            baseline.record.source,
            chosen.library,
            recipe_name(method, bits),
        )
        job = Job(
            baseline.folder,
            workspace / MODEL_FOLDER,
            bits,
            calibration,
            workspace / "scratch",
            limits,
            shard_bytes,
        )
        job.output.mkdir()
        job.scratch.mkdir()
        if chosen.tolerance is not None:
            write_probe(job.model, job.scratch)
        peak_memory = chosen.quantize(job)
        _copy_companions(baseline, job.output)
        write_tokenizer(baseline.folder, job.output)
        _make_durable(job.output)
        share = None
        if chosen.tolerance is not None:
            share = _check_result(chosen, job, source)
        tried = chosen.list_trials(job)
        for trial in tried:
            log.info("tried %s, %.1f MB: %s", trial.scheme, trial.bytes / 1e6, trial.reason)
        files = describe_files(job.output)
        record = Model(
            role="candidate",
            source=baseline.record.source,
            commit=baseline.record.commit,
            format=chosen.format,
            method=method,
            bits=bits if chosen.bits else chosen.stored_bits or baseline.record.bits,
            digest=content_digest(files),
            files=files,
            bytes=sum(entry.size for entry in files.values()),
            libraries=chosen.versions(),
            search=tried,
            quantized_share=share,
        )
        record.save(workspace)
        if chosen.tolerance is None:
            _check_copy(baseline, record)
        else:
            began = time.monotonic()
            difference, reload_memory = check_reload(
                workspace, job.scratch, chosen.tolerance, chosen.library
            )
            log.info(
                "reloaded in a fresh process, it predicts as it did before it was saved",
                extra={"figure": f"KL {difference.kl_mean:.1e} nats"},
            )
            peak_memory = max(peak_memory, reload_memory)
            record = record.model_copy(
                update={
                    "reload_kl": difference.kl_mean,
                    "reload_seconds": round(time.monotonic() - began, 3),
                }
            )
        taken = {
            "seconds": round(time.monotonic() - started, 3),
            "peak_memory_bytes": max(peak_memory, own_peak_memory()),
        }
        record = record.model_copy(update=taken)
        # One rename on the same file system; on a mounted bucket, where a folder cannot be renamed,
        # a copy. The record comes last either way.
        shutil.move(job.output, Path(output_folder) / MODEL_FOLDER)
        record.save(output_folder)
    log.info(
        "quantized in %.1f s", record.seconds, extra={"figure": f"{record.bytes / 1e6:.1f} MB"}
    )
    return record


def _check_result(chosen: Method, job: Job, source: dict[str, Tensor]) -> float:
    """Whether the artifact is what was asked for, whatever the library printed: enough weights in
    so many bits, and smaller than before.

    Returns:
        The share of the linear weights that have these bits.

    Raises:
        IntegrityError: it is not.
    """
    bits = job.bits if chosen.bits else SEARCHED_BITS
    coverage = measure_coverage(source, job.output, chosen.format, bits)
    check_coverage(coverage, chosen.least_share, bits, chosen.library)
    left = f"; left in more: {coverage.name_left()}" if coverage.left else ""
    log.info(
        "quantized to %d bits%s",
        bits,
        left,
        extra={"figure": f"{coverage.share:.1%} of the linear weights"},
    )
    before = sum(tensor.bytes for tensor in source.values())
    after = sum(
        path.stat().st_size
        for path in job.output.iterdir()
        if path.suffix == ".safetensors" or path.name == OPENVINO_WEIGHTS
    )
    if after >= before:
        raise IntegrityError(
            f"{chosen.library} made weights of {after / 1e6:.1f} MB from {before / 1e6:.1f} MB:"
            f" {recipe_name(chosen.name, job.bits)} makes this model no smaller. Nothing was kept."
            " Use fewer bits or another method."
        )
    return coverage.share


@contextlib.contextmanager
def _workspace(output: Path, needed: int) -> Iterator[Path]:
    """An empty hidden folder beside `output`, and nothing in `output` but the empty folder. A full
    disk becomes a clear error.

    Args:
        needed: bytes that the work writes at most.
    """
    workspace = output.parent / f".{output.name}.partial"
    shutil.rmtree(workspace, ignore_errors=True)
    # first: from here on the output is nobody's artifact
    (output / RECORD_FILE).unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise _disk_full(needed, free, output.parent)
    workspace.mkdir()
    try:
        yield workspace
    except Exception as error:
        printed = error.output if isinstance(error, ChildFailedError) else str(error)
        if any(phrase in printed for phrase in NO_SPACE_LEFT):
            raise _disk_full(needed, shutil.disk_usage(output.parent).free, output.parent) from None
        raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _disk_full(needed: int, free: int, folder: Path) -> GreenlightError:
    return GreenlightError(
        f"The disk is full: quantizing needs about {needed / 1e6:.1f} MB and {folder} has"
        f" {free / 1e6:.1f} MB free. Free some space there, or write elsewhere."
    )


def _copy_companions(baseline: Checkpoint, output: Path) -> None:
    """The tokenizer, chat template, generation settings and license, as they are in the baseline:
    libraries save their own versions of them.
    """
    for path in baseline.folder.iterdir():
        if COMPANION.fullmatch(path.name):
            shutil.copyfile(path, output / path.name)


def _check_copy(baseline: Checkpoint, record: Model) -> None:
    """Raises IntegrityError when a file is not the baseline's, apart from what `write_tokenizer`
    writes.
    """
    changed = sorted(
        name
        for name, entry in record.files.items()
        if baseline.record.files.get(name) != entry and name not in (TOKENIZER, TOKENIZER_CONFIG)
    )
    if changed:
        raise IntegrityError(
            f"The copy of {changed[0]} differs from the baseline's: the disk or the memory of this"
            " machine is faulty. Run it elsewhere."
        )


def _make_durable(folder: Path) -> None:
    """Make every file readable for the user that serves it (safetensors saves for the owner alone),
    and durable.
    """
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        flush_to_disk(path)
