"""Which code decides what a step makes: the keys by which results are reused.

The key of a step is a digest of every module of ours that its component can reach by imports, of
the files beside them that they name, and of the pinned versions of the model libraries where it
reaches any. A change elsewhere, as in the report, leaves it as it is. Keys are the same for the
same files in a checkout, a wheel and an image, and computing one imports nothing.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
NAME = "greenlight"
DIGITS = 12

MODEL_LIBRARIES = {
    "accelerate": "accelerate",
    "bitsandbytes": "bitsandbytes",
    "compressed_tensors": "compressed-tensors",
    "gguf": "gguf",
    "llmcompressor": "llmcompressor",
    "lm_eval": "lm-eval",
    "nncf": "nncf",
    "openvino": "openvino",
    "openvino_genai": "openvino-genai",
    "openvino_tokenizers": "openvino-tokenizers",
    "optimum": "optimum",
    "optimum.intel": "optimum-intel",
    "peft": "peft",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "vllm": "vllm",
}
"""What loads, changes or scores a model: the module's name, and the pinned name."""
BENEATH = ("numpy",)
"""Pins that count too where a model library is reached."""
PINS = {"main": "", "openvino-export": "optimum", "vllm": "vllm"}
"""Each file of pins, and the module that must be reached for it to count. Empty: any."""

NAME_OR_FILE = re.compile(r"[\w-]+\.[\w.-]+")
NOT_IMPORTS = ("getLogger", "files")
"""Functions whose text arguments look like modules: names of loggers and of folders of data."""

SERVED_BY = (
    f"{NAME}.serving.__main__",
    f"{NAME}.rollout.local.target",
    f"{NAME}.rollout.kubernetes.target",
)
"""The server, and the two targets, which start it: with which arguments, settings and manifest."""
MANIFESTS = "k8s/rollout"


def step_key(step: str, package: Path = PACKAGE) -> str:
    """Digest of all code that decides what a step makes: 12 hex digits.

    Args:
        step: a folder of `components/`.
        package: the folder of the package, another one than this in tests.
    """
    return _digest(closure([f"{NAME}.components.{step}.component"], package), package)


def release_key(package: Path = PACKAGE) -> str:
    """Digest of the code that makes and serves a release: 12 hex digits. It is part of the
    fingerprint of what is live, by which a run finds that there is nothing new.

    It covers what makes the files (download and quantize), the server that answers with them, and
    the targets and manifests that say how the server is started. It leaves out what only judges a
    release or moves traffic to it (evaluate, benchmark, gate, the procedure of the rollout, report,
    command line): changed, they would put the same servers up again.
    """
    served = _digest(closure(SERVED_BY, package), package, sorted((package / MANIFESTS).iterdir()))
    keys = [step_key("download", package), step_key("quantize", package), served]
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()[:DIGITS]


def closure(start: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """The modules of ours that these can import, and themselves, sorted.

    Imports count wherever they stand, other than under `if TYPE_CHECKING`; so does a text that is
    the name of a module (given to a child process or to `import_module`). A text that names a
    package by its beginning, and a package that scans itself with pkgutil, count with all their
    modules. The package's own `__init__` is the public face, which steps do not use.
    """
    found, waiting = set[str](), list(start)
    while waiting:
        if (name := waiting.pop()) in found or name == NAME:
            continue
        found.add(name)
        waiting += [name.rpartition(".")[0], *_module(package, name).ours]
    return sorted(found)


@dataclass(frozen=True)
class _Module:
    source: bytes
    ours: tuple[str, ...]
    """Modules of this package that it can import."""
    others: frozenset[str]
    """Modules of other packages that it can import."""
    data: tuple[Path, ...]
    """Files beside it that it names."""


def _digest(modules: list[str], package: Path, files: Iterable[Path] = ()) -> str:
    read = [_module(package, name) for name in modules]
    digest = hashlib.sha256()
    for name, module in zip(modules, read, strict=True):
        digest.update(f"{name}\0".encode() + module.source + b"\0")
    for path in sorted({*files, *(path for module in read for path in module.data)}):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    for line in _pins(package, frozenset().union(*(module.others for module in read))):
        digest.update(f"{line}\0".encode())
    return digest.hexdigest()[:DIGITS]


def _pins(package: Path, imported: frozenset[str]) -> Iterator[str]:
    """The pins of model libraries, where any is among the imported modules."""
    if not imported & set(MODEL_LIBRARIES):
        return
    names = {*MODEL_LIBRARIES.values(), *BENEATH}
    for file, needs in PINS.items():
        if not needs or needs in imported:
            for line in (package / "pins" / f"{file}.txt").read_text().splitlines():
                if re.split(r"[\s=<>~!;\[]", line, maxsplit=1)[0].lower() in names:
                    yield f"{file}: {line}"


def _path(package: Path, name: str) -> Path | None:
    """The file of a module of ours. None: there is none of this name."""
    place = package.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None


@cache
def _module(package: Path, name: str) -> _Module:
    path = _path(package, name)
    if path is None:
        raise ModuleNotFoundError(f"{package} holds no module {name}", name=name)
    source = path.read_bytes()
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    ours, others, data = set[str](), set[str](), set[Path]()
    imported, texts = _read(ast.parse(source), inside)
    for found in imported:
        if found.startswith(f"{NAME}."):
            ours |= _ours(package, found)
        elif found.split(".")[0] == "pkgutil":
            ours |= _below(package, name)
        else:
            others |= {found.split(".")[0], ".".join(found.split(".")[:2])}
    for text in texts:
        if text.startswith(f"{NAME}."):
            ours |= _below(package, text[:-1]) if text.endswith(".") else _started(package, text)
        elif beside := _beside(path, text):
            data.add(beside)
    return _Module(source, tuple(sorted(ours)), frozenset(others), tuple(sorted(data)))


def _ours(package: Path, name: str) -> set[str]:
    """The module that an imported name means: it is one, or a part of one."""
    while _path(package, name) is None:
        name = name.rpartition(".")[0]
    return {name}


def _started(package: Path, name: str) -> set[str]:
    """What a child process runs that is given a text as its module."""
    names = {name, f"{name}.__main__"}
    return {each for each in names if _path(package, each) is not None}


def _below(package: Path, name: str) -> set[str]:
    """All modules of a package of ours."""
    folder = package.joinpath(*name.split(".")[1:])
    parts = [path.relative_to(package).with_suffix("").parts for path in folder.rglob("*.py")]
    return {".".join([NAME, *each]).removesuffix(".__init__") for each in parts}


def _beside(path: Path, text: str) -> Path | None:
    """The file that a text names in the folder of a module. None: it names none."""
    beside = path.parent / text
    return beside if beside.suffix != ".py" and beside.is_file() else None


def _read(code: ast.AST, inside: str) -> tuple[set[str], set[str]]:
    """The names that a piece of code imports (`a.b.c` of `from a.b import c`), and the texts in it
    that may name a module or a file. A text that ends in a dot is the beginning of a formatted
    name: `f"greenlight.serving.engines.{name}"`.

    Args:
        inside: the package that relative imports start from.
    """
    imported, texts, waiting = set[str](), set[str](), [code]
    while waiting:
        match node := waiting.pop():
            case ast.Import():
                imported |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                module = resolve_name("." * node.level + (node.module or ""), inside)
                imported |= {f"{module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str(text)) if NAME_OR_FILE.fullmatch(text):
                texts.add(text)
        waiting += _children(node)
    return imported, texts


def _children(node: ast.AST) -> list[ast.AST]:
    """The parts of a piece of code, without those that run nothing."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return list(node.orelse)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in NOT_IMPORTS:
            return []
        case _:
            return list(ast.iter_child_nodes(node))
