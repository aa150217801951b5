"""Digests of local files, remembered, so that asking whether a large folder has changed takes
milliseconds.

A file counts as unchanged when its inode, size, modification time and change time are what they
were. The change time is the kernel's and nobody can set it back, so that a file edited in place is
always read again. The memory may be deleted at any time.
"""

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from greenlight.core.files import user_cache, write_file
from greenlight.core.records import FileEntry
from greenlight.models.integrity import describe_file

# seconds: a file changed less than this before it was read could change again within one tick of
# the clock
SETTLED = 2.0


def remembered_digests(paths: list[Path]) -> dict[str, FileEntry]:
    """Size and sha256 of each file by its name, reading only files that are not remembered."""
    memory_file = _memory_file()
    memory = _load(memory_file)
    found, fresh = {}, {}

    def describe(path: Path) -> FileEntry:
        key, before = str(path.resolve()), path.stat()
        known = memory.get(key)
        if known is not None and known[:-1] == _state(before):
            return FileEntry(size=before.st_size, sha256=known[-1])
        started = time.time()
        entry = describe_file(path)
        if _state(path.stat()) == _state(before) and started - before.st_ctime > SETTLED:
            fresh[key] = [*_state(before), entry.sha256]
        return entry

    with ThreadPoolExecutor(
        max_workers=min(4, os.cpu_count() or 1)
    ) as pool:  # hashing releases the GIL
        for path, entry in zip(paths, pool.map(describe, paths), strict=True):
            found[path.name] = entry
    if fresh:
        _save(
            memory_file,
            {**{key: state for key, state in memory.items() if os.path.exists(key)}, **fresh},
        )
    return found


def _state(stat: os.stat_result) -> list[int]:
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _memory_file() -> Path:
    return user_cache() / "digests.json"


def _load(path: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        memory = json.loads(path.read_bytes())
        if isinstance(memory, dict):
            return {
                key: state
                for key, state in memory.items()
                if isinstance(state, list) and len(state) == 6
            }
    return {}


def _save(path: Path, memory: dict[str, list[Any]]) -> None:
    with contextlib.suppress(OSError):  # a read-only or full home costs time, nothing else
        write_file(path, json.dumps(memory))
