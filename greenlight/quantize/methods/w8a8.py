"""SmoothQuant (arXiv:2211.10438), then GPTQ, through llm-compressor: weights of 8 bits per channel,
activations of 8 bits per token, scaled as they come (W8A8).

Both factors of a matrix product are integers, which vLLM multiplies as such; transformers computes
with the same rounding in floating point.
"""

from typing import Any

from greenlight.quantize.llm_compressor import SCALED, Compressor, full_precision_layers

SMOOTHING = 0.8
"""How much of the activations' outliers moves into the weights: alpha of the paper, as
llm-compressor's own recipes for Llama have it.
"""


class W8A8(Compressor):
    name = "w8a8"
    bits = (8,)
    calibrates = True
    quantizes_activations = True
    seconds = 5, 350
    scaled = SCALED
    layouts = ("bloom", "cohere", "cohere2", "phi3")

    def recipe(self, model: Any, bits: int) -> list[Any]:
        from llmcompressor.modifiers.gptq import GPTQModifier
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        return [
            SmoothQuantModifier(smoothing_strength=SMOOTHING),
            GPTQModifier(targets="Linear", scheme="W8A8", ignore=full_precision_layers(model)),
        ]


method = W8A8()
