"""Is a folder a checkpoint that can be loaded? Reads the config and the headers of the weights, not
the weights.
"""

import json
from pathlib import Path
from typing import Any

from greenlight.core.errors import InputError
from greenlight.core.records import Format
from greenlight.models.file_selection import CONFIG, INDEX, choose_files

MAX_HEADER = 100_000_000  # bytes, as safetensors itself limits it
QUANTIZED: tuple[Format, ...] = ("bitsandbytes", "compressed-tensors")
DTYPE_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8}


def check_checkpoint(model: str, folder: Path, quantized_too: bool = False) -> None:
    """Check names, config, index and the headers of all weights.

    Args:
        model: the source as the user named it, for the error.
        quantized_too: see `check_config`.

    Raises:
        InputError: it cannot be loaded, and why.
    """
    names = choose_files(model, (path.name for path in folder.iterdir() if path.is_file()))
    check_config(model, folder, quantized_too)
    tensors = {
        name: _tensors(model, folder / name) for name in names if name.endswith(".safetensors")
    }
    if not any(tensors.values()):
        raise InputError("model", model, "its weights are empty; save the model again")
    if INDEX in names:
        for tensor, shard in _places(model, _read_object(model, folder / INDEX)).items():
            if tensor not in tensors.get(shard, {}):
                raise InputError(
                    "model",
                    model,
                    f"{INDEX} places {tensor} in {shard}, where it is not; complete the model or"
                    " save it again",
                )


def check_config(model: str, folder: Path, quantized_too: bool = False) -> Format:
    """Check that config.json describes a full-precision model, or with `quantized_too` one of a
    known format; returns its format.

    Raises:
        InputError: it is broken, or describes another.
    """
    config = _read_object(model, folder / CONFIG)
    if not isinstance(config.get("model_type"), str):
        raise InputError(
            "model",
            model,
            f"its {CONFIG} names no model_type; give a folder as save_pretrained writes it",
        )
    quantization = config.get("quantization_config")
    if not quantization:
        return "safetensors"
    method = (
        quantization.get("quant_method", "some method")
        if isinstance(quantization, dict)
        else "some method"
    )
    if not quantized_too:
        raise InputError(
            "model",
            model,
            f"it is already quantized ({method}); give the full-precision model that it was made"
            " from",
        )
    for known in QUANTIZED:
        if method == known:
            return known
    raise InputError(
        "model",
        model,
        f"it is quantized with {method}, which nothing here loads; known are"
        f" {', '.join(QUANTIZED)}",
    )


def weight_bits(folder: Path) -> int:
    """Bits of the type that most of the weights have. Call it on a checked folder."""
    sizes: dict[int, int] = {}
    for path in folder.glob("*.safetensors"):
        for tensor in _tensors(str(folder), path).values():
            bits = DTYPE_BITS.get(tensor["dtype"], 16)
            sizes[bits] = sizes.get(bits, 0) + tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return max(sizes, key=lambda bits: sizes[bits])


def shards_in(model: str, index: bytes) -> set[str]:
    """The names of all files that the index of a checkpoint's weights names. Raises InputError when
    it is no index.
    """
    return set(_places(model, _json_object(model, INDEX, index)).values())


def _read_object(model: str, path: Path) -> dict[str, Any]:
    try:
        return _json_object(model, path.name, path.read_bytes())
    except OSError as error:
        raise InputError(
            "model", model, f"its {path.name} cannot be read ({error.strerror}); make it readable"
        ) from None


def _json_object(model: str, name: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InputError(
            "model", model, f"its {name} is not JSON ({error}); repair it or save the model again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(
            "model", model, f"its {name} is not a JSON object; repair it or save the model again"
        )
    return found


def _places(model: str, index: dict[str, Any]) -> dict[str, str]:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError("model", model, f"its {INDEX} has no weight_map; save the model again")
    return places


def _tensors(model: str, path: Path) -> dict[str, dict[str, Any]]:
    """The tensors that the header of a safetensors file lists: 8 bytes of length, JSON, data
    (https://huggingface.co/docs/safetensors).
    """

    def refuse(problem: str) -> InputError:
        return InputError("model", model, f"its {path.name} {problem}; copy or download it again")

    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise refuse(f"is not safetensors or was cut short ({size} bytes)")
            header: dict[str, dict[str, Any]] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        well_formed = all(isinstance(tensor["dtype"], str) for tensor in header.values())
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise refuse("has a broken header") from None
    if size != end or not well_formed:
        raise refuse(f"has {size} bytes where its header says {end}")
    return header
