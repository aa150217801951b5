"""Runs in a process of its own: an adapter is merged into its base."""

import logging
from pathlib import Path

from greenlight.core.errors import GreenlightError
from greenlight.models.adapter import WEIGHTS

SHARD = "5GB"


def work(base: str, adapter: str, target: str) -> None:
    """Merge the weights and write them to a folder in the type of the base's, with the config.

    Raises:
        GreenlightError: the two do not fit each other.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    logging.captureWarnings(True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True)
    joined = PeftModel.from_pretrained(model, adapter)
    with safe_open(Path(adapter) / WEIGHTS, "pt") as file:
        given = set(file.keys())
    taken = set(get_peft_model_state_dict(joined))
    # peft leaves out what does not fit, with a warning at most.
    if strange := sorted(given ^ taken):
        raise GreenlightError(
            f"The adapter does not fit its base: {len(strange)} of its weights have no counterpart,"
            f" first {strange[0]}. Correct base_model_name_or_path in its adapter_config.json."
        )
    joined.merge_and_unload(safe_merge=True).save_pretrained(target, max_shard_size=SHARD)
