"""AWQ (arXiv:2306.00978) through llm-compressor: the channels that the activations make matter are
scaled up before 4-bit rounding (W4A16, asymmetric).

Slow on CPU: it searches 20 scales for every layer, each by running the calibration text through a
block.
"""

from typing import Any

from greenlight.quantize.llm_compressor import (
    SCALED,
    Compressor,
    full_precision_layers,
    weights_only,
)


class Awq(Compressor):
    name = "awq"
    bits = (4,)
    calibrates = True
    seconds = 5, 640
    scaled = (*SCALED, ("v_proj", "o_proj"), ("up_proj", "down_proj"))
    layouts = ("cohere", "cohere2", "phi3")

    def recipe(self, model: Any, bits: int) -> list[Any]:
        import torch
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from llmcompressor.modifiers.transform.awq import AWQModifier
        from llmcompressor.pipelines.cache import IntermediatesCache

        if not torch.accelerator.is_available():
            # Release 0.14 pins the memory of what it keeps, without asking whether there is a
            # device to copy it to; torch refuses that without one.
            IntermediatesCache.pin_memory = lambda *arguments: None
        return [
            AWQModifier(),
            QuantizationModifier(
                config_groups=weights_only(model, bits, symmetric=False),
                ignore=full_precision_layers(model),
            ),
        ]


method = Awq()
