"""gs:// against a real server of the storage API."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.download.bucket import BucketSource
from components.download.integrity import verify_model
from components.download.sources import check_source, parse_source
from components.download.work import download_model
from components.errors import InputError, IntegrityError
from components.records import Model
from tests.components.download.conftest import TAKEN
from tests.components.download.hub_server import folder_files
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures

ROOT = Path(__file__).parents[3]
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture
def model(bucket, sharded: dict[str, bytes]) -> str:  # noqa: F811
    for name, data in sharded.items():
        bucket.blob(f"models/tiny/{name}").upload_from_string(data)
    return f"gs://{bucket.name}/models/tiny"


def bring(model: str, output: Path) -> Model:
    source = parse_source(model)
    record = download_model(source, source.resolve(), output)
    record.save(output)
    return record


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_model_in_a_bucket(model: str, sharded: dict[str, bytes], tmp_path: Path, slash: str) -> None:
    check_source(model + slash)
    record = bring(model + slash, tmp_path)
    found = folder_files(tmp_path / "model")
    assert set(found) == TAKEN
    assert all(sharded[name] == data for name, data in found.items())
    assert verify_model(tmp_path) == record


def test_the_commit_is_that_of_the_files_that_would_be_taken(model: str, bucket) -> None:  # noqa: F811
    commit = parse_source(model).resolve()
    assert len(commit) == 64
    bucket.blob("models/tiny/notes.txt").upload_from_string("not part of the model")
    assert parse_source(model).resolve() == commit
    bucket.blob("models/tiny/tokenizer.json").upload_from_string("[]")
    assert parse_source(model).resolve() != commit


def test_a_change_since_the_model_was_resolved_is_refused(model: str, bucket, tmp_path: Path) -> None:  # noqa: F811
    source = parse_source(model)
    commit = source.resolve()
    bucket.blob("models/tiny/tokenizer.json").upload_from_string("[]")
    with pytest.raises(IntegrityError, match="has changed since"):
        download_model(source, commit, tmp_path)


def test_a_model_at_the_top_of_a_bucket(bucket, sharded: dict[str, bytes], tmp_path: Path) -> None:  # noqa: F811
    for name in TAKEN:
        bucket.blob(name).upload_from_string(sharded[name])
    assert set(bring(f"gs://{bucket.name}", tmp_path).files) == TAKEN


def test_what_holds_no_model_is_refused(model: str, bucket) -> None:  # noqa: F811
    with pytest.raises(InputError, match="no such bucket") as caught:
        check_source("gs://there-is-none/x")
    assert caught.value.field == "model"
    with pytest.raises(InputError, match="no object directly below"):
        check_source(f"gs://{bucket.name}/elsewhere")
    bucket.blob("models/tiny/config.json").delete()
    with pytest.raises(InputError, match=r"config\.json"):
        check_source(model)


def test_pickles_are_refused(bucket) -> None:  # noqa: F811
    for name in ("config.json", "tokenizer.json", "pytorch_model.bin"):
        bucket.blob(f"p/{name}").upload_from_string("{}")
    with pytest.raises(InputError, match="pickled"):
        check_source(f"gs://{bucket.name}/p")


def test_large_objects_come_in_ranges(model: str, sharded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.download.bucket.CHUNK", 30_000)
    bring(model, tmp_path)
    assert folder_files(tmp_path / "model")[SHARD] == sharded[SHARD]


def test_a_killed_download_goes_on_where_it_was(model: str, sharded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import sys, time
from components.download import bucket
from components.download.sources import parse_source
from components.download.work import download_model
bucket.CHUNK = 2000
source = parse_source(sys.argv[1])
download_model(source, source.resolve(), sys.argv[2])
"""
    process = subprocess.Popen([sys.executable, "-c", program, model, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 50_000 for path in (tmp_path / ".partial").glob("model-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    sizes = {path.name[: len(SHARD)]: path.stat().st_size for path in (tmp_path / ".partial").glob("model-*")}
    assert sizes

    asked: dict[str, list[int]] = {}
    fetch = BucketSource.fetch

    def note(self, file, commit, partial) -> None:
        asked.setdefault(file.path, []).append(partial.stat().st_size)
        fetch(self, file, commit, partial)

    monkeypatch.setattr(BucketSource, "fetch", note)
    record = bring(model, tmp_path)
    assert {name: asked[name] for name in sizes} == {name: [size] for name, size in sizes.items()}
    assert "config.json" not in asked
    assert verify_model(tmp_path) == record
    assert all(sharded[name] == data for name, data in folder_files(tmp_path / "model").items())
