"""The header of a safetensors file: which tensors it holds, checked as a whole without reading
their values (https://huggingface.co/docs/safetensors).
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

PREFIX = 8  # bytes before the header: its length, little endian
MAX_HEADER = 100_000_000  # bytes, as safetensors itself limits it
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# bits per value, by the names of safetensors
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


class HeaderError(ValueError):
    """What is wrong with a file of weights, as the end of the sentence "its FILE …"."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model's weights, as a header describes it."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    file: str


def bytes_by_dtype(tensors: Iterable[Tensor]) -> Counter[str]:
    """Bytes of the tensors of each type, by safetensors' name of the type."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.bytes
    return sizes


def header_length(first: bytes, size: int) -> int:
    """Length of the header in bytes, from the first bytes of a file (at least 8; more show what
    else it is).

    Raises:
        HeaderError: it is no safetensors file.
    """
    if first.startswith(LFS_POINTER):
        raise HeaderError("is a pointer of git LFS, not the file; run git lfs pull")
    length = int.from_bytes(first[:PREFIX], "little")
    if size < PREFIX or length > min(size - PREFIX, MAX_HEADER):
        raise HeaderError(
            f"is not safetensors or was cut short ({size} bytes); copy or download it again"
        )
    return length


def parse_header(name: str, header: bytes, size: int) -> dict[str, Tensor]:
    """The tensors of a file, by their names.

    Args:
        name: of the file, for the tensors.
        header: its JSON, without the 8 bytes before it.
        size: of the whole file in bytes.

    Raises:
        HeaderError: tensors overlap, leave holes, do not fit their shapes, or the file is not as
            long as they are together.
    """
    try:
        found = json.loads(header.decode())
        if not isinstance(found, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise HeaderError("has a broken header; copy or download it again") from None
    found.pop("__metadata__", None)
    spans = {tensor: _span(tensor, entry) for tensor, entry in found.items()}
    end = 0
    for tensor, (start, stop, _, _) in sorted(spans.items(), key=lambda item: item[1][:2]):
        if start != end:
            problem = "overlaps the tensor before it" if start < end else "leaves a hole before it"
            raise HeaderError(f"has a broken header: {tensor} {problem}; save the model again")
        end = stop
    whole = PREFIX + len(header) + end
    if size != whole:
        raise HeaderError(
            f"has {size} bytes where its header says {whole}; copy or download it again"
        )
    return {
        tensor: Tensor(dtype, shape, stop - start, name)
        for tensor, (start, stop, dtype, shape) in spans.items()
    }


def _span(tensor: str, entry: Any) -> tuple[int, int, str, tuple[int, ...]]:
    """Where a tensor begins and ends, its dtype and shape; they must fit each other."""
    try:
        start, stop = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise HeaderError(
            f"has a broken header: {tensor} lacks a dtype, a shape or offsets, or they are no"
            " numbers of 0 and above; save the model again"
        ) from None
    if dtype not in DTYPE_BITS:
        raise HeaderError(
            f"holds {tensor} as {str(dtype)[:20]!r}, a dtype that safetensors does not have; save"
            " the model again"
        )
    bits = prod(shape) * DTYPE_BITS[dtype]
    if 8 * (stop - start) != bits:
        raise HeaderError(
            f"has a broken header: {tensor} is {dtype} of shape {list(shape)}, which takes"
            f" {bits // 8} bytes, and has {stop - start}; save the model again"
        )
    return start, stop, dtype, shape
