"""What a GGUF file becomes, said from its header: the checkpoint that its conversion writes."""

import json
import re
from math import prod

from greenlight.models.gguf_header import GgufHeader
from greenlight.models.gguf_tokenizer import special_tokens
from greenlight.models.known_types import known_types
from greenlight.models.safetensors_header import Tensor
from greenlight.models.source import Description

LAYER = re.compile(r"^blk\.(\d+)\.")
OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}
TYPES = {"gemma3": "gemma3_text"}
"""Types that llama.cpp calls otherwise than transformers, but for `-` and `_`."""
TRANSPOSED = ("gpt2",)
"""Types whose matrices llama.cpp keeps as (outputs, inputs), and transformers the other way."""
DTYPE, BYTES_PER_WEIGHT = "BF16", 2


def simplified(architecture: str) -> str:
    """One spelling for llama.cpp and transformers: qwen2moe and qwen2_moe."""
    return architecture.replace("-", "").replace("_", "")


def describe_gguf(name: str, file: str, header: GgufHeader) -> Description:
    """The converted model. The names of tensors are near enough to tell layers from the rest.

    Args:
        name: the source as the user named it.
    """
    settings, model_type = header.settings, _model_type(header.architecture)
    known = known_types()
    architecture = known.causal.get(model_type, "") if known else ""
    config = {
        "model_type": model_type,
        "architectures": [architecture] if architecture else [],
        "vocab_size": len(settings.get("tokenizer.ggml.tokens", ())),
        "max_position_embeddings": settings.get(f"{header.architecture}.context_length"),
    }
    tensors = {
        _name(tensor): _converted(found.shape, file, model_type in TRANSPOSED)
        for tensor, found in header.tensors.items()
    }
    texts = {"tokenizer_config.json": json.dumps(special_tokens(settings)).encode()}
    if template := settings.get("tokenizer.chat_template"):
        texts["chat_template.jinja"] = str(template).encode()
    licence = str(settings.get("general.license", ""))
    sizes = {file: header.size}
    notes = (f"converted from GGUF {header.dtype}",)
    return Description(name, config, sizes, {}, tensors, texts, notes, licence)


def _model_type(architecture: str) -> str:
    known = known_types()
    types = {simplified(each): each for each in known.causal} if known else {}
    return TYPES.get(architecture) or types.get(simplified(architecture), architecture)


def _name(tensor: str) -> str:
    return OUTSIDE.get(tensor) or LAYER.sub(r"model.layers.\1.", tensor)


def _converted(shape: tuple[int, ...], file: str, transposed: bool) -> Tensor:
    shape = shape[::-1] if transposed and len(shape) == 2 else shape
    return Tensor(DTYPE, shape, prod(shape) * BYTES_PER_WEIGHT, file)
