"""Downloads from folders and from a hub on this machine: parallel, resumed, verified, whole or not
there.
"""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.models.download import download_model
from greenlight.models.folder import FolderSource
from greenlight.models.integrity import verify_model
from greenlight.models.open_source import parse_source
from tests.models.conftest import TAKEN, safetensors, tokenizer
from tests.models.hub_server import COMMIT, HubServer, folder_files

SHARD = "model-00002-of-00003.safetensors"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What huggingface_hub holds in memory before it writes, in proportion to the files here: its
    own 10 MB would hide all cuts.
    """
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16384)


def bring(model: str, output: Path) -> Model:
    source = parse_source(model)
    record = download_model(source, source.resolve(), output)
    record.save(output)
    return record


def taken(output: Path) -> dict[str, bytes]:
    assert sorted(path.name for path in output.iterdir()) == ["model", "record.json"]
    return folder_files(output / "model")


def test_the_built_in_model(tmp_path: Path) -> None:
    record = bring("builtin:tiny", tmp_path)
    assert verify_model(tmp_path) == record
    assert record.digest == record.commit
    assert (record.role, record.format, record.method, record.bits) == (
        "baseline",
        "safetensors",
        "none",
        16,
    )
    assert 8_000_000 < record.bytes < 9_000_000


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_only_what_makes_a_model_is_taken(
    kind: str, folder: Path, hub: HubServer, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    record = bring(str(folder) if kind == "folder" else "org/name", output)
    found = taken(output)
    assert set(found) == set(record.files) == TAKEN
    assert all(hub.files[name] == data for name, data in found.items())
    assert verify_model(output) == record
    assert record.bytes == sum(map(len, found.values()))
    assert {Path(asked.path).name for asked in hub.fetched} == (TAKEN if kind == "hub" else set())


def test_the_same_model_has_the_same_digest_wherever_it_came_from(
    folder: Path, hub: HubServer, tmp_path: Path
) -> None:
    assert bring(str(folder), tmp_path / "a").digest == bring("org/name", tmp_path / "b").digest


def test_a_copy_does_not_change_with_the_folder_it_was_made_from(
    folder: Path, tmp_path: Path
) -> None:
    bring(str(folder), tmp_path / "output")
    with open(folder / SHARD, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    verify_model(tmp_path / "output")


def test_full_precision_of_32_bits_is_recorded(folder: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (folder / f"model-{number:05}-of-00003.safetensors").write_bytes(
            safetensors({f"layer.{number}": 400}, "F32")
        )
    assert bring(str(folder), tmp_path / "output").bits == 32


def test_again_nothing_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    first = bring("org/name", tmp_path)
    hub.asked.clear()
    assert bring("org/name", tmp_path) == first
    assert not hub.fetched


def test_a_cut_connection_is_gone_on_from(hub: HubServer, tmp_path: Path) -> None:
    hub.cut_after[SHARD] = [50_000, 100_000]
    bring("org/name", tmp_path)
    assert [asked.range for asked in hub.downloads(SHARD)] == [
        "",
        f"bytes={3 * 16384}-",
        f"bytes={9 * 16384}-",
    ]
    assert taken(tmp_path)[SHARD] == hub.files[SHARD]


def test_a_server_that_ignores_ranges_is_read_from_the_start(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.cut_after[SHARD] = [50_000]
    hub.ignore_ranges = True
    bring("org/name", tmp_path)
    assert taken(tmp_path)[SHARD] == hub.files[SHARD]


def test_wrong_bytes_are_fetched_once_more(hub: HubServer, tmp_path: Path) -> None:
    hub.spoil = {SHARD: 1, "tokenizer.json": 1}
    bring("org/name", tmp_path)
    assert len(hub.downloads(SHARD)) == len(hub.downloads("tokenizer.json")) == 2
    assert taken(tmp_path)[SHARD] == hub.files[SHARD]


@pytest.mark.parametrize("name", [SHARD, "tokenizer.json"])
def test_wrong_bytes_twice_are_refused(hub: HubServer, tmp_path: Path, name: str) -> None:
    hub.spoil = {name: 2}
    with pytest.raises(IntegrityError, match=name):
        bring("org/name", tmp_path)
    assert not (tmp_path / "record.json").exists()
    assert not (tmp_path / "model" / name).exists()


def test_a_broken_config_is_refused_before_the_weights_are_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.files["config.json"] = b"{"
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        bring("org/name", tmp_path)
    assert not hub.downloads(SHARD)


def test_weights_that_are_truncated_at_their_source_are_refused(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.files[SHARD] = hub.files[SHARD][:1000]
    with pytest.raises(InputError, match="has 1000 bytes where its header says"):
        bring("org/name", tmp_path)
    assert not (tmp_path / "record.json").exists()


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    bring("org/name", tmp_path)
    assert {asked.token for asked in hub.asked} == {"Bearer hf_secret"}
    assert "hf_secret" not in caplog.text + (tmp_path / "record.json").read_text()


def test_without_a_token_none_is_sent(hub: HubServer, tmp_path: Path) -> None:
    (Path(os.environ["HF_HOME"]) / "token").write_text("hf_of_this_user")
    bring("org/name", tmp_path)
    assert {asked.token for asked in hub.asked} == {""}


def test_progress_is_logged(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "greenlight.download")
    hub.bytes_per_second = 60_000
    bring("org/name", tmp_path)
    lines = [record for record in caplog.records if "MB/s" in record.getMessage()]
    assert lines
    assert all(getattr(record, "figure", "").endswith(" of 1 MB") for record in lines)


# Killed, and run again

PROGRAM = """
import sys
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 16384
from greenlight.models.open_source import parse_source
from greenlight.models.download import download_model
name, folder = sys.argv[1:]
source = parse_source(name)
download_model(source, source.resolve(), folder).save(folder)
"""


def test_a_killed_download_goes_on_where_it_was(hub: HubServer, tmp_path: Path) -> None:
    hub.bytes_per_second = 100_000
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "org/name", str(tmp_path)], cwd=ROOT)
    partial = tmp_path / ".partial"
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 50_000 for path in partial.glob("model-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "record.json").exists()
    sizes = {path.name[: len(SHARD)]: path.stat().st_size for path in partial.glob("model-*")}
    whole = {path.name for path in (tmp_path / "model").iterdir()}
    assert "config.json" in whole

    hub.asked.clear()
    hub.bytes_per_second = 0
    record = bring("org/name", tmp_path)
    for name, size in sizes.items():
        assert [asked.range for asked in hub.downloads(name)] == [f"bytes={size}-" if size else ""]
    for name in whole:
        assert not hub.downloads(name)
    assert verify_model(tmp_path) == record
    assert set(taken(tmp_path)) == TAKEN


def test_files_of_another_commit_do_not_stay(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    bring(str(folder), output)
    (folder / "LICENSE").unlink()
    (folder / "tokenizer.json").write_bytes(tokenizer("b"))
    record = bring(str(folder), output)
    assert set(taken(output)) == TAKEN - {"LICENSE"}
    assert verify_model(output) == record


def test_a_damaged_artifact_is_repaired(hub: HubServer, tmp_path: Path) -> None:
    bring("org/name", tmp_path)
    hub.asked.clear()
    with open(tmp_path / "model" / SHARD, "r+b") as file:
        file.write(b"x")
    (tmp_path / "model" / "stray.bin").write_bytes(b"")
    record = bring("org/name", tmp_path)
    assert [Path(asked.path).name for asked in hub.fetched] == [SHARD]
    assert verify_model(tmp_path) == record


def test_a_partial_file_with_wrong_bytes_is_fetched_anew(hub: HubServer, tmp_path: Path) -> None:
    source = parse_source("org/name")
    (entry,) = (file for file in source.list_files(COMMIT) if file.path == SHARD)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / f"{SHARD}.{entry.checksum}").write_bytes(b"x" * 1000)
    bring("org/name", tmp_path)
    assert [asked.range for asked in hub.downloads(SHARD)] == ["bytes=1000-", ""]
    assert taken(tmp_path)[SHARD] == hub.files[SHARD]


def test_a_folder_that_changed_since_it_was_resolved_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    source = parse_source(str(folder))
    commit = source.resolve()
    (folder / "tokenizer.json").write_bytes(tokenizer("b"))
    with pytest.raises(IntegrityError, match="has changed since"):
        download_model(source, commit, tmp_path / "output")


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_too_small_a_disk_is_told_before_anything_is_fetched(
    kind: str, folder: Path, hub: HubServer, small_disk: Path
) -> None:
    with pytest.raises(
        GreenlightError, match=r"60\d,\d{3} more bytes are needed, 5\d\d,\d{3} are free"
    ):
        bring(str(folder) if kind == "folder" else "org/name", small_disk)
    assert not hub.fetched


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_a_disk_that_fills_up_leaves_nothing_that_looks_whole(
    kind: str, folder: Path, hub: HubServer, small_disk: Path
) -> None:
    """Somebody else takes the space after the check."""
    model = str(folder) if kind == "folder" else "org/name"
    subprocess.run(["mount", "-o", "remount,size=800k", str(small_disk)], check=True)
    source = parse_source(model)
    files, commit = source.list_files, source.resolve()

    def grab(commit: str):
        found = files(commit)
        (small_disk / "somebody").write_bytes(bytes(1))
        return found

    source.list_files = grab  # type: ignore[method-assign]
    config = source.fetch

    def fill_first(*arguments):
        if (small_disk / "somebody").stat().st_size == 1:
            (small_disk / "somebody").write_bytes(bytes(500_000))
        config(*arguments)

    source.fetch = fill_first  # type: ignore[method-assign]
    with pytest.raises(GreenlightError, match="more bytes are needed"):
        download_model(source, commit, small_disk)
    assert not (small_disk / "record.json").exists()
    with pytest.raises(IntegrityError):
        verify_model(small_disk)
    whole = folder_files(small_disk / "model")
    assert all(hub.files[name] == data for name, data in whole.items())

    (small_disk / "somebody").unlink()
    bring(model, small_disk)
    assert set(taken(small_disk)) == TAKEN


def test_a_limit_on_file_sizes_is_told_as_a_lack_of_space(folder: Path, tmp_path: Path) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,"
        f" resource.RLIM_INFINITY))\n{PROGRAM}"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "output")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "more bytes are needed" in result.stderr
    assert not (tmp_path / "output" / "record.json").exists()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS])
def test_a_file_system_that_cannot_clone_is_copied_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert isinstance(parse_source(str(folder)), FolderSource)
    bring(str(folder), tmp_path / "output")
    verify_model(tmp_path / "output")
