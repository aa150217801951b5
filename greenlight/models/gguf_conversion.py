"""Runs in a process of its own: a GGUF file becomes a checkpoint in safetensors."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.core.errors import GreenlightError
from greenlight.models.gguf_header import GgufTensor, open_gguf
from greenlight.models.gguf_tokenizer import (
    BYTE_LEVEL,
    begins_texts,
    build_tokenizer,
    special_tokens,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARD = "5GB"
ROPE_FACTORS = "rope_freqs.weight"


def work(file: str, target: str) -> None:
    """Dequantize the file to bfloat16 and write weights, config and tokenizer to a folder.

    Raises:
        GreenlightError: transformers does not take all of its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(file)
    header = open_gguf(path)
    settings = header.settings
    factors = _numbers(path, header.tensors.get(ROPE_FACTORS))
    place = {"gguf_file": path.name, "local_files_only": True}
    if settings["tokenizer.ggml.model"] == BYTE_LEVEL:
        tokenizer = build_tokenizer(settings)
    else:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **place)
        for name, token in special_tokens(settings).items():
            setattr(tokenizer, name, token)
    tokenizer.add_bos_token = begins_texts(settings)
    tokenizer.save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.bfloat16, **place)
    _check_weights(model, header.parameters - len(factors))
    _make_plain(model, settings, factors)
    model.save_pretrained(target, max_shard_size=SHARD)


def _numbers(path: Path, tensor: GgufTensor | None) -> list[float]:
    """The values of a tensor in 32 bits."""
    if tensor is None:
        return []
    with open(path, "rb") as data:
        data.seek(tensor.place)
        return list(struct.unpack(f"<{tensor.bytes // 4}f", data.read(tensor.bytes)))


def _check_weights(model: "PreTrainedModel", weights: int) -> None:
    """transformers leaves out what it has no name for, without a word."""
    taken = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
    if taken != weights:
        raise GreenlightError(
            f"transformers takes {taken:,} weights from the GGUF file, which holds {weights:,}, so"
            " the model would not be the same. Give the model as safetensors."
        )


def _make_plain(model: "PreTrainedModel", settings: dict[str, Any], factors: list[float]) -> None:
    """Make it an ordinary model, which may be saved, and whose config says what the file says."""
    for name in ("hf_quantizer", "quantization_method"):
        setattr(model, name, None)
    model.is_quantized = False
    for config in (model.config, model.generation_config):
        for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
            setattr(config, f"{name}_token_id", settings.get(f"tokenizer.ggml.{key}_token_id"))
    del model.config.quantization_config
    if factors:
        model.config.rope_parameters = _llama3_rope(model.config, factors)


def _llama3_rope(config: Any, factors: list[float]) -> dict[str, Any]:
    """How Llama 3 stretches its positions, which GGUF holds as a factor for each frequency.

    Raises:
        GreenlightError: it is stretched in another way.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    plain = dict(config.rope_parameters)
    base = float(plain["rope_theta"])
    config.rope_parameters = plain | {
        "rope_type": "llama3",
        "factor": max(factors),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    for place, (frequency, factor) in enumerate(zip(stretched.tolist(), factors, strict=True)):
        wanted = base ** (-place / len(factors)) / factor
        if abs(frequency - wanted) > 1e-3 * wanted:
            raise GreenlightError(
                "The GGUF file stretches positions (rope_freqs.weight) in another way than Llama 3"
                " does, which config.json could not say. Give the model as safetensors."
            )
    return dict(config.rope_parameters)
