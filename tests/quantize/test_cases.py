"""Models that people bring, quantized for real: rightly, or refused before the work."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.models.description import describe_folder
from greenlight.models.integrity import verify_model
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import _check_result, quantize_model
from greenlight.quantize.methods import methods
from greenlight.quantize.methods.base import Job
from tests.quantize.families import make_checkpoint

pytestmark = pytest.mark.slow
CALIBRATION = Calibration(samples=4, length=64)


def edit(path: Path, **changes: Any) -> None:
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def quantize(source: Path, method: str, bits: int) -> tuple[Model, Path]:
    output = source.parent / f"{method}-{bits}"
    quantize_model(source, output, method, bits, CALIBRATION)
    return verify_model(output), output / "model"


def dtypes(folder: Path) -> set[str]:
    return {tensor.dtype for tensor in describe_folder(folder).tensors.values()}


@pytest.mark.parametrize(
    ("family", "method", "bits", "says"),
    [
        ("falcon", "bnb", 4, r"FalconLinear.*use optimum:4"),
        ("qwen2_moe", "bnb", 4, r"67% .* experts.*use optimum:4 or gptq:4"),
        ("mixtral", "w8a8", 8, r"mixture.*use optimum:8 or gptq:8"),
        ("gpt_oss", "gptq", 4, "experts of gpt_oss"),
        ("gpt2", "gptq", 4, r"Conv1D.*use optimum:4 or bnb:4"),
        ("glm4", "awq", 4, "has no gate_proj"),
        ("mamba", "gptq", 4, "state-space"),
    ],
)
def test_refused_before_the_work(
    tmp_path: Path, family: str, method: str, bits: int, says: str
) -> None:
    source = make_checkpoint(family, tmp_path / family)
    with pytest.raises(InputError, match=says):
        quantize(source, method, bits)
    assert [path.name for path in tmp_path.iterdir()] == [family], "nothing was begun"


@pytest.mark.parametrize(
    ("family", "method", "bits"),
    [
        ("mixtral", "gptq", 4),
        ("qwen3_moe", "gptq", 8),
        ("deepseek_v3", "gptq", 4),
        ("qwen3_moe", "optimum", 4),
        ("gpt2", "bnb", 4),
        ("gpt_neox", "gptq", 4),
        ("falcon", "optimum", 4),
        ("mamba", "bnb", 8),
    ],
)
def test_quantized_whole(tmp_path: Path, family: str, method: str, bits: int) -> None:
    record, _ = quantize(make_checkpoint(family, tmp_path / family), method, bits)
    assert record.quantized_share is not None and record.quantized_share > 0.98
    assert record.reload_kl < 1e-6


def test_bitsandbytes_leaves_layers_of_odd_widths(tmp_path: Path) -> None:
    """On every machine, though only some CPUs cannot compute with them in 4 bits."""
    source = make_checkpoint(
        "llama", tmp_path / "odd", hidden_size=128, head_dim=32, intermediate_size=520
    )
    with pytest.raises(InputError, match="520"):
        quantize(source, "bnb", 4)
    # k_proj and v_proj have 20 outputs: a small part of the model
    source = make_checkpoint(
        "llama",
        tmp_path / "few",
        hidden_size=320,
        num_attention_heads=16,
        num_key_value_heads=1,
        head_dim=20,
        intermediate_size=1280,
    )
    record, model = quantize(source, "bnb", 4)
    assert record.quantized_share is not None and 0.9 < record.quantized_share < 1
    kinds = describe_folder(model).tensors
    assert kinds["model.layers.0.self_attn.k_proj.weight"].dtype == "BF16"
    assert kinds["model.layers.1.self_attn.q_proj.weight"].dtype == "U8"
    assert kinds["lm_head.weight"].dtype == "BF16"


@pytest.mark.parametrize(("method", "bits"), [("bnb", 4), ("gptq", 4)])
@pytest.mark.parametrize(
    "change",
    [
        {"dtype": ..., "torch_dtype": ...},
        {"dtype": "float32", "torch_dtype": ...},
        {"dtype": ..., "torch_dtype": "float32"},
    ],
)
def test_the_type_is_that_of_the_files(
    tmp_path: Path, method: str, bits: int, change: dict[str, Any]
) -> None:
    """A config that says none, or another, made candidates in 32 bits, larger than their source."""
    source = make_checkpoint("llama", tmp_path / "llama", intermediate_size=192)
    edit(source / "config.json", **change)
    record, model = quantize(source, method, bits)
    assert "BF16" in dtypes(model) and record.bytes < sum(
        path.stat().st_size for path in source.iterdir()
    )
    saved = json.loads((model / "config.json").read_text())
    assert (saved.get("dtype") or saved.get("torch_dtype")) == "bfloat16"
    large = [t for t in describe_folder(model).tensors.values() if t.bytes > 10_000]
    assert not any(tensor.dtype == "F32" for tensor in large)


def test_odd_generation_settings_stop_nothing(tmp_path: Path) -> None:
    """transformers and optimum-cli save nothing where these contradict each other."""
    source = make_checkpoint("llama", tmp_path / "llama", intermediate_size=192)
    odd = '{"do_sample": false, "temperature": 0.7, "top_p": 0.9, "num_beams": 1, "odd": [1]}'
    (source / "generation_config.json").write_text(odd)
    for method, bits in (("bnb", 8), ("gptq", 4), ("optimum", 8)):
        _, model = quantize(source, method, bits)
        assert (model / "generation_config.json").read_text() == odd


@pytest.mark.parametrize("missing", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
@pytest.mark.parametrize(("method", "bits"), [("bnb", 4), ("gptq", 4), ("optimum", 8)])
def test_missing_weights_are_not_invented(
    tmp_path: Path, method: str, bits: int, missing: str
) -> None:
    from safetensors.torch import load_file, save_file

    source = make_checkpoint("llama", tmp_path / "llama", intermediate_size=192)
    tensors = load_file(source / "model.safetensors")
    tensors.pop(missing)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GreenlightError, match=re.escape(missing)):
        quantize(source, method, bits)
    assert not list((tmp_path / f"{method}-{bits}").iterdir())


def test_what_is_not_smaller_fails(tmp_path: Path) -> None:
    source = make_checkpoint("llama", tmp_path / "llama")
    job = Job(source, source, 16, CALIBRATION, tmp_path)
    with pytest.raises(IntegrityError, match="makes this model no smaller"):
        _check_result(methods()["bnb"], job, describe_folder(source).tensors)
