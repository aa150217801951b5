"""What an OpenVINO graph holds, so that the one that was saved can be compared with the one in
memory: every operation with its settings, how they are joined, and every byte of their constants.
That is exact but for settings that are fractions, which the file rounds, and needs neither a
prediction nor the copy of the model that one is computed with.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from greenlight.core.errors import IntegrityError

GRAPH_FILE = "graph.json"
"""In the scratch folder."""
SCALE = "/scale"
"""At the end of the name of the constants that quantized weights are multiplied with."""
PARAMETER = "self."
"""At the beginning of the name of a constant that is a parameter of the model."""


def save_graph(model: Any, scratch: Path) -> None:
    """Keep what a model in memory holds. Called in the process that quantizes, before it saves.

    Args:
        model: an `openvino.Model`.

    Raises:
        IntegrityError: a constant is not finite. Only what has no name of its own, such as a mask,
            may hold minus infinity.
    """
    for operation in model.get_ops():
        if operation.get_type_name() == "Constant" and not _is_sound(operation):
            raise IntegrityError(
                f"The constant {operation.get_friendly_name()} is not finite, before it was saved."
                " Use another method, more bits or other calibration data."
            )
    (scratch / GRAPH_FILE).write_text(json.dumps(_rows(model)))


def compare_graph(graph: Path, scratch: Path) -> str:
    """What in a saved graph is not what was kept; empty where all of it is."""
    import openvino

    kept = json.loads((scratch / GRAPH_FILE).read_bytes())
    try:
        found = _rows(openvino.Core().read_model(graph))
    except RuntimeError as error:
        return f"OpenVINO cannot read it ({str(error).splitlines()[0]})"
    for before, after in zip(kept, found, strict=False):
        if before != after:
            return f"{before[0]} is not what was in memory"
    return "" if len(kept) == len(found) else f"it has {len(found)} operations of {len(kept)}"


def _is_sound(constant: Any) -> bool:
    import numpy as np

    values, name = constant.data, constant.get_friendly_name()
    if values.dtype.kind != "f":
        return True
    if name.startswith(PARAMETER) or name.endswith(SCALE):
        return bool(np.isfinite(values).all())
    return not (np.isnan(values) | np.isposinf(values)).any()


def _rows(model: Any) -> list[list[str]]:
    """Name, kind, settings, outputs, inputs and the digest of the constant, of each operation."""
    return sorted(_row(operation) for operation in model.get_ops())


def _row(operation: Any) -> list[str]:
    outputs = [f"{each.element_type} {each.partial_shape}" for each in operation.outputs()]
    sources = [each.get_source_output() for each in operation.inputs()]
    inputs = [f"{each.get_node().get_friendly_name()}:{each.get_index()}" for each in sources]
    kind, digest = operation.get_type_name(), ""
    if kind == "Constant":
        digest = hashlib.sha256(memoryview(operation.data).cast("B")).hexdigest()
    settings = [
        f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(operation.get_attributes().items())
    ]
    return [operation.get_friendly_name(), kind, *settings, *outputs, *inputs, digest]
