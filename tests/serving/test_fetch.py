"""MODEL_ID on the hub or in a bucket: fetched once, verified, kept."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.models.integrity import content_digest, describe_files
from greenlight.serving.artifact import Artifact
from greenlight.serving.fetch import main, on_this_machine
from greenlight.serving.settings import Settings
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.models.hub_server import HubServer
from tests.serving.server_process import ROOT, TINY

FILES = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}


def settings(tmp_path: Path, model: str, revision: str = "") -> Settings:
    return Settings(model_id=model, model_revision=revision, model_cache=str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with HubServer(dict(FILES)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def artifact(bucket, tmp_path: Path) -> str:
    """A quantized Model artifact as a run leaves it, in a bucket."""
    folder = tmp_path / "artifact/model"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes(FILES[name])
    (folder / "openvino_model.xml").write_text("<net/>")
    (folder / "openvino_model.bin").write_bytes(bytes(100_000))
    files = describe_files(folder)
    record = Model(
        role="candidate",
        source="org/name",
        commit="c",
        format="openvino",
        method="optimum",
        bits=8,
        digest=content_digest(files),
        files=files,
        bytes=1,
    )
    record.save(folder.parent)
    for path in folder.parent.rglob("*"):
        if path.is_file():
            bucket.blob(f"builds/{path.relative_to(folder.parent)}").upload_from_filename(str(path))
    return f"gs://{bucket.name}/builds"


def test_a_folder_is_taken_where_it_lies(tmp_path: Path) -> None:
    assert on_this_machine(settings(tmp_path, str(TINY))) == str(TINY)
    assert not (tmp_path / "cache").exists()


def test_a_hub_model_is_fetched_once(hub: HubServer, tmp_path: Path) -> None:
    folder = on_this_machine(settings(tmp_path, "org/name"))
    assert Artifact.open(folder).source == "org/name"
    fetched = [asked.path for asked in hub.asked if "/resolve/" in asked.path]
    assert on_this_machine(settings(tmp_path, "org/name")) == folder
    assert [asked.path for asked in hub.asked if "/resolve/" in asked.path] == fetched


def test_a_quantized_hub_model_is_served_if_an_engine_can(hub: HubServer, tmp_path: Path) -> None:
    config = json.loads(FILES["config.json"])
    hub.files["config.json"] = json.dumps(
        config | {"quantization_config": {"quant_method": "compressed-tensors"}}
    ).encode()
    assert (
        Artifact.open(on_this_machine(settings(tmp_path, "org/name"))).format
        == "compressed-tensors"
    )
    hub.files["config.json"] = json.dumps(
        config | {"quantization_config": {"quant_method": "aqlm"}}
    ).encode()
    with pytest.raises(InputError, match="aqlm"):
        on_this_machine(settings(tmp_path / "other", "org/name"))


def test_an_artifact_in_a_bucket(artifact: str, tmp_path: Path) -> None:
    found = Artifact.open(on_this_machine(settings(tmp_path, artifact)))
    assert found.format == "openvino" and found.source == "org/name"
    assert found.digest == Model.load(tmp_path / "artifact").digest
    assert (found.folder / "openvino_model.bin").read_bytes() == bytes(100_000)


def test_an_artifact_with_other_bytes_is_refused(artifact: str, bucket, tmp_path: Path) -> None:
    bucket.blob("builds/model/openvino_model.bin").upload_from_string(bytes(99_999) + b"x")
    with pytest.raises(IntegrityError, match=r"openvino_model\.bin"):
        on_this_machine(settings(tmp_path, artifact))


def test_an_artifact_that_lacks_a_file_is_refused(artifact: str, bucket, tmp_path: Path) -> None:
    bucket.blob("builds/model/tokenizer.json").delete()
    with pytest.raises(IntegrityError, match=r"tokenizer\.json"):
        on_this_machine(settings(tmp_path, artifact))


def test_a_changed_artifact_is_fetched_again(artifact: str, bucket, tmp_path: Path) -> None:
    folder = Path(on_this_machine(settings(tmp_path, artifact)))
    (folder / "model/openvino_model.bin").write_bytes(b"cut off")
    on_this_machine(settings(tmp_path, artifact))
    assert (folder / "model/openvino_model.bin").read_bytes() == bytes(100_000)


@pytest.mark.parametrize(
    ("model", "revision", "words"),
    [
        ("gs://Upper/x", "", ["MODEL_ID", "gs://"]),
        ("org/no--such", "", ["MODEL_ID", "hub id"]),
        ("gs://some-bucket/x", "v1", ["MODEL_REVISION", "v1"]),
    ],
)
def test_what_cannot_be_fetched_names_the_setting(
    tmp_path: Path, model: str, revision: str, words: list[str]
) -> None:
    with pytest.raises(GreenlightError) as refused:
        on_this_machine(settings(tmp_path, model, revision))
    assert all(word in str(refused.value) for word in words)


def test_an_init_container_brings_the_model_before_the_server_starts(
    artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = Model.load(tmp_path / "artifact").digest
    folder = str(tmp_path / "models/model")
    assert main(folder, {"MODEL_URI": artifact, "MODEL_DIGEST": digest}) == 0
    assert Artifact.open(folder).digest == digest
    assert main(folder, {"MODEL_URI": artifact, "MODEL_DIGEST": "0" * 64}) == 1
    assert "not 000000000000" in capsys.readouterr().err
    assert main(folder, {}) == 2


def test_an_init_container_links_to_a_mounted_bucket(
    artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount, folder = tmp_path / "bucket", tmp_path / "models/model"
    prefix = artifact.removeprefix("gs://").partition("/")[2]
    (mount / prefix).parent.mkdir(parents=True)
    (tmp_path / "artifact").rename(mount / prefix)
    settings = {
        "MODEL_URI": artifact,
        "MODEL_DIGEST": Model.load(mount / prefix).digest,
        "MODEL_MOUNT": str(mount),
    }
    for _ in range(2):  # an init container may run again
        assert main(str(folder), settings) == 0
    assert folder.is_symlink() and Artifact.open(str(folder)).digest == settings["MODEL_DIGEST"]
    assert main(str(folder), settings | {"MODEL_URI": "org/name"}) == 2
    next((mount / prefix / "model").glob("*.bin")).write_bytes(b"changed")
    assert main(str(folder), settings) == 1
    assert "is not what its record says" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["greenlight.serving"], ["greenlight.serving.fetch", "model"]])
def test_sigterm_ends_what_still_fetches(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = {
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
            "MODEL_CACHE": str(tmp_path),
            "PORT": "0",
        }
        environment = (
            os.environ
            | hub
            | {"MODEL_ID": "org/name", "MODEL_URI": "org/name", "PYTHONPATH": str(ROOT)}
        )
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        silent.accept()
        process.terminate()
        assert process.wait(5) == 143, (
            "it does not handle the signal, and would ignore it as the first process of a container"
        )
