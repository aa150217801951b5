"""FP8 (E4M3, arXiv:2209.05433) through llm-compressor: weights of 8 bits per channel, activations
of 8 bits per token, scaled as they come. No calibration.
"""

from typing import Any

from greenlight.quantize.hardware import Gpu
from greenlight.quantize.llm_compressor import Compressor, full_precision_layers


class Fp8(Compressor):
    name = "fp8"
    bits = (8,)
    quantizes_activations = True
    gpu = Gpu(
        8.9,
        "only these multiply numbers of 8-bit floating point, so only there is what is judged what"
        " is served",
        instead="w8a8",
    )

    def recipe(self, model: Any, bits: int) -> list[Any]:
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return [
            QuantizationModifier(
                targets="Linear", scheme="FP8_DYNAMIC", ignore=full_precision_layers(model)
            )
        ]


method = Fp8()
