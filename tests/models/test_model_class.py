"""The class that loads a checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.errors import IntegrityError
from greenlight.models.builtin import TINY
from greenlight.models.model_class import (
    checked_loading,
    find_model_class,
    load_model,
    weights_dtype,
)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (json.loads((TINY / "config.json").read_text()), "LlamaForCausalLM"),
        ({"model_type": "llama"}, "AutoModelForCausalLM"),
        ({"model_type": "not-shipped", "architectures": ["Odd"]}, "AutoModelForCausalLM"),
        ({"model_type": "llama", "architectures": None}, "AutoModelForCausalLM"),
    ],
)
def test_the_class_that_the_config_names(config: dict[str, Any], found: str) -> None:
    assert find_model_class(config).__name__ == found


Tensors = dict[str, Any]


def drop(tensors: Tensors) -> None:
    tensors.pop("lm_head.weight")


def add(tensors: Tensors) -> None:
    tensors["model.layers.0.mlp.extra.weight"] = tensors["model.norm.weight"].clone()


def reshape(tensors: Tensors) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:10].clone()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [(drop, "lm_head.weight"), (add, "mlp.extra.weight"), (reshape, "model.norm.weight")],
)
def test_weights_that_are_not_those_of_the_config(
    tmp_path: Path, change: Callable[[Tensors], None], says: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=says):
        load_model(folder)


@pytest.mark.slow
def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = load_model(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.slow
def test_a_class_is_as_it_was_after_checked_loading() -> None:
    kind = find_model_class(json.loads((TINY / "config.json").read_text()))
    before = kind.from_pretrained
    with checked_loading(kind):
        assert kind.from_pretrained is not before
    assert kind.from_pretrained == before


def test_the_type_is_that_of_the_files(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    for said in ({"dtype": "float32"}, {"torch_dtype": "float16"}, {}):
        config = json.loads((TINY / "config.json").read_text())
        config = {key: value for key, value in config.items() if "dtype" not in key} | said
        (folder / "config.json").write_text(json.dumps(config))
        assert weights_dtype(folder) == "bfloat16"
