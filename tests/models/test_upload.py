"""Models of local runs in a bucket: whole or not there, sent once."""

from pathlib import Path

import pytest

from greenlight.core import storage
from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.records import RECORD_FILE, Model
from greenlight.models.bucket import ArtifactSource
from greenlight.models.upload import upload_to_bucket
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.rollout.stage import make_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(
        tmp_path / "artifact", "candidate", {"config.json": b"{}", "weights.bin": b"w" * 1000}
    )


@pytest.fixture
def history(bucket) -> str:
    return f"gs://{bucket.name}/history"


def test_it_is_uploaded_once_under_its_digest(
    model: Path, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = upload_to_bucket(model, str(model), history)
    found = ArtifactSource.at(place)
    assert found and found.record == Model.load(model) and place.endswith(found.record.digest)
    assert storage.read_bytes(f"{place}/model/weights.bin") == b"w" * 1000
    monkeypatch.setattr(storage, "upload_file", lambda *_: pytest.fail("it is there already"))
    assert upload_to_bucket(model, str(model), history) == place


def test_an_upload_that_was_killed_is_no_artifact_and_is_made_again(
    model: Path, history: str
) -> None:
    place = upload_to_bucket(model, str(model), history)
    storage.delete(f"{place}/{RECORD_FILE}")  # it goes last
    storage.delete(f"{place}/model/weights.bin")
    assert ArtifactSource.at(place) is None
    assert upload_to_bucket(model, str(model), history) == place and ArtifactSource.at(place)


def test_another_model_under_that_digest_is_not_served(
    model: Path, history: str, tmp_path: Path
) -> None:
    place = upload_to_bucket(model, str(model), history)
    other = make_model(tmp_path / "other", "candidate", {"config.json": b"other"})
    storage.write_bytes(f"{place}/{RECORD_FILE}", (other / RECORD_FILE).read_bytes())
    with pytest.raises(IntegrityError, match="another model"):
        upload_to_bucket(model, str(model), history)


def test_what_lies_in_a_bucket_stays_there_and_a_folder_is_no_history(model: Path) -> None:
    assert upload_to_bucket(model, "gs://b/m", "") == "gs://b/m"
    with pytest.raises(InputError, match="history"):
        upload_to_bucket(model, str(model), str(model))
