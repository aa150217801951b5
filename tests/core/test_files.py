"""Files that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from greenlight.core.files import move_file, write_file


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    write_file(path, "één\n")
    with open(path, encoding="utf-8") as reader:
        write_file(path, b"second")
        assert reader.read() == "één\n", "who has it open reads the old one to its end"
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["state.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_file(path, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_file(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["state.json"]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        steps.append(f"{source.name} > {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    (tmp_path / "partial").write_text("whole")
    move_file(tmp_path / "partial", tmp_path / "final")
    assert steps == ["partial", "partial > final", tmp_path.name]
