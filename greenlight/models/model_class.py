"""The transformers class that loads a checkpoint."""

import importlib
from typing import Any


def find_model_class(config: dict[str, Any]) -> Any:
    """The class that config.json names, from its own module, which is faster to import than the
    table of all models; from that table where the class is not in its usual module. Quantizing,
    evaluation and serving load with it, so that all three compute the same.

    Args:
        config: the checkpoint's config.json.
    """
    try:
        kind = config["model_type"]
        return getattr(
            importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"),
            config["architectures"][0],
        )
    except (KeyError, IndexError, TypeError, ImportError, AttributeError):
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM
