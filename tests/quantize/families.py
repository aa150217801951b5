"""Small random checkpoints of other model families, with the built-in model's tokenizer."""

import shutil
from pathlib import Path

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
FAMILIES = {"qwen2": "Qwen2", "qwen3": "Qwen3", "gemma2": "Gemma2", "gemma3_text": "Gemma3"}


def make_checkpoint(family: str, folder: Path) -> Path:
    """Save a random model of about 0.3 million parameters as a plain checkpoint folder."""
    import torch
    import transformers

    torch.manual_seed(0)
    name = "Gemma3TextConfig" if family == "gemma3_text" else f"{FAMILIES[family]}Config"
    config = getattr(transformers, name)(**SIZE)
    model = getattr(transformers, f"{FAMILIES[family]}ForCausalLM")(config).to(torch.bfloat16)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            # predictions that differ from uniform, so that damage shows
            torch.nn.init.normal_(parameter, std=0.12)
    model.save_pretrained(folder)
    for path in TINY.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder
