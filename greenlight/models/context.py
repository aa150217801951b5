"""How many tokens a model can read: the one place that knows by which names a config says it."""

from collections.abc import Mapping
from typing import Any

PARTS = ("text_config", "llm_config", "language_config")
NAMES = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "seq_length",
    "seq_len",
)
MOST = 10**15
"""Larger numbers stand for "no limit" (transformers writes 10**30)."""
UNSAID_CONTEXT = 2048
"""Tokens for the families of UNSAID, where a config.json names no length: what BLOOM, Falcon and
Mamba were trained on, and what vLLM takes.
"""
UNSAID = ("bloom", "falcon", "falcon_mamba", "mamba", "mamba2", "mpt", "rwkv", "xlstm")
"""Families that compute texts of any length (a recurrent state, or ALiBi), or whose published
configs leave out the length. Any other without one has a table of positions of unknown size.
"""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the language model, where that is a part."""
    for name in PARTS:
        if isinstance(part := config.get(name), dict):
            return part
    return config


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that prompt and output may have together, from the content of a config.json. None
    where it does not say, and the family has no known length either.

    Where several names are there, the smallest counts, except that `model_max_length` overrides
    them (Command R), as in vLLM. max_position_embeddings is the length after any scaling of rotary
    positions, YaRN's too, as in transformers and vLLM.
    """
    found = text_config(config)
    if (length := _tokens(found.get("model_max_length"))) is not None:
        return length
    lengths = [length for name in NAMES if (length := _tokens(found.get(name))) is not None]
    if not lengths:
        return UNSAID_CONTEXT if found.get("model_type") in UNSAID else None
    return min(lengths)


def _tokens(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_length = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST
    return value if is_length else None
