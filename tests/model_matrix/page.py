"""docs/models.md, made from docs/models.json: `make models-page`."""

from collections.abc import Callable, Iterable
from pathlib import Path

from greenlight.core.records import recipe_name
from greenlight.quantize.methods import capabilities
from tests.model_matrix.architectures import ARCHITECTURES, SIXTH
from tests.model_matrix.cells import Cell
from tests.model_matrix.results import RESULTS, Results
from tests.serving.server_process import ROOT

PAGE = ROOT / "docs/models.md"
MARKS = {"served": "✓", "refused": "–", "not run": "·", "failed": "✗"}
RANK = ("failed", "served", "refused", "not run")
"""What a method's mark shows where its engines differ: the first of these that occurs."""

INTRODUCTION = """# Models

Which architectures each method quantizes, and which engines serve the result: what ran, not what
should run. For each architecture of transformers a small model with random weights goes through
every method and every engine:

1. **quantized**, and reloaded in a fresh process, with the checks of
   [quantization](quantization.md);
2. **evaluated** against its baseline, with a finite KL divergence;
3. **served** by each engine, which gives the golden answers that the evaluation wrote down.

Or the method refuses it before any work, from config and weight headers, with the reason and with
a method that does take it. Anything else is a failure, and is shown as one.

✓ served, – refused, ✗ failed, · not run. Where the engines of a method differ, the table of methods
shows a failure before anything else.
"""
HOW = """## How this was made

`make test-models` runs the whole matrix and writes this page and `docs/models.json`, which has a
line per cell: outcome, reason, share of the linear weights that was quantized, bytes, KL
divergence, number of golden answers, seconds. `make test` runs {sixth}, one method each on vLLM,
and fails where a cell ends otherwise than it says here. Up to an eighth of the
[golden answers](evaluation.md#golden-answers) may differ, as in a rollout.

The models have two layers and widths of 128 to 512: an architecture that is taken here can still be
refused for a model whose widths a method does not take. Random weights say nothing about quality:
that is what the [gate](gate.md) is for.

| | |
|---|---|
{made}
"""


def render(results: Results) -> str:
    parts = [
        INTRODUCTION,
        _section("By method", _table(results.cells, _recipe, _recipes())),
        _section("By engine", _table(results.cells, lambda cell: cell.engine, _engines())),
        _section("Refused, and why", _reasons(results.cells, "refused")),
        _section("Failed", _reasons(results.cells, "failed")),
        _section("Not run", _reasons(results.cells, "not run")),
        HOW.format(
            sixth=", ".join(SIXTH),
            made="\n".join(f"| {key} | {value} |" for key, value in results.made.items()),
        ),
    ]
    return "\n".join(parts)


def write_page(results: Results, path: Path) -> None:
    path.write_text(render(results))


def _section(title: str, content: str) -> str:
    return f"## {title}\n\n{content or 'Nothing.'}\n"


def _table(cells: list[Cell], column: Callable[[Cell], str], columns: list[str]) -> str:
    lines = ["| architecture | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in ARCHITECTURES:
        marks = []
        for each in columns:
            found = {
                cell.outcome for cell in cells if cell.architecture == name and column(cell) == each
            }
            marks.append(next((MARKS[outcome] for outcome in RANK if outcome in found), " "))
        lines.append(f"| `{name}` | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def _reasons(cells: Iterable[Cell], outcome: str) -> str:
    """A row per reason: which architectures, which methods and engines."""
    rows: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for cell in cells:
        if cell.outcome == outcome:
            names, where = rows.setdefault(cell.reason.replace("|", "\\|"), ({}, {}))
            names[f"`{cell.architecture}`"] = None
            on = "" if outcome == "refused" else f" on {cell.engine}"
            where[f"{_recipe(cell)}{on}"] = None
    if not rows:
        return ""
    head = ["| architecture | method | reason |", "|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| {'all' if len(names) == len(ARCHITECTURES) else ', '.join(names)}"
            f" | {', '.join(where)} | {reason} |"
            for reason, (names, where) in rows.items()
        ]
    )


def _recipe(cell: Cell) -> str:
    return recipe_name(cell.method, cell.bits or 0)


def _recipes() -> list[str]:
    return [recipe_name(row.method, row.bits or 0) for row in capabilities()]


def _engines() -> list[str]:
    return sorted({engine for row in capabilities() for engine in row.engines})


if __name__ == "__main__":
    write_page(Results.load(RESULTS), PAGE)
