"""How much of a model a method has really quantized, read from the artifact: the headers of its
safetensors, or the constants of its OpenVINO graph.

What counts are the weights that layers multiply with, by their bytes in the source. Embeddings and
the output layer do not: every method leaves them in more bits on purpose. They lie outside the
numbered layers.
"""

import json
import re
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from greenlight.core.errors import IntegrityError
from greenlight.core.records import Format
from greenlight.models.description import describe_folder
from greenlight.models.file_selection import CONFIG
from greenlight.models.safetensors_header import DTYPE_BITS, Tensor

IN_A_LAYER = re.compile(r"\.\d+\.")
# Families that keep their matrices as (inputs, outputs).
TRANSPOSED = ("gpt2", "imagegpt", "openai-gpt")
# Constants of OpenVINO that belong to a quantized weight.
SCALES = ("/scale", "/zero_point")
OPENVINO_BITS = {
    "u4": 4,
    "i4": 4,
    "nf4": 4,
    "f4e2m1": 4,
    "u8": 8,
    "i8": 8,
    "f8e4m3": 8,
    "f8e5m2": 8,
}
OPENVINO_FLOATS = {"f16": 16, "bf16": 16, "f32": 32}
# Operations that make a quantized constant a matrix again.
UNPACKING = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
NAMED = 3


@dataclass(frozen=True)
class Coverage:
    """What a method has quantized.

    Attributes:
        share: of the linear weights that have the bits that were asked for, or fewer.
        left: weights that have more, with their bits, the largest first.
    """

    share: float
    left: tuple[tuple[str, int], ...] = ()

    def name_left(self) -> str:
        """The largest weights left, for people."""
        named = ", ".join(f"{name} ({bits} bits)" for name, bits in self.left[:NAMED])
        return f"{named}{', …' if len(self.left) > NAMED else ''}"


@dataclass(frozen=True)
class _Weight:
    name: str
    bits: int
    elements: int


@dataclass(frozen=True)
class _Layer:
    """One of an OpenVINO graph: its operation, and for a constant the type and shape."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    users: list[str] = field(default_factory=list)


def linear_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a full-precision model's tensors that its layers multiply with: matrices, and the
    stacks of matrices of a mixture's experts.
    """
    return {name: tensor for name, tensor in tensors.items() if is_linear(name, tensor.shape)}


def is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this name and shape is a weight that a layer multiplies with."""
    if not IN_A_LAYER.search(name) or name.endswith(("bias", "A_log")):
        return False
    if len(shape) == 2:
        return name.endswith("weight")
    # a stack of experts, and no kernel of a convolution
    return len(shape) == 3 and shape[1] > 1


def layer_widths(config: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int]:
    """Outputs and inputs of the layer that has a linear weight of this shape."""
    outputs, inputs = shape[-2:]
    return (inputs, outputs) if config.get("model_type") in TRANSPOSED else (outputs, inputs)


def is_expert(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a linear weight is an expert of a mixture, or a stack of them."""
    return len(shape) == 3 or re.search(r"\.experts\.\d+\.", name) is not None


def measure_coverage(
    source: Mapping[str, Tensor], artifact: Path, form: Format, bits: int
) -> Coverage:
    """How many of the linear weights of `source` have `bits` bits or fewer in an artifact.

    Args:
        source: the tensors of the full-precision model, by name.
        artifact: folder of its files.
    """
    wanted = sum(prod(tensor.shape) for tensor in linear_weights(source).values())
    found = list(_openvino(artifact) if form == "openvino" else _safetensors(artifact))
    done = sum(weight.elements for weight in found if weight.bits <= bits)
    left = sorted(
        (weight for weight in found if weight.bits > bits),
        key=lambda weight: (-weight.elements, weight.name),
    )
    return Coverage(
        min(1.0, done / wanted) if wanted else 0.0,
        tuple((weight.name, weight.bits) for weight in left),
    )


def check_coverage(coverage: Coverage, least: float, bits: int, library: str) -> None:
    """Raises IntegrityError when less than `least` of the weights was quantized."""
    if coverage.share < least:
        raise IntegrityError(
            f"{library} has quantized {coverage.share:.1%} of the linear weights to {bits} bits,"
            f" and {least:.0%} is the least that counts as done. Left: {coverage.name_left()}."
            " Nothing was kept. Use another method for this model."
        )


def _safetensors(artifact: Path) -> Iterator[_Weight]:
    """The linear weights of a checkpoint of bitsandbytes or compressed-tensors. Packed ones know
    their shape no more; their bytes and bits say how many values they hold.
    """
    tensors = describe_folder(artifact).tensors
    packed_bits = _packed_bits(artifact)
    for name, tensor in tensors.items():
        layer = name.removesuffix("_packed")
        if layer != name and IN_A_LAYER.search(name):
            yield _Weight(layer, packed_bits, tensor.bytes * 8 // packed_bits)
        elif tensor.dtype == "U8" and f"{name}.absmax" in tensors and IN_A_LAYER.search(name):
            yield _Weight(name, 4, tensor.bytes * 2)
        elif is_linear(name, tensor.shape):
            yield _Weight(name, DTYPE_BITS[tensor.dtype], prod(tensor.shape))


def _packed_bits(artifact: Path) -> int:
    """Of the packed weights of compressed-tensors, as its config says."""
    config = json.loads((artifact / CONFIG).read_bytes())
    groups = (config.get("quantization_config") or {}).get("config_groups") or {}
    return next((group["weights"]["num_bits"] for group in groups.values()), 4)


def _openvino(artifact: Path) -> Iterator[_Weight]:
    """The linear weights of a graph. They keep the names of the modules that they come from, but
    for those that were transposed once and for all (GPT-2): these go by what multiplies with them.
    """
    graph = _read_graph(artifact / "openvino_model.xml")
    for layer in graph.values():
        name = layer.name if IN_A_LAYER.search(layer.name) else _multiplied_by(layer, graph)
        wide = sum(size > 1 for size in layer.shape) > 1  # no vector
        bits = OPENVINO_BITS.get(layer.dtype) or OPENVINO_FLOATS.get(layer.dtype)
        weight = layer.kind == "Const" and wide and not layer.name.endswith(SCALES)
        if weight and bits and IN_A_LAYER.search(name):
            yield _Weight(name, bits, prod(layer.shape))


def _read_graph(path: Path) -> dict[str, _Layer]:
    """The layers of OpenVINO's XML by id."""
    graph: dict[str, _Layer] = {}
    for _, element in xml.etree.ElementTree.iterparse(path):
        if element.tag == "layer":
            data = element.find("data")
            found = data.attrib if data is not None else {}
            shape = [
                int(size) for size in found.get("shape", "").split(",") if size.strip().isdigit()
            ]
            graph[element.get("id", "")] = _Layer(
                element.get("name", ""),
                element.get("type", ""),
                found.get("element_type", ""),
                tuple(shape),
            )
            element.clear()
        elif element.tag == "edge":
            graph[element.get("from-layer", "")].users.append(element.get("to-layer", ""))
    return graph


def _multiplied_by(layer: _Layer, graph: Mapping[str, _Layer]) -> str:
    """The name of the product that a constant goes into, unpacked on the way; empty where it goes
    into something else.
    """
    while layer.users:
        layer = graph[layer.users[0]]
        if layer.kind == "MatMul":
            return layer.name
        if layer.kind not in UNPACKING:
            return ""
    return ""
