"""Whether a method takes a model, said from the model's config and the headers of its weights:
before anything is downloaded, and again before the work.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from greenlight.core.errors import InputError
from greenlight.core.records import recipe_name
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.methods import check_method, methods

# What is offered instead, the first that take the model: those that run everywhere come first.
OFFERED = ("optimum", "gptq", "bnb", "smallest", "w8a8")
SHOWN = 2


def check_method_takes(
    method: str, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Check that `method` can quantize a model. Takes milliseconds.

    Args:
        method, bits: see `greenlight.quantize.methods.capabilities`.
        config: the model's config.json.
        tensors: from the headers of its weights, as `Description.tensors`.

    Raises:
        InputError: it cannot; says why, and names methods that can.
    """
    chosen = check_method(method, bits)
    if not (reason := chosen.refuses(bits, config, tensors)):
        return
    able = list(_alternatives(bits, config, tensors))[:SHOWN]
    instead = " or ".join(able) or "none, which leaves the weights as they are"
    raise InputError("method", recipe_name(method, bits), f"{reason}; use {instead}")


def _alternatives(
    bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[str]:
    """Methods that take the model, those of as many bits first."""
    found = [
        (each, able)
        for name in OFFERED
        for each in [methods()[name]]
        for able in each.bits or (bits,)
        if not each.refuses(able, config, tensors)
    ]
    for each, able in sorted(found, key=lambda pair: bool(pair[0].bits) and pair[1] != bits):
        yield recipe_name(each.name, able)
