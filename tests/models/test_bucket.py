"""gs:// against a real server of the storage API."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.models.bucket import BucketSource
from greenlight.models.download import download_model
from greenlight.models.integrity import verify_model
from greenlight.models.open_source import check_source, parse_source
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.models.conftest import TAKEN, tokenizer
from tests.models.hub_server import folder_files

ROOT = Path(__file__).parents[3]
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture
def model(bucket, sharded: dict[str, bytes]) -> str:
    for name, data in sharded.items():
        bucket.blob(f"models/tiny/{name}").upload_from_string(data)
    return f"gs://{bucket.name}/models/tiny"


def bring(model: str, output: Path) -> Model:
    source = parse_source(model)
    record = download_model(source, source.resolve(), output)
    record.save(output)
    return record


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_model_in_a_bucket(
    model: str, sharded: dict[str, bytes], tmp_path: Path, slash: str
) -> None:
    check_source(model + slash)
    record = bring(model + slash, tmp_path)
    found = folder_files(tmp_path / "model")
    assert set(found) == TAKEN
    assert all(sharded[name] == data for name, data in found.items())
    assert verify_model(tmp_path) == record


def test_the_commit_is_that_of_the_files_that_would_be_taken(model: str, bucket) -> None:
    commit = parse_source(model).resolve()
    assert len(commit) == 64
    bucket.blob("models/tiny/notes.txt").upload_from_string("not part of the model")
    assert parse_source(model).resolve() == commit
    bucket.blob("models/tiny/tokenizer.json").upload_from_string(tokenizer("b"))
    assert parse_source(model).resolve() != commit


def test_a_change_since_the_model_was_resolved_is_refused(
    model: str, bucket, tmp_path: Path
) -> None:
    source = parse_source(model)
    commit = source.resolve()
    bucket.blob("models/tiny/tokenizer.json").upload_from_string(tokenizer("b"))
    with pytest.raises(IntegrityError, match="has changed since"):
        download_model(source, commit, tmp_path)


def test_a_model_at_the_top_of_a_bucket(bucket, sharded: dict[str, bytes], tmp_path: Path) -> None:
    for name in TAKEN:
        bucket.blob(name).upload_from_string(sharded[name])
    assert set(bring(f"gs://{bucket.name}", tmp_path).files) == TAKEN


def test_what_holds_no_model_is_refused(model: str, bucket) -> None:
    with pytest.raises(InputError, match="no such bucket") as caught:
        check_source("gs://there-is-none/x")
    assert caught.value.field == "model"
    with pytest.raises(InputError, match="no object directly below"):
        check_source(f"gs://{bucket.name}/elsewhere")
    bucket.blob("models/tiny/config.json").delete()
    with pytest.raises(InputError, match=r"config\.json"):
        check_source(model)


def test_pickles_are_refused(bucket) -> None:
    for name in ("config.json", "tokenizer.json", "pytorch_model.bin"):
        bucket.blob(f"p/{name}").upload_from_string("{}")
    with pytest.raises(InputError, match="pickled"):
        check_source(f"gs://{bucket.name}/p")


def test_large_objects_come_in_ranges(
    model: str, sharded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.models.bucket.CHUNK", 30_000)
    bring(model, tmp_path)
    assert folder_files(tmp_path / "model")[SHARD] == sharded[SHARD]


def test_a_killed_download_goes_on_where_it_was(
    model: str, sharded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import sys, time
from greenlight.models import bucket
from greenlight.models.open_source import parse_source
from greenlight.models.download import download_model
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
    sizes = {
        path.name[: len(SHARD)]: path.stat().st_size
        for path in (tmp_path / ".partial").glob("model-*")
    }
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


class Training:
    """Checkpoints below one prefix, as a training run leaves them."""

    def __init__(self, bucket, sharded: dict[str, bytes]) -> None:
        self.bucket, self.sharded = bucket, sharded
        self.name = f"gs://{bucket.name}/training-runs"

    def write(self, step: str, without: str = "", changed: dict[str, bytes] | None = None) -> str:
        """Write a checkpoint; returns the commit that it has by its own prefix, or an empty one
        where it lacks a file.
        """
        for name in sorted(TAKEN - {without}):
            data = (changed or {}).get(name, self.sharded[name])
            self.bucket.blob(f"training-runs/{step}/{name}").upload_from_string(data)
        return "" if without else parse_source(f"{self.name}/{step}").resolve()


@pytest.fixture
def training(bucket, sharded: dict[str, bytes]) -> Training:
    return Training(bucket, sharded)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_newest_of_several_checkpoints(training: Training, tmp_path: Path, slash: str) -> None:
    """By time: a training that began anew counts from 0 again."""
    training.write("step-900")
    newest = training.write("step-100")
    # a folder that was made in the console
    training.bucket.blob("training-runs/").upload_from_string("")
    training.bucket.blob("training-runs/trainer_state.json").upload_from_string("{}")
    check_source(training.name + slash)
    source = parse_source(training.name + slash)
    assert source.resolve() == newest
    assert source.found == f"{training.name}/step-100"
    record = bring(training.name + slash, tmp_path)
    assert (record.source, record.commit, set(record.files)) == (
        training.name + slash,
        newest,
        TAKEN,
    )


@pytest.mark.parametrize(
    "missing", ["config.json", SHARD, "model.safetensors.index.json", "tokenizer.json"]
)
def test_a_checkpoint_that_is_being_written_is_skipped(
    training: Training, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    complete = training.write("step-100")
    training.write("step-200", without=missing)
    caplog.set_level("INFO", logger="greenlight.download")
    assert parse_source(training.name).resolve() == complete
    skipped, found = caplog.messages
    assert (
        skipped.startswith(f"skipped {training.name}/step-200, which is not complete (")
        and missing.split("-of-")[0] in skipped
    )
    assert found == f"the newest complete checkpoint is {training.name}/step-100"
    training.bucket.blob(f"training-runs/step-200/{missing}").upload_from_string(
        training.sharded[missing]
    )
    assert (
        parse_source(training.name).resolve() == parse_source(f"{training.name}/step-200").resolve()
    )


def test_a_checkpoint_without_a_shard_that_its_index_names_is_skipped(training: Training) -> None:
    complete = training.write("step-100")
    index = {"weight_map": {"layer.1": SHARD, "layer.2": "model-extra.safetensors"}}
    with pytest.raises(InputError, match=r"lacks 1 of 2 .* first model-extra\.safetensors"):
        training.write(
            "step-200", changed={"model.safetensors.index.json": json.dumps(index).encode()}
        )
    assert parse_source(training.name).resolve() == complete


def test_metadata_and_notes_make_no_checkpoint_newer(training: Training) -> None:
    training.write("step-100")
    newest = training.write("step-200")
    training.bucket.blob("training-runs/step-100/eval.json").upload_from_string("{}")
    weights = training.bucket.get_blob(f"training-runs/step-100/{SHARD}")
    weights.metadata = {"note": "changed later"}
    weights.patch()
    assert parse_source(training.name).resolve() == newest


def test_numbers_decide_between_checkpoints_of_one_moment(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage import Blob

    for step in ("step-900", "step-1000", "step-20"):
        training.write(step)
    monkeypatch.setattr(Blob, "time_created", datetime(2026, 11, 25, tzinfo=UTC))
    source = parse_source(training.name)
    source.resolve()
    assert source.found == f"{training.name}/step-1000"


def test_what_was_resolved_is_fetched_though_a_newer_one_came(
    training: Training, tmp_path: Path
) -> None:
    """`resolve` and `download` are two steps; a run is of one checkpoint."""
    commit = training.write("step-100")
    training.write("step-200", without="config.json")
    assert parse_source(training.name).resolve() == commit
    training.write("step-300")
    source = parse_source(training.name)
    record = download_model(source, commit, tmp_path)
    assert record.commit == commit and source.resolve() != commit
    training.write("step-100")  # overwritten, with the same bytes
    with pytest.raises(IntegrityError, match="has changed since"):
        download_model(parse_source(training.name), commit, tmp_path / "again")


def test_a_prefix_without_a_complete_checkpoint_is_refused(training: Training) -> None:
    training.write("step-100", without=SHARD)
    with pytest.raises(
        InputError,
        match=r"no complete checkpoint directly below it \(step-100: it lacks 1 of 3 weight files",
    ) as caught:
        check_source(training.name)
    assert caught.value.field == "model"


def test_a_checkpoint_with_others_below_it_is_itself_the_model(training: Training) -> None:
    """What a trainer leaves: the final model at the top, its checkpoints in folders."""
    training.write("step-100")
    for name in TAKEN:
        training.bucket.blob(f"training-runs/{name}").upload_from_string(training.sharded[name])
    training.write("step-200")
    source = parse_source(training.name)
    source.resolve()
    assert source.found == ""
