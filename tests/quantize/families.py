"""Small random checkpoints of other model families, with the built-in model's tokenizer."""

import shutil
from pathlib import Path
from typing import Any

from greenlight.models.builtin import TINY

SIZE = {
    "vocab_size": 2048,
    "hidden_size": 64,
    # no multiple of 64: layers that a method's usual group size does not divide
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EVEN = SIZE | {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
MIXTURE = EVEN | EXPERTS | {"moe_intermediate_size": 128, "shared_expert_intermediate_size": 128}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SIZE),
    "qwen2": ("Qwen2", SIZE),
    "qwen3": ("Qwen3", SIZE),
    "gemma2": ("Gemma2", SIZE),
    "gemma3_text": ("Gemma3", SIZE),
    "qwen2_moe": ("Qwen2Moe", MIXTURE),
    "qwen3_moe": ("Qwen3Moe", MIXTURE),
    "mixtral": ("Mixtral", EVEN | EXPERTS | {"sliding_window": None}),
    "gpt_oss": ("GptOss", EVEN | EXPERTS),
    "granitemoe": ("GraniteMoe", EVEN | EXPERTS),
    "deepseek_v3": (
        "DeepseekV3",
        MIXTURE
        | {"num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1}
        | {"kv_lora_rank": 32, "q_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32}
        | {"v_head_dim": 32, "first_k_dense_replace": 1, "head_dim": 16},
    ),
    "falcon": (
        "Falcon",
        {"vocab_size": 2048, "hidden_size": 128, "num_hidden_layers": 2}
        | {"num_attention_heads": 4, "max_position_embeddings": 512},
    ),
    "gpt_neox": ("GPTNeoX", EVEN),
    "glm4": ("Glm4", EVEN),
    "mamba": (
        "Mamba",
        {"vocab_size": 2048, "hidden_size": 256, "num_hidden_layers": 2}
        | {"max_position_embeddings": 512},
    ),
    "gpt2": (
        "GPT2",
        {"vocab_size": 2048, "n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 512},
    ),
}
CLASSES = {"gpt2": "GPT2LMHeadModel"}


def make_checkpoint(family: str, folder: Path, **changes: Any) -> Path:
    """Save a random model of about 0.3 million parameters as a plain checkpoint folder.

    Args:
        changes: of the family's settings.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    name, settings = FAMILIES[family]
    kind = "Gemma3TextConfig" if family == "gemma3_text" else f"{name}Config"
    config = getattr(transformers, kind)(**settings | changes)
    model_class = getattr(transformers, CLASSES.get(family, f"{name}ForCausalLM"))
    model = model_class(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "A_log" not in name and "conv" not in name:
            # predictions that differ from uniform, so that damage shows
            torch.nn.init.normal_(parameter, std=0.12)
    model.save_pretrained(folder)
    for path in TINY.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder
