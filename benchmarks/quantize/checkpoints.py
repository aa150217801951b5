"""Random Llama checkpoints of a given size, with the built-in model's tokenizer. They say nothing,
and take as much to quantize as any.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.models.builtin import TINY

if TYPE_CHECKING:
    import torch

VOCABULARY = 32_000
"""As Llama 2's. The tokenizer uses the first 2,048."""
SHARD_BYTES = 500_000_000


@dataclass(frozen=True)
class Shape:
    """Widths are multiples of 128, the usual group of 4-bit weights; heads of 64."""

    hidden: int
    intermediate: int
    layers: int

    @property
    def layer_parameters(self) -> int:
        """Of one decoder layer: four matrices of attention, with 4 heads for keys and values, and
        three of the MLP.
        """
        return self.hidden * (2 * self.hidden + 2 * 4 * 64 + 3 * self.intermediate)


SHAPES = {"0.1": Shape(768, 2048, 12), "0.5": Shape(1280, 3456, 24), "1.5": Shape(2048, 6400, 28)}
"""By billions of parameters."""


def make_checkpoint(
    folder: Path, shape: Shape, vocabulary: int = VOCABULARY, shard_bytes: int = SHARD_BYTES
) -> int:
    """Write a bfloat16 checkpoint, one file after the other, so that memory holds one file; returns
    the number of its parameters.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // 64,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder / name)
    with torch.device("meta"):
        shapes = {
            name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()
        }
    torch.manual_seed(1)
    parts = _parts(shapes, shard_bytes)
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(
            {name: _random(shapes[name]) for name in part}, folder / file, metadata={"format": "pt"}
        )
        places |= dict.fromkeys(part, file)
    parameters = sum(shape.numel() for shape in shapes.values())
    index = {
        "metadata": {"total_parameters": parameters, "total_size": 2 * parameters},
        "weight_map": places,
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return parameters


def _parts(shapes: dict[str, "torch.Size"], shard_bytes: int) -> list[list[str]]:
    """The names of the tensors of each file."""
    parts: list[list[str]] = []
    held = shard_bytes
    for name, shape in shapes.items():
        size = 2 * shape.numel()
        if held + size > shard_bytes:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    return parts


def _random(shape: "torch.Size") -> "torch.Tensor":
    """Norms of one; matrices of the deviation that Llama is initialized with."""
    import torch

    return (
        torch.ones(shape, dtype=torch.bfloat16)
        if len(shape) == 1
        else torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02)
    )
