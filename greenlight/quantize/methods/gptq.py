"""GPTQ (arXiv:2210.17323) through llm-compressor: weights of 4 bits in groups, or of 8 bits a
channel, activations in 16 (W4A16, W8A16).

It replaces auto-gptq, which was archived in 2025 and cannot be imported with transformers 5. Its
successor GPTQModel pins an older numpy and, saved through optimum, wrote checkpoints that were
silently corrupt; compressed-tensors checkpoints load in transformers and vLLM.
"""

from typing import Any

from greenlight.quantize.llm_compressor import Compressor, full_precision_layers, weights_only


class Gptq(Compressor):
    name = "gptq"
    bits = (4, 8)
    calibrates = True
    seconds = 5, 310
    mixtures = True

    def recipe(self, model: Any, bits: int) -> list[Any]:
        from llmcompressor.modifiers.gptq import GPTQModifier

        return [
            GPTQModifier(
                config_groups=weights_only(model, bits), ignore=full_precision_layers(model)
            )
        ]


method = Gptq()
