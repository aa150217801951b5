"""The engines by name. Nothing here imports one: the HTTP process only asks what they can load."""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from greenlight.core.records import Format
from greenlight.serving.engines.precision import Precision


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
