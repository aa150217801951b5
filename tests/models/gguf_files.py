"""GGUF files of the built-in model, as llama.cpp writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from safetensors.torch import load_file

from greenlight.models.builtin import TINY

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CONFIG = json.loads((TINY / "config.json").read_text())
HEADS = {"q_proj": CONFIG["num_attention_heads"], "k_proj": CONFIG["num_key_value_heads"]}


def write_gguf(
    path: Path,
    dtype: str = "F32",
    architecture: str = "llama",
    split: str = "gpt-2",
    more: dict[str, np.ndarray] | None = None,
    **settings: Any,
) -> Path:
    """Write the built-in model.

    Args:
        dtype: of the matrices, such as Q8_0; vectors stay as they are.
        split: how the tokenizer splits texts, as llama.cpp calls it.
        more: tensors to add.
        settings: to add, numbers only, with `_` for the first dot.
    """
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(CONFIG["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(CONFIG["head_dim"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    for name, value in settings.items():
        writer.add_uint32(name.replace("_", ".", 1), value)
    _add_tokenizer(writer, split)
    for name, tensor in load_file(TINY / "model.safetensors").items():
        _add_tensor(writer, name, tensor, dtype)
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, split: str) -> None:
    saved = json.loads((TINY / "tokenizer.json").read_text())
    vocabulary = saved["model"]["vocab"]
    special = [token["content"] for token in saved["added_tokens"]]
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in saved["model"]["merges"]])
    writer.add_bos_token_id(CONFIG["bos_token_id"])
    writer.add_eos_token_id(CONFIG["eos_token_id"])
    writer.add_pad_token_id(CONFIG["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((TINY / "chat_template.jinja").read_text())


def _add_tensor(writer: GGUFWriter, name: str, tensor: torch.Tensor, dtype: str) -> None:
    values = tensor.float().numpy()
    for part, heads in HEADS.items():
        if part in name:  # llama.cpp turns pairs of halves into pairs of neighbours
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
    for part, theirs in NAMES.items():
        name = name.replace(part, theirs)
    name = name.replace("model.layers.", "blk.")
    values = np.ascontiguousarray(values)
    if values.ndim == 1 or dtype == "F32":
        writer.add_tensor(name, values)
    else:
        kind = GGMLQuantizationType[dtype]
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
