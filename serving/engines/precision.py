"""How exactly an engine computes: what the setting PRECISION chooses, and what the evaluation
scores an OpenVINO model in.

By default OpenVINO computes in what the CPU is fastest in. Where the CPU multiplies bfloat16, that
is bfloat16. Where it multiplies 8-bit integers, activations are quantized too. The kernels, hence
the rounding, then depend on how many tokens one step decodes. docs/serving.md has what that changes
and what it costs.
"""

from typing import Literal

Precision = Literal["fast", "exact"]

# Keys and values no longer depend on how a prompt was cut into steps: in 8 bits, the scale of a
# block of the cache is taken anew as tokens arrive.
FULL_KV_CACHE: dict[str, str | int] = {"KV_CACHE_PRECISION": "f32"}

# The same arithmetic on every CPU. The KV cache stays in 8 bits, as it is by default on each.
FULL_ARITHMETIC: dict[str, str | int] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}

OPENVINO_PROPERTIES: dict[Precision, dict[str, str | int]] = {
    "fast": {},
    "exact": {**FULL_ARITHMETIC, **FULL_KV_CACHE},
}
