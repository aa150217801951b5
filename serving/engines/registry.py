"""The engines by name. Nothing here imports one: the HTTP process only asks what they can load."""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from greenlight.core.records import Format


@dataclass(frozen=True)
class EngineKind:
    """An engine that lives in `serving/engines/<name>.py`.

    Attributes:
        formats: formats of artifacts that it can load.
        modules: what must be importable for it.
        kv_bytes: bytes of a number in its KV cache, for sizing it.
    """

    name: str
    formats: tuple[Format, ...]
    modules: tuple[str, ...]
    kv_bytes: float

    def missing(self) -> str | None:
        """The first module that is not installed."""
        return next((module for module in self.modules if find_spec(module) is None), None)


# 8 bits a number, with a scale and a zero point a head
OPENVINO = EngineKind("openvino", ("openvino",), ("openvino_genai",), kv_bytes=1.125)
TRANSFORMERS = EngineKind(
    "transformers",
    ("safetensors", "bitsandbytes", "compressed-tensors"),
    ("torch", "transformers"),
    kv_bytes=4,
)
VLLM = EngineKind("vllm", ("safetensors", "compressed-tensors"), ("vllm",), kv_bytes=4)


def by_preference(nvidia_gpu: bool) -> dict[str, EngineKind]:
    """The engines in the order in which `auto` prefers them: vLLM is made for GPUs, and on CPU
    starts much more slowly than the others.
    """
    kinds = (VLLM, OPENVINO, TRANSFORMERS) if nvidia_gpu else (OPENVINO, TRANSFORMERS, VLLM)
    return {kind.name: kind for kind in kinds}


# the driver's device, which a container has when it was given a GPU
ENGINES = by_preference(nvidia_gpu=os.path.exists("/dev/nvidiactl"))
