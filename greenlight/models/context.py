"""How many tokens a model can read: the one place that knows by which names a config says it."""

from collections.abc import Mapping
from typing import Any


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the language model, where that is a part."""
    for name in ("text_config", "llm_config", "language_config"):
        if isinstance(part := config.get(name), dict):
            return part
    return config


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that prompt and output may have together, from the content of a config.json. None
    where it does not say, and the family has no known length either.
    """
    found = text_config(config)
    for name in ("max_position_embeddings", "n_positions", "seq_length"):
        if isinstance(length := found.get(name), int):
            return length
    return None
