"""Models that people bring, as changes to a copy of the built-in one. Each case says how it must
end.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Tensors = dict[str, tuple[str, list[int], bytes]]  # dtype, shape and values by name
INDEX = "model.safetensors.index.json"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8000000\n"


@dataclass(frozen=True)
class Case:
    """`make` changes a copy of the built-in model. `says`: what refuses it; empty where it is
    taken, and then `note` is what is logged about it.
    """

    make: Callable[[Path], None]
    says: str = ""
    note: str = ""


CASES: dict[str, Case] = {}


def case(says: str = "", note: str = "") -> Callable[[Callable[[Path], None]], None]:
    def add(make: Callable[[Path], None]) -> None:
        CASES[make.__name__] = Case(make, says, note)

    return add


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file; `...` removes one."""
    found = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def read_tensors(path: Path) -> Tensors:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (
            entry["dtype"],
            entry["shape"],
            data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


def write_tensors(path: Path, tensors: Tensors) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, values) in tensors.items():
        offsets = [end, end + len(values)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = b"".join(values for _, _, values in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def edit_header(path: Path, change: Callable[[dict], None]) -> None:
    """Change the header of a file of weights, and leave what follows as it is."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def split(folder: Path, *names: str, index: str = INDEX, keep: bool = False) -> None:
    """Split model.safetensors over these files, with an index."""
    tensors = read_tensors(folder / "model.safetensors")
    if not keep:
        (folder / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, name in enumerate(names):
        part = {key: tensors[key] for key in sorted(tensors)[number :: len(names)]}
        write_tensors(folder / name, part)
        places |= dict.fromkeys(part, name)
    edit(folder / index, metadata={"total_size": 1}, weight_map=places)


def without(folder: Path, *ends: str) -> None:
    """Leave out the tensors whose names begin or end so."""
    tensors = read_tensors(folder / "model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(ends) and not name.startswith(ends)
    }
    assert len(kept) < len(tensors)
    write_tensors(folder / "model.safetensors", kept)
