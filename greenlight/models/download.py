"""Fetch a model: in parallel, resumed, verified, and whole or not there at all."""

import contextlib
import errno
import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.core.files import flush_to_disk, move_file
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, FileEntry, Format, Model
from greenlight.models.bucket import ArtifactSource
from greenlight.models.checkpoint_checks import check_checkpoint, weight_bits
from greenlight.models.config_checks import check_config
from greenlight.models.download_progress import Progress
from greenlight.models.file_selection import CONFIG
from greenlight.models.integrity import content_digest, describe_files, verify_model
from greenlight.models.json_files import json_object
from greenlight.models.source import Source, SourceFile

log = logging.getLogger("greenlight.download")

PARALLEL = 8  # files at a time
PARTIAL_FOLDER = ".partial"  # beside `model/`, for files that are not whole yet
MAKING_FOLDER = ".making"  # beside `model/`, where a model that has to be made is made
READ = 2**20
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def download_model(
    source: Source, commit: str, output_folder: Path | str, quantized_too: bool = False
) -> Model:
    """Bring the files of a source to `<output_folder>/model/`. The caller saves the record, which
    makes the artifact whole.

    Run again after a kill or an error, it keeps files that are whole (their bytes are verified) and
    goes on with those that are not. A file appears in `model/` only when its bytes are verified and
    on the disk.

    Args:
        source: from `parse_source`.
        commit: from `source.resolve()`.
        output_folder: the artifact's folder.
        quantized_too: take checkpoints that are quantized already: they can be served, but not
            quantized.

    Raises:
        InputError: the source holds no model that can be used.
        IntegrityError: the source has changed since it was resolved, or gives wrong bytes twice.
        GreenlightError: the disk is full or the source cannot be reached.
    """
    started = time.monotonic()
    folder = Path(output_folder)
    if (finished := _find_finished(source, commit, folder)) is not None:
        return finished
    target = folder / MODEL_FOLDER

    def check() -> Format:
        config = json_object(source.name, CONFIG, (target / CONFIG).read_bytes())
        return check_config(source.name, config, quantized_too)

    scratch = folder / MAKING_FOLDER
    scratch.mkdir(parents=True, exist_ok=True)
    made = source.make(commit, scratch)
    if made is None:
        # The config is checked before gigabytes are fetched for it.
        entries = fetch_files(source, commit, folder, source.list_files(commit), check)
    else:
        entries = _take(made.folder, target)
    shutil.rmtree(scratch)
    check_checkpoint(source.name, target, quantized_too)
    total = sum(entry.size for entry in entries.values())
    return Model(
        role="baseline",
        source=source.name,
        commit=commit,
        format=check(),
        bits=weight_bits(folder / MODEL_FOLDER),
        digest=content_digest(entries),
        files=entries,
        bytes=total,
        seconds=time.monotonic() - started,
        libraries=(
            ({source.library: version(source.library)} if source.library else {})
            | (made.libraries if made else {})
        ),
        made=made.how if made else "",
        peak_memory_bytes=made.peak_memory_bytes if made else 0,
    )


def download_artifact(source: ArtifactSource, output_folder: Path | str) -> Model:
    """Bring a whole Model artifact, baseline or candidate, from a bucket; the caller saves its
    record. Its record says what its bytes must be.

    Raises: as `download_model`.
    """
    folder = Path(output_folder)
    with contextlib.suppress(IntegrityError):
        if verify_model(folder) == source.record:
            return source.record
    (folder / RECORD_FILE).unlink(missing_ok=True)
    fetch_files(
        source, source.record.digest, folder, source.list_files(source.record.digest), lambda: None
    )
    return source.record


def fetch_files(
    source: Source, commit: str, folder: Path, files: list[SourceFile], check: Callable[[], object]
) -> dict[str, FileEntry]:
    """Bring these files to the folder `model/`. `check` is called when the config is there.

    Raises: as `download_model`.
    """
    download = _Download(source, commit, folder, files)
    try:
        download.clear_leftovers()
        download.check_space()
        entries = download.run(check)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise download.no_space() from error
        raise
    shutil.rmtree(folder / PARTIAL_FOLDER)
    total = sum(entry.size for entry in entries.values())
    log.info(
        "%d files of %s verified, %.1f MB",
        len(entries),
        source.name,
        total / 1e6,
        extra={"figure": f"{total / 1e6:.1f} MB"},
    )
    return entries


def _take(made: Path, target: Path) -> dict[str, FileEntry]:
    """Move what was made to its place."""
    shutil.rmtree(target, ignore_errors=True)
    for path in made.iterdir():
        path.chmod(0o644)  # libraries make some files that only this user may read
        flush_to_disk(path)
    made.rename(target)
    return describe_files(target)


def _find_finished(source: Source, commit: str, folder: Path) -> Model | None:
    """What an earlier run left in the folder, if it is this model, whole."""
    try:
        found = verify_model(folder)
    except IntegrityError:
        return None
    if (found.source, found.commit, found.role) != (source.name, commit, "baseline"):
        return None
    log.info(
        "%s is already there, verified",
        source.name,
        extra={"figure": f"{found.bytes / 1e6:.1f} MB"},
    )
    return found


class _Download:
    def __init__(self, source: Source, commit: str, folder: Path, files: list[SourceFile]) -> None:
        self.source, self.commit, self.files = source, commit, files
        self.target, self.staging = folder / MODEL_FOLDER, folder / PARTIAL_FOLDER
        self.places = {
            file.path: (self.target / file.path, self.staging / f"{file.path}.{file.checksum}")
            for file in files
        }

    def clear_leftovers(self) -> None:
        """Remove what is not of this model: files of an earlier commit, and partial ones that
        nobody will go on with.
        """
        wanted = {place for both in self.places.values() for place in both}
        for folder in (self.target, self.staging):
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if path in wanted:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def check_space(self) -> None:
        if self._missing() > shutil.disk_usage(self.target).free:
            raise self.no_space()

    def run(self, check: Callable[[], object]) -> dict[str, FileEntry]:
        """Fetch all files, the config first, then `check`, then the others; the entry of each by
        its path, sorted.
        """
        total = sum(file.size for file in self.files)
        with Progress(self.source.name, self._here, total):
            first = [file for file in self.files if file.path == CONFIG]
            found = {file.path: self._bring(file) for file in first}
            check()
            pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch")
            # the longest first
            rest = sorted(
                (file for file in self.files if file not in first), key=lambda file: -file.size
            )
            futures: dict[str, Future[FileEntry]] = {
                file.path: pool.submit(self._bring, file) for file in rest
            }
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            # after an error: let those under way finish, start no more
            pool.shutdown(cancel_futures=True)
        found |= {
            path: future.result() for path, future in futures.items() if not future.cancelled()
        }
        return dict(sorted(found.items()))

    def _bring(self, file: SourceFile) -> FileEntry:
        """Fetch a file, unless it is there, verify it and put it in its place."""
        path, partial = self.places[file.path]
        if path.exists():
            entry, right = _examine(path, file)
            if right:
                return entry
            path.unlink()
        for _ in range(2):
            if partial.exists() and partial.stat().st_size > file.size:
                partial.unlink()
            partial.touch()  # an empty file has nothing to fetch
            self.source.fetch(file, self.commit, partial)
            entry, right = _examine(partial, file)
            if right:
                move_file(partial, path)
                return entry
            log.warning(
                "%s came with wrong bytes (%s is not %s)",
                file.path,
                file.algorithm,
                file.checksum[:16],
            )
            partial.unlink()
        raise IntegrityError(
            f"{self.source.name} gives wrong bytes for {file.path}: their {file.algorithm} is not"
            f" {file.checksum}, twice. Ask who keeps the source."
        )

    def _here(self) -> int:
        """Bytes that are on this disk already, whole files and partial ones."""
        found = 0
        for path in (path for both in self.places.values() for path in both):
            with contextlib.suppress(FileNotFoundError):  # other threads rename them
                found += path.stat().st_size
        return found

    def _missing(self) -> int:
        return sum(file.size for file in self.files) - self._here()

    def no_space(self) -> GreenlightError:
        free = shutil.disk_usage(self.target).free
        return GreenlightError(
            f"No space for {self.source.name} in {self.target.parent}: {self._missing():,} more"
            f" bytes are needed, {free:,} are free. Free some or choose another folder, and run"
            " again: it goes on where it stopped."
        )


def _examine(path: Path, file: SourceFile) -> tuple[FileEntry, bool]:
    """Read a file once: its entry for the record, and whether its bytes are those that the source
    promised.
    """
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    promised = _new_hash(file, size)
    with open(path, "rb") as data:
        while block := data.read(READ):
            sha256.update(block)
            if promised is not None:
                promised.update(block)
    found = (promised.digest() if promised is not None else sha256.digest()).hex()
    return (
        FileEntry(size=size, sha256=sha256.hexdigest()),
        size == file.size and found == file.checksum,
    )


def _new_hash(file: SourceFile, size: int) -> Any:
    if file.algorithm == "crc32c":
        import google_crc32c

        return google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    # the name of a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    if file.algorithm == "git-sha1":
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    return None  # sha256 is computed anyway
