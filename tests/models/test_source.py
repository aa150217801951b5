"""Bad sources are refused at once, by name, without torch and, where they are local, without a
network.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.bucket import BucketSource
from greenlight.models.builtin import TINY
from greenlight.models.folder import FolderSource
from greenlight.models.hub import HubSource
from greenlight.models.integrity import content_digest, describe_files
from greenlight.models.open_source import check_source, parse_source
from tests.models.conftest import TAKEN, safetensors, tokenizer
from tests.models.hub_server import COMMIT, HubServer


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("org/name", HubSource),
        ("Qwen/Qwen2.5-0.5B", HubSource),
        ("gs://bucket/a/b", BucketSource),
        ("builtin:tiny", FolderSource),
        ("./x", FolderSource),
        ("/x", FolderSource),
    ],
)
def test_the_name_tells_the_kind(model: str, kind: type) -> None:
    source = parse_source(model)
    assert isinstance(source, kind)
    assert source.name == model


def test_a_folder_that_exists_wins_over_a_hub_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parents[1])
    assert isinstance(parse_source(f"{folder.parent.name}/{folder.name}"), FolderSource)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "gpt2",
        "a/b/c",
        "org/..",
        "org/na me",
        "http://example.com/x",
        "s3://bucket/x",
        "gs://",
        "gs://UPPER/x",
        "builtin:large",
        "x" * 5000,
        "a\0b",
    ],
)
def test_names_that_are_no_source_are_refused(model: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_source(model)
    assert caught.value.field == "model"


@pytest.mark.parametrize("model", ["builtin:tiny", "gs://bucket/x", "/x"])
def test_only_the_hub_has_revisions(model: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_source(model, "main")
    assert caught.value.field == "revision"


def test_the_built_in_model_and_a_whole_folder_pass(folder: Path) -> None:
    check_source("builtin:tiny")
    check_source(str(folder))


def _rewrite_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def _only_pickles(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()


SHARD = "model-00002-of-00003.safetensors"
DAMAGES = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "config is not JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "config.json is not JSON",
    ),
    "config is not text": (
        lambda folder: (folder / "config.json").write_bytes(b"\xfe\x00"),
        "config.json is not JSON",
    ),
    "config is a list": (
        lambda folder: (folder / "config.json").write_text("[]"),
        "not a JSON object",
    ),
    "config without type": (lambda folder: (folder / "config.json").write_text("{}"), "model_type"),
    "already quantized": (
        lambda folder: _rewrite_config(folder, quantization_config={"quant_method": "gptq"}),
        "already quantized .gptq.",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    "pickles only": (_only_pickles, "pickled"),
    "a shard is missing": (lambda folder: (folder / SHARD).unlink(), f"first {SHARD}"),
    "no index": (
        lambda folder: (folder / "model.safetensors.index.json").unlink(),
        "index.json is missing",
    ),
    "index is broken": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
        "no weight_map",
    ),
    "a tensor is elsewhere": (
        lambda folder: (folder / SHARD).write_bytes(safetensors({"other": 10})),
        "places layer.2",
    ),
    "a shard is truncated": (
        lambda folder: os.truncate(folder / SHARD, 1000),
        "has 1000 bytes where its header says",
    ),
    "a shard is cut in its header": (
        lambda folder: os.truncate(folder / SHARD, 20),
        "not safetensors or was cut short",
    ),
    "a shard is empty": (
        lambda folder: os.truncate(folder / SHARD, 0),
        "not safetensors or was cut short",
    ),
    "a shard has a broken header": (
        lambda folder: (folder / SHARD).write_bytes((2).to_bytes(8, "little") + b"{x"),
        "broken header",
    ),
    "a header is no object": (
        lambda folder: (folder / SHARD).write_bytes((2).to_bytes(8, "little") + b"[]"),
        "broken header",
    ),
    "a shard has more than its header says": (
        lambda folder: (folder / SHARD).write_bytes((folder / SHARD).read_bytes() + b"x"),
        "where its header says",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_loaded_is_refused_by_name(folder: Path, damage: str) -> None:
    do, said = DAMAGES[damage]
    do(folder)
    with pytest.raises(InputError, match=said) as caught:
        check_source(str(folder))
    assert (caught.value.field, caught.value.value) == ("model", str(folder))


def test_no_folder_and_a_file_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_source(str(folder / "nowhere"))
    with pytest.raises(InputError, match="it is a file"):
        check_source(str(folder / "config.json"))


def test_an_adapter_and_another_format_are_named(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()
    (folder / "pytorch_model.bin").unlink()
    (folder / "training_args.bin").unlink()
    with pytest.raises(InputError, match=r"model\.gguf"):
        check_source(str(folder))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="adapter"):
        check_source(str(folder))


def test_a_local_check_is_quick_and_imports_nothing_heavy() -> None:
    heavy = (
        "torch",
        "transformers",
        "numpy",
        "requests",
        "httpx",
        "huggingface_hub",
        "google.cloud.storage",
        "kfp",
    )
    program = (
        "import sys; from greenlight.models.open_source import check_source, parse_source\n"
        "check_source('builtin:tiny'); parse_source('builtin:tiny').resolve()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


# What a folder resolves to


def test_a_folder_is_named_by_the_content_that_would_be_taken(folder: Path) -> None:
    commit = parse_source(str(folder)).resolve()
    taken = {name: entry for name, entry in describe_files(folder).items() if name in TAKEN}
    assert commit == content_digest(taken)
    (folder / "notes.txt").write_text("not part of the model")
    (folder / "pytorch_model.bin").write_bytes(b"other")
    assert parse_source(str(folder)).resolve() == commit


def test_an_edit_that_keeps_size_and_time_is_seen(folder: Path) -> None:
    """The digest is remembered between runs; a file whose modification time was set back is read
    again all the same.
    """
    path = folder / "tokenizer.json"
    first = parse_source(str(folder)).resolve()
    time.sleep(2.1)  # so that the files count as settled
    assert parse_source(str(folder)).resolve() == first
    memory = json.loads(
        (Path(os.environ["XDG_CACHE_HOME"]) / "greenlight" / "digests.json").read_text()
    )
    assert str(path.resolve()) in memory
    before = path.stat()
    path.write_bytes(tokenizer("b"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert parse_source(str(folder)).resolve() != first


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', '{"x": [1]}'])
def test_a_broken_memory_is_ignored(folder: Path, content: str) -> None:
    memory = Path(os.environ["XDG_CACHE_HOME"]) / "greenlight" / "digests.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(content)
    assert len(parse_source(str(folder)).resolve()) == 64


def test_the_built_in_model_resolves_to_its_content() -> None:
    assert parse_source("builtin:tiny").resolve() == content_digest(describe_files(TINY))


# The hub


def test_a_hub_model_passes_after_one_listing(hub: HubServer) -> None:
    check_source("org/name")
    assert [asked.path for asked in hub.asked if "/models/" in asked.path] == [
        "/api/models/org/name"
    ]
    assert parse_source("org/name").resolve() == COMMIT
    assert parse_source("org/name", "main").resolve() == COMMIT


def test_a_revision_that_does_not_exist_is_refused(hub: HubServer) -> None:
    with pytest.raises(InputError) as caught:
        check_source("org/name", "v9")
    assert (caught.value.field, caught.value.value) == ("revision", "v9")


def test_a_hub_model_that_does_not_exist_is_refused(hub: HubServer) -> None:
    with pytest.raises(InputError, match="set HF_TOKEN") as caught:
        check_source("org/other")
    assert caught.value.field == "model"


def test_a_pickle_only_hub_model_is_refused(hub: HubServer) -> None:
    hub.files = {
        name: data for name, data in hub.files.items() if not name.endswith(".safetensors")
    }
    with pytest.raises(InputError, match="pickled"):
        check_source("org/name")


def test_a_private_model_needs_the_token_and_the_token_is_never_shown(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.token = "hf_secret"
    with pytest.raises(InputError, match="set HF_TOKEN"):
        check_source("org/name")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="does not reach it") as caught:
        check_source("org/name")
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check_source("org/name")
    assert "hf_secret" not in caplog.text


def test_a_gated_model_without_a_token_is_refused(hub: HubServer) -> None:
    hub.gated = True
    with pytest.raises(InputError, match="gated"):
        check_source("org/name")


def test_a_hub_that_is_away_is_an_error_but_not_of_the_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(GreenlightError, match="HF_ENDPOINT") as caught:
        check_source("org/name")
    assert not isinstance(caught.value, InputError)
