"""A model in a GGUF file, as llama.cpp and its kin use it. It is dequantized into an ordinary
baseline in safetensors: transformers reads it, and this project does the rest.
"""

import ast
import hashlib
import logging
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import lru_cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from greenlight.core.child_process import run_module
from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.extras import require
from greenlight.models.download import fetch_files
from greenlight.models.file_selection import LICENSE, Selection
from greenlight.models.gguf_description import BYTES_PER_WEIGHT, describe_gguf, simplified
from greenlight.models.gguf_header import GgufHeader, read_gguf_header
from greenlight.models.gguf_tokenizer import check_tokenizer
from greenlight.models.source import Description, Kind, Made, Source, SourceFile

log = logging.getLogger("greenlight.download")

SUFFIX = ".gguf"
CONVERTER = "greenlight.models.gguf_conversion"
LIBRARIES = ("gguf", "transformers", "torch")
LOAD_BYTES = 6  # of memory per weight while it is converted
OVERHEAD_BYTES = 700e6  # of memory that torch and transformers take
FULL_PRECISION = ("F64", "F32", "F16", "BF16")


class GgufSource(Source):
    """A GGUF file in a place that another source reads.

    The commit names the bytes of the file and what converts it: `<digest>.<commit of the place>`.
    """

    def __init__(self, name: str, place: Source, file: str) -> None:
        self.name, self.place, self.file = name, place, file
        self.library = place.library

    def check(self) -> Description | None:
        require("quantize", "A GGUF model", *LIBRARIES)
        described = self.place.check()
        return replace(described, source=self.name) if described else None

    def resolve(self) -> str:
        require("quantize", "A GGUF model", *LIBRARIES)
        commit = self.place.resolve()
        converter = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
        digest = hashlib.sha256(f"{commit} {self.file} {converter}".encode()).hexdigest()
        return f"{digest[:16]}.{commit}"

    def list_files(self, commit: str) -> list[SourceFile]:
        return self.place.list_files(_place_commit(commit))

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        self.place.fetch(file, _place_commit(commit), partial)

    def list_names(self, commit: str) -> dict[str, int]:
        return self.place.list_names(_place_commit(commit))

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        return self.place.read(name, _place_commit(commit), start, length)

    def make(self, commit: str, folder: Path) -> Made:
        header = read_header(self, self.file, commit)
        weights = header.parameters * BYTES_PER_WEIGHT
        free = shutil.disk_usage(folder).free
        if (needed := weights + header.size) > free:
            raise GreenlightError(
                f"No space for {self.name} in {folder}: the file and its weights in bfloat16 take"
                f" {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free. Free some or choose another"
                " folder, and run again."
            )
        fetched, converted = folder / "fetched", folder / "converted"
        fetch_files(self, commit, fetched, self.list_files(commit), lambda: None)
        log.info(
            "converting %s: %.0f million weights, %s, to bfloat16; it takes about %.1f GB of"
            " memory",
            self.name,
            header.parameters / 1e6,
            header.dtype,
            (header.parameters * LOAD_BYTES + OVERHEAD_BYTES) / 1e9,
        )
        shutil.rmtree(converted, ignore_errors=True)
        converted.mkdir()
        work = [str(fetched / "model" / self.file), str(converted)]
        peak = run_module(CONVERTER, work, folder, f"the conversion of {self.file}")
        for path in (fetched / "model").iterdir():
            if path.name != self.file:
                shutil.copy(path, converted)
        how = "dequantized from" if header.dtype not in FULL_PRECISION else "converted from"
        log.info("the baseline %s was %s GGUF %s", self.name, how, header.dtype)
        return Made(
            converted,
            f"{how} GGUF {header.dtype} ({self.file})",
            peak,
            {name: version(name) for name in LIBRARIES},
        )


def gguf_kind(file: str) -> Kind:
    """How a source treats a place of which a GGUF file is taken: that and the licence."""
    return Kind(partial(_choose, file), partial(check_gguf, file))


def read_header(source: Source, file: str, commit: str) -> GgufHeader:
    """Read the header of a GGUF file wherever it lies. Raises InputError where it is none."""
    size = source.list_names(commit)[file]
    return read_gguf_header(
        source.name, file, size, lambda start, length: source.read(file, commit, start, length)
    )


def _choose(
    file: str, model: str, names: Collection[str], read: Callable[[str], bytes]
) -> Selection:
    if file not in names:
        others = sorted(name for name in names if name.endswith(SUFFIX))
        there = f"it holds {', '.join(others[:5])}" if others else "it holds no GGUF file"
        raise InputError("from_gguf", file, f"{model} has no such file; {there}")
    taken = {name: name for name in names if "/" not in name and LICENSE.fullmatch(name)}
    return Selection({file: file, **taken}, (), {})


def check_gguf(file: str, source: Source, commit: str) -> Description:
    """Describe what the conversion of a GGUF file in a place makes.

    Raises:
        InputError: it cannot be converted.
    """
    _choose(file, source.name, source.list_names(commit), lambda name: source.read(name, commit))
    header = read_header(source, file, commit)
    if "split.count" in header.settings and header.settings["split.count"] > 1:
        raise InputError(
            "model",
            source.name,
            f"its {file} is one of {header.settings['split.count']} parts; join them with"
            " llama-gguf-split --merge and give the result",
        )
    if (known := architectures()) and simplified(header.architecture) not in known:
        raise InputError(
            "model",
            source.name,
            f"its {file} is of the architecture {header.architecture!r}, which transformers"
            f" {version('transformers')} does not read from GGUF (known are"
            f" {', '.join(sorted(known))}); give the model as safetensors",
        )
    check_tokenizer(source.name, header.settings)
    return describe_gguf(source.name, file, header)


@lru_cache(1)
def architectures() -> set[str]:
    """What the installed transformers reads from GGUF, `simplified`; read from its source, since
    importing it takes seconds. Encoders with decoders are left out.
    """
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return set()
    source = (Path(spec.origin).parent / "integrations" / "ggml.py").read_text()
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="GGUF_CONFIG_MAPPING")], value=ast.Dict(keys=keys)
            ):
                names = {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                return {simplified(name) for name in names} - {"general", "tokenizer", "t5", "umt5"}
    return set()


def _place_commit(commit: str) -> str:
    return commit.partition(".")[2]
