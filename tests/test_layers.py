"""The house's layers: each room imports only what stands below it, and no room or file goes round
in a circle.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "greenlight"

LAYERS = (
    ("version", "pins"),
    ("core", "k8s"),
    ("models", "benchmark", "stats"),
    ("rollout", "serving"),
    ("evaluate",),
    ("gate",),
    ("quantize", "select"),
    ("report",),
    ("resolve",),
    ("components",),
    ("pipelines",),
    ("cli",),
)
"""From the ground up. Rooms of one floor may use each other, one way."""
FLOORS = {room: floor for floor, rooms in enumerate(LAYERS) for room in rooms}
FACE = {"greenlight", "greenlight.__main__"}
"""The public face and `python -m greenlight` stand on top of everything."""


def modules() -> dict[str, Path]:
    """Every module of the package by its name, through the links to the folders at the root."""
    found = {}
    for room in sorted(PACKAGE.iterdir()):
        for path in [room] if room.is_file() else sorted(room.resolve().rglob("*.py")):
            inside = path.relative_to(room.resolve()).with_suffix("").parts if room.is_dir() else ()
            parts = ("greenlight", room.stem, *inside)
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imports(path: Path, eager: bool) -> Iterator[str]:
    """The modules of ours that a file imports. `eager`: only those that its import imports."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if eager and (
                isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _is_typing(child)
            ):
                continue
            if isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    yield full if full in MODULES else child.module
            elif isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            yield from walk(child)

    yield from (name for name in walk(ast.parse(path.read_text())) if name in MODULES)


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Every circle that a walk along the arrows comes back on, as `a > b > a`."""
    found, done = [], set[str]()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append(" > ".join([*path[path.index(node) :], node]))
        elif node not in done:
            for target in sorted(arrows.get(node, ())):
                walk(target, [*path, node])
            done.add(node)

    for start in sorted(arrows):
        walk(start, [])
    return found


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.is_dir() or f"greenlight.{path.stem}" not in FACE)
        and path.name not in ("__init__.py", "__pycache__")
    }
    assert rooms | {"version"} == set(FLOORS)


@pytest.mark.parametrize("eager", [True, False], ids=["at import", "anywhere"])
def test_no_import_goes_up(eager: bool) -> None:
    up = [
        f"{importer} imports {imported}: {room(importer)} is below {room(imported)}"
        for importer, path in MODULES.items()
        if importer not in FACE
        for imported in imports(path, eager)
        if imported == "greenlight" or FLOORS[room(imported)] > FLOORS[room(importer)]
    ]
    assert not up, "\n".join(up)


def test_no_rooms_use_each_other() -> None:
    arrows: dict[str, set[str]] = {}
    for importer, path in MODULES.items():
        for imported in imports(path, eager=False):
            if room(importer) != room(imported) and importer not in FACE:
                arrows.setdefault(room(importer), set()).add(room(imported))
    assert not circles(arrows)


def test_no_files_import_in_a_circle() -> None:
    arrows = {name: set(imports(path, eager=False)) - {name} for name, path in MODULES.items()}
    assert not circles(arrows)


def test_nothing_in_the_package_needs_the_folders_around_it() -> None:
    """`import components` works by chance in a checkout, and nowhere else."""
    outside = {
        "components",
        "pipelines",
        "serving",
        "k8s",
        "rollout",
        "tests",
        "benchmarks",
        "demo",
        "docs",
    }
    bare = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
        if target.split(".")[0] in outside
    ]
    assert not bare
