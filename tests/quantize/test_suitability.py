"""What a method does not take is refused from config and headers alone, with a method that does."""

import re
from math import prod
from typing import Any

import pytest

from greenlight.core.errors import InputError
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.suitability import check_method_takes

DENSE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ENDS = {"model.embed_tokens.weight": (1000, 128), "lm_head.weight": (1000, 128)}
NORMS = {f"model.layers.0.{name}.weight": (128,) for name in
         ("input_layernorm", "post_attention_layernorm")}  # fmt: skip


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: Tensor("BF16", shape, 2 * prod(shape), "f") for name, shape in shapes.items()}


def dense(width: int = 128) -> dict[str, tuple[int, ...]]:
    layers = {f"model.layers.0.{name}.weight": (width, width) for name in DENSE}
    return {**ENDS, **NORMS, **layers}


def refusal(method: str, bits: int, family: str, shapes: dict[str, tuple[int, ...]]) -> str:
    config: dict[str, Any] = {"model_type": family}
    try:
        check_method_takes(method, bits, config, tensors(shapes))
    except InputError as error:
        assert error.field == "method"
        return str(error)
    return ""


EXPERTS = {f"model.layers.0.mlp.experts.{number}.up_proj.weight": (512, 128) for number in range(4)}
FUSED = {"model.layers.0.mlp.experts.gate_up_proj": (4, 128, 1024)}
ROUTER = {"model.layers.0.mlp.gate.weight": (4, 128)}
STATE_SPACE = {"model.layers.0.mixer.A_log": (128, 16)}


@pytest.mark.parametrize("method", ["bnb", "gptq", "awq", "w8a8", "optimum", "smallest", "none"])
def test_an_ordinary_model_is_taken(method: str) -> None:
    bits = 8 if method == "w8a8" else 4
    assert not refusal(method, bits, "llama", dense())


@pytest.mark.parametrize(
    ("method", "bits", "family", "shapes", "says"),
    [
        ("bnb", 4, "falcon", dense(), r"FalconLinear.*use optimum:4"),
        ("gptq", 4, "falcon", dense(), r"FalconLinear.*use optimum:4"),
        ("gptq", 4, "gpt2", dense(), r"Conv1D.*use optimum:4 or bnb:4"),
        ("bnb", 4, "mixtral", dense() | EXPERTS, r"\d\d% .* experts.*use optimum:4 or gptq:4"),
        ("bnb", 8, "qwen3_moe", dense() | EXPERTS, r"experts.*use optimum:8 or gptq:8"),
        ("bnb", 4, "granitemoe", dense() | FUSED, r"experts.*use optimum:4"),
        ("gptq", 4, "granitemoe", dense() | FUSED, r"experts of granitemoe.*use optimum:4"),
        ("w8a8", 8, "mixtral", dense() | EXPERTS, r"mixture.*use optimum:8 or gptq:8"),
        ("awq", 4, "qwen2_moe", dense() | EXPERTS, r"mixture.*use optimum:4 or gptq:4"),
        ("optimum", 4, "gpt_oss", dense() | FUSED, r"32 bits.*use none"),
        ("optimum", 8, "deepseek_v3", dense() | EXPERTS, r"does not export.*use gptq:8"),
        ("smallest", 4, "jamba", dense() | EXPERTS | STATE_SPACE, r"does not export.*use none"),
        ("bnb", 4, "llama", dense(72), r"multiple of 32 .*has 72 and 72; use gptq:4"),
        ("bnb", 4, "llama", dense(96), r"of 64 inputs.*has 96 and 96; use optimum:4"),
        ("optimum", 4, "llama", dense(72), r"groups of 32 .*has 72; use gptq:4"),
        ("gptq", 4, "mamba", dense() | STATE_SPACE, r"state-space.*use optimum:4 or bnb:4"),
        ("w8a8", 8, "olmo2", {k: v for k, v in dense().items() if "input_l" not in k},
         r"has no input_layernorm; use optimum:8"),
        ("awq", 4, "phi", {k: v for k, v in dense().items() if "o_proj" not in k},
         r"scales v_proj, o_proj together.*has no o_proj"),
    ],
)  # fmt: skip
def test_what_it_does_not_take_is_refused(
    method: str, bits: int, family: str, shapes: dict[str, tuple[int, ...]], says: str
) -> None:
    assert re.search(says, refusal(method, bits, family, shapes))


@pytest.mark.parametrize(
    ("method", "bits", "family", "shapes"),
    [
        ("gptq", 4, "mixtral", dense() | EXPERTS | ROUTER),
        ("gptq", 8, "deepseek_v3", dense() | EXPERTS | ROUTER),
        ("optimum", 4, "mixtral", dense() | EXPERTS),
        ("optimum", 4, "falcon", dense()),
        # room for small layers that it leaves
        ("bnb", 4, "llama", dense() | ROUTER),
        ("bnb", 8, "llama", dense(72)),
        ("bnb", 4, "gpt2", dense()),
        ("w8a8", 8, "bloom", {k: v for k, v in dense().items() if "gate_proj" not in k}),
        # embeddings do not count
        ("bnb", 4, "llama", dense() | {"model.embed_per_layer.weight": (100_000, 72)}),
    ],
)
def test_what_it_takes_is_taken(
    method: str, bits: int, family: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    assert not refusal(method, bits, family, shapes)


def test_a_matrix_of_gpt2_is_read_the_other_way() -> None:
    odd = dense() | {"transformer.h.0.attn.c_attn.weight": (128, 4008)}
    assert "4008 and 128" in refusal("bnb", 4, "gpt2", odd)
    assert not refusal("bnb", 4, "llama", odd | {"transformer.h.0.attn.c_attn.weight": (128, 4096)})
