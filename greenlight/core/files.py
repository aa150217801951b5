"""Files that are there whole or not at all, also after a kill or a power cut."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def write_file(path: Path | str, data: bytes | str) -> None:
    """Replace the file, atomically and durably. Folders above it are made. Text is UTF-8."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        move_file(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_file(partial: Path, path: Path) -> None:
    """Put a file that was written under another name of the same file system in its place,
    atomically and durably.
    """
    flush_to_disk(partial)
    os.replace(partial, path)
    with contextlib.suppress(OSError):  # not every file system can flush a folder
        flush_to_disk(path.parent)  # the rename itself


def flush_to_disk(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """The folder of what may be deleted at any time, since it can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "greenlight"


@contextlib.contextmanager
def hold_lock(path: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Hold a file locked. Yields its descriptor; a process that inherits it holds the lock too.

    Args:
        path: of the lock; folders above it are made.
        waiting: called when another process holds it, before waiting for that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
