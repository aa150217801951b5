"""The class that loads a checkpoint."""

import json
from typing import Any

import pytest

from greenlight.models.builtin import TINY
from greenlight.models.model_class import find_model_class


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (json.loads((TINY / "config.json").read_text()), "LlamaForCausalLM"),
        ({"model_type": "llama"}, "AutoModelForCausalLM"),
        ({"model_type": "not-shipped", "architectures": ["Odd"]}, "AutoModelForCausalLM"),
        ({"model_type": "llama", "architectures": None}, "AutoModelForCausalLM"),
    ],
)
def test_the_class_that_the_config_names(config: dict[str, Any], found: str) -> None:
    assert find_model_class(config).__name__ == found
