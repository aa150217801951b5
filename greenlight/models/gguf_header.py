"""The header of a GGUF file, read from its first megabytes: a file on the hub or in a bucket need
not be fetched for it, which the package `gguf` would need.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from greenlight.core.errors import InputError
from greenlight.models.safetensors_header import LFS_POINTER

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
TEXT, ARRAY = 8, 9
FIRST_READ = 8 * 2**20  # bytes: the vocabulary of most models ends there
ALIGNMENT = 32

Reader = Callable[[int, int], bytes]  # start, length


@dataclass(frozen=True)
class GgufTensor:
    """What the header says of one tensor."""

    shape: tuple[int, ...]
    dtype: str  # such as Q4_1
    bytes: int
    place: int  # of the first byte in the file


@dataclass(frozen=True)
class GgufHeader:
    """What the header says of a model.

    Attributes:
        settings: by name.
        size: of the file in bytes.
    """

    settings: dict[str, Any]
    tensors: dict[str, GgufTensor]
    size: int

    @property
    def architecture(self) -> str:
        """As llama.cpp calls it."""
        return str(self.settings.get("general.architecture", ""))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The type that most of the weights have, by bytes."""
        sizes: dict[str, int] = defaultdict(int)
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.bytes
        return max(sizes, key=lambda dtype: sizes[dtype])


class _Cursor:
    """Goes through a file whose beginning is read further when it is needed."""

    def __init__(self, read: Reader, size: int) -> None:
        self.read, self.size = read, size
        self.data, self.place = b"", 0

    def take(self, length: int) -> bytes:
        end = self.place + length
        if end > self.size:
            raise EOFError
        if end > len(self.data):
            wanted = min(max(end, FIRST_READ, 2 * len(self.data)), self.size)
            self.data += self.read(len(self.data), wanted - len(self.data))
            if end > len(self.data):
                raise EOFError
        found = self.data[self.place : end]
        self.place = end
        return found

    def number(self, code: str) -> Any:
        form = struct.Struct(f"<{code}")
        return form.unpack(self.take(form.size))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.number(SCALARS[kind])
        kind, count = self.number("I"), self.number("Q")
        if kind in SCALARS:
            form = f"<{count}{SCALARS[kind]}"
            data = self.take(struct.calcsize(form))
            return list(struct.unpack(form, data))
        return [self.value(kind) for _ in range(count)]


def open_gguf(path: Path) -> GgufHeader:
    """The header of a local file. Raises InputError where it is none."""
    with open(path, "rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return read_gguf_header(str(path), path.name, path.stat().st_size, read)


def read_gguf_header(model: str, name: str, size: int, read: Reader) -> GgufHeader:
    """Read the header of a GGUF file and check that the file is as long as it says.

    Args:
        model: the source as the user named it, for the error.
        name: of the file.
        size: of the file in bytes.
        read: gives bytes of it.

    Raises:
        InputError: it is no GGUF file, or is cut short.
    """
    cursor = _Cursor(read, size)
    try:
        if (magic := cursor.take(4)) != MAGIC:
            raise InputError("model", model, _no_gguf(name, magic))
        if (version := cursor.number("I")) not in VERSIONS:
            raise InputError(
                "model",
                model,
                f"its {name} is GGUF of version {version}, and versions 2 and 3 are read here;"
                " convert the model again with a current llama.cpp",
            )
        tensors, settings = cursor.number("Q"), cursor.number("Q")
        found = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(settings)}
        table = {}
        for _ in range(tensors):
            tensor, shape = cursor.text(), cursor.number("I")
            dimensions = tuple(cursor.number("Q") for _ in range(shape))
            dtype, length = _stored(cursor.number("I"), prod(dimensions))
            table[tensor] = GgufTensor(dimensions[::-1], dtype, length, cursor.number("Q"))
    except (EOFError, KeyError, ValueError, struct.error, OverflowError):
        raise InputError(
            "model", model, f"its {name} has a broken header; copy or download it again"
        ) from None
    alignment = int(found.get("general.alignment", ALIGNMENT))
    start = -(-cursor.place // alignment) * alignment
    table = {tensor: replace(info, place=start + info.place) for tensor, info in table.items()}
    wanted = max((tensor.place + tensor.bytes for tensor in table.values()), default=start)
    if size < wanted:
        raise InputError(
            "model",
            model,
            f"its {name} has {size} bytes where its header says {wanted}; copy or download it"
            " again",
        )
    return GgufHeader(found, table, size)


def _no_gguf(name: str, magic: bytes) -> str:
    if LFS_POINTER.startswith(magic):
        return f"its {name} is only a pointer of Git LFS; fetch the file with `git lfs pull`"
    return f"its {name} is no GGUF file; copy or download it again"


def _stored(kind: int, weights: int) -> tuple[str, int]:
    """Name of a type of weights, and the bytes that so many take. Raises ValueError for types that
    the package does not know.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    dtype = GGMLQuantizationType(kind)
    block, length = GGML_QUANT_SIZES[dtype]
    return dtype.name, weights // block * length
