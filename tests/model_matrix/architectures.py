"""The architectures of the matrix: transformers' own classes, two small layers with random weights,
in 16 bits, with the built-in model's tokenizer.
"""

import shutil
from pathlib import Path
from typing import Any

from greenlight.models.builtin import TINY

ENDS = {"vocab_size": 2048, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
SIZE = ENDS | {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
DENSE = SIZE | {"intermediate_size": 256, "max_position_embeddings": 512}
GROUPED = DENSE | {"num_key_value_heads": 2}
HEADS = GROUPED | {"head_dim": 32}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
MIXTURE = EXPERTS | {"moe_intermediate_size": 128, "shared_expert_intermediate_size": 128}
OLD = ENDS | {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 512}
LATENT = {
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 64,
    # as DeepSeek has them: vLLM has no kernels for others
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
}
# By model_type: the beginning of the classes' names, and the settings.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", HEADS),
    "qwen2_moe": ("Qwen2Moe", GROUPED | MIXTURE),
    "qwen3_moe": ("Qwen3Moe", HEADS | MIXTURE),
    "mistral": ("Mistral", GROUPED),
    "mixtral": ("Mixtral", GROUPED | EXPERTS | {"sliding_window": None}),
    "gemma2": ("Gemma2", HEADS),
    "gemma3_text": ("Gemma3", HEADS),
    "phi3": ("Phi3", GROUPED),
    "smollm3": ("SmolLM3", GROUPED),
    "olmo2": ("Olmo2", GROUPED),
    # random weights give no clear choice where logits are scaled down
    "cohere": ("Cohere", GROUPED | {"logit_scale": 1.0}),
    "granite": ("Granite", GROUPED),
    "starcoder2": ("Starcoder2", GROUPED),
    "stablelm": ("StableLm", GROUPED),
    "gpt2": ("GPT2", OLD),
    "gptj": ("GPTJ", OLD | {"rotary_dim": 16}),
    "gpt_neox": ("GPTNeoX", DENSE),
    "opt": ("OPT", DENSE | {"ffn_dim": 256, "word_embed_proj_dim": 128}),
    "bloom": ("Bloom", ENDS | {"hidden_size": 128, "n_layer": 2, "n_head": 4, "seq_length": 512}),
    "falcon": ("Falcon", SIZE | {"max_position_embeddings": 512}),
    "mpt": ("Mpt", ENDS | {"d_model": 128, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}),
    "deepseek_v2": ("DeepseekV2", DENSE | MIXTURE | LATENT),
    "mamba": ("Mamba", ENDS | {"hidden_size": 128, "num_hidden_layers": 2, "state_size": 16}),
    "gpt_oss": ("GptOss", HEADS | EXPERTS),
}
SIXTH = ("qwen3", "gpt2", "mixtral", "falcon")
"""What `make test` runs: those that broke most."""
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
MODELS = {"GPT2": "GPT2LMHeadModel"}
SPREAD = 2.0
"""Standard deviation of logits, so that a model has clear choices, which golden answers need."""


def make_model(architecture: str, folder: Path) -> None:
    """Save a random model of about half a million parameters."""
    import torch
    import transformers

    torch.manual_seed(0)
    name, settings = ARCHITECTURES[architecture]
    config = getattr(transformers, CONFIGS.get(name, f"{name}Config"))(**settings)
    model = getattr(transformers, MODELS.get(name, f"{name}ForCausalLM"))(config)
    head = model.get_output_embeddings().weight
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1 and "conv" not in key and "A_log" not in key:
            spread = SPREAD if parameter is head else 1.0
            torch.nn.init.normal_(parameter, std=spread * parameter.shape[-1] ** -0.5)
    model.to(torch.bfloat16).save_pretrained(folder)
    for path in TINY.glob("tokenizer*"):
        shutil.copyfile(path, folder / path.name)
