"""The engines by name. Nothing here imports one: the HTTP process only asks what they can load."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from greenlight.core.records import Format
from greenlight.models.context import text_config
from greenlight.models.known_types import known_types
from greenlight.serving.engines.precision import Precision

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Settings of a mixture that give its number of experts."""
PACKED_UNREAD = ("bloom", "gpt_neox")
"""Families whose fused attention vLLM takes apart as it loads, and not where it is packed."""
MISCOMPUTED = ("mpt",)
"""Families that OpenVINO GenAI serves with other answers than the exported graph gives."""
VLLM_ARCHITECTURES = Path(__file__).with_name("vllm_architectures.txt")
"""What the vLLM of greenlight/pins/vllm.txt knows."""


@dataclass(frozen=True)
class EngineKind:
    """An engine that lives in `serving/engines/<name>.py`.

    Attributes:
        formats: formats of artifacts that it can load.
        modules: what must be importable for it.
        kv_bytes: bytes of a number in its KV cache, for sizing it.
        exact_formats: formats that it can compute in 32 bits on a CPU.
    """

    name: str
    formats: tuple[Format, ...]
    modules: tuple[str, ...]
    kv_bytes: dict[Precision, float]
    exact_formats: tuple[Format, ...]

    def missing(self) -> str | None:
        """The first module that is not installed."""
        return next((module for module in self.modules if find_spec(module) is None), None)

    def refuses(
        self, config: Mapping[str, Any], weight_bits: int | None = None, on_cpu: bool = False
    ) -> str:
        """Why it cannot serve models of this config.json, as the end of a sentence; empty where
        nothing speaks against it. Looks only into what is installed, and imports nothing.

        Args:
            weight_bits: bits of weights that were quantized alone, without the activations. None:
                they were not.
            on_cpu: it would run on a machine without a GPU.
        """
        return _REFUSALS[self.name](config, str(config.get("model_type", "")), weight_bits, on_cpu)


def _transformers_refuses(
    config: Mapping[str, Any], model_type: str, weight_bits: int | None, on_cpu: bool
) -> str:
    if not (known := known_types()):
        return ""
    if not known.has_attention_backends(model_type):
        return f"transformers has no paged attention for {model_type}"
    if text_config(config).get("kv_lora_rank"):
        return f"transformers has no paged cache for the latent attention of {model_type}"
    if known.keeps_state(model_type):
        return f"transformers has no paged cache for the state of {model_type}"
    return ""


def _openvino_refuses(
    config: Mapping[str, Any], model_type: str, weight_bits: int | None, on_cpu: bool
) -> str:
    if model_type in MISCOMPUTED:
        return f"OpenVINO's paged attention computes something else than {model_type}"
    if (known := known_types()) and known.keeps_state(model_type):
        return f"OpenVINO has no paged cache for the state of {model_type}"
    return ""


def _vllm_refuses(
    config: Mapping[str, Any], model_type: str, weight_bits: int | None, on_cpu: bool
) -> str:
    architecture = next(iter(config.get("architectures") or ()), "")
    if architecture and architecture not in _vllm_architectures():
        return f"vLLM does not know {architecture}"
    if weight_bits is not None and model_type in PACKED_UNREAD:
        return f"vLLM does not load packed weights of {model_type}"
    if not on_cpu:
        return ""
    if weight_bits not in (None, 4):
        return "on a CPU vLLM computes weights of 4 bits, and of no others"
    if weight_bits and any(text_config(config).get(name) for name in EXPERTS):
        return "on a CPU vLLM does not compute quantized experts of a mixture"
    if text_config(config).get("kv_lora_rank"):
        return f"on a CPU vLLM answers otherwise than the latent attention of {model_type}"
    if (known := known_types()) and known.keeps_state(model_type):
        return f"on a CPU vLLM does not compute the state of {model_type} in 32 bits"
    return ""


_REFUSALS = {
    "openvino": _openvino_refuses,
    "transformers": _transformers_refuses,
    "vllm": _vllm_refuses,
}


def quantized_weight_bits(config: Mapping[str, Any]) -> int | None:
    """`weight_bits` of a checkpoint of compressed-tensors, from its config.json."""
    groups = ((config.get("quantization_config") or {}).get("config_groups") or {}).values()
    alone = [group["weights"]["num_bits"] for group in groups if not group.get("input_activations")]
    return max(alone, default=None)


@lru_cache(1)
def _vllm_architectures() -> frozenset[str]:
    """Classes that the installed vLLM knows, read from its source; where it is not installed, those
    of the release that is pinned.
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset(VLLM_ARCHITECTURES.read_text().split())
    registry = Path(spec.origin).parent / "model_executor" / "models" / "registry.py"
    return frozenset(re.findall(r'^    "(\w+)": \(', registry.read_text(), re.MULTILINE))


OPENVINO = EngineKind(
    "openvino",
    ("openvino",),
    ("openvino_genai",),
    # fast: 8 bits per number, with a scale and a zero point per head
    kv_bytes={"fast": 1.125, "exact": 4},
    exact_formats=("openvino",),
)
TRANSFORMERS = EngineKind(
    "transformers",
    ("safetensors", "bitsandbytes", "compressed-tensors"),
    ("torch", "transformers"),
    kv_bytes={"fast": 4, "exact": 4},
    exact_formats=("safetensors",),
)
VLLM = EngineKind(
    "vllm",
    ("safetensors", "compressed-tensors"),
    ("vllm",),
    kv_bytes={"fast": 4, "exact": 4},
    exact_formats=("safetensors",),
)


def by_preference(nvidia_gpu: bool) -> dict[str, EngineKind]:
    """The engines in the order in which `auto` prefers them: vLLM is made for GPUs, and on CPU
    starts much more slowly than the others.
    """
    kinds = (VLLM, OPENVINO, TRANSFORMERS) if nvidia_gpu else (OPENVINO, TRANSFORMERS, VLLM)
    return {kind.name: kind for kind in kinds}


# the driver's device, which a container has when it was given a GPU
HAS_GPU = os.path.exists("/dev/nvidiactl")
ENGINES = by_preference(nvidia_gpu=HAS_GPU)
