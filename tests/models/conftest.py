import json
from pathlib import Path

import pytest

from tests.models.hub_server import HubServer


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the caches and tokens of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)


def safetensors(values: dict[str, int], dtype: str = "BF16") -> bytes:
    """A file of tensors filled with zeros; `values` says how many bytes each has."""
    header, offset = {}, 0
    for name, size in values.items():
        header[name] = {
            "dtype": dtype,
            "shape": [size // (4 if dtype == "F32" else 2)],
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(offset)


def tokenizer(word: str = "a") -> bytes:
    """A tokenizer.json that knows one word, of one letter, so that all are of one size."""
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {word: 0}, "unk_token": word},
        }
    ).encode()


@pytest.fixture
def sharded() -> dict[str, bytes]:
    """A small checkpoint in three shards, beside much that must never be taken."""
    shards = {
        f"model-{number:05}-of-00003.safetensors": safetensors({f"layer.{number}": 200_000})
        for number in (1, 2, 3)
    }
    places = {f"layer.{number}": f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)}
    return {
        **shards,
        "config.json": json.dumps(
            {
                "model_type": "llama",
                "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": 256,
            }
        ).encode(),
        "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": places}).encode(),
        "tokenizer.json": tokenizer(),
        "chat_template.jinja": b"{{ messages }}",
        "LICENSE": b"Apache-2.0",
        "pytorch_model.bin": b"pickle",
        "modeling_own.py": b"raise SystemExit",
        "consolidated.safetensors": safetensors({"twice": 100}),
        "original/consolidated.00.pth": b"pickle",
        "training_args.bin": b"pickle",
        "model.onnx": b"",
        "model.gguf": b"",
    }


TAKEN = {
    "LICENSE",
    "chat_template.jinja",
    "config.json",
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
}


@pytest.fixture
def folder(tmp_path: Path, sharded: dict[str, bytes]) -> Path:
    """The checkpoint as a local folder."""
    root = tmp_path / "checkpoint"
    for name, data in sharded.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def hub(sharded: dict[str, bytes], monkeypatch: pytest.MonkeyPatch):
    with HubServer(dict(sharded)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
