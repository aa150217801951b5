"""docs/python.md: its examples, run in order on the runs of a history; the notebooks use no more
than it documents.
"""

import ast
import re
import shutil
import socket
from pathlib import Path

import nbformat
import pytest

import greenlight
from tests.benchmark.conftest import StartStub, prompts, start_stub  # noqa: F401  fixtures
from tests.notebooks.executed import NOTEBOOKS, ROOT
from tests.notebooks.made_runs import LOCAL, MEASURED, make_runs

PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
NOT_RUN = re.findall(r"^```python no-run\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
STARTS_A_RUN = 'greenlight.run(model="builtin:tiny", method='


def run_block(code: str, names: dict[str, object]) -> None:
    exec(compile(code, "docs/python.md", "exec"), names)


def test_the_examples_run_in_order(
    tmp_path: Path,
    start_stub: StartStub,
    prompts: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = make_runs(tmp_path / "made", LOCAL, str(tmp_path / "made"), start_stub, prompts)
    shutil.copytree(made, tmp_path / ".greenlight" / "history")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"greenlight": greenlight}
    examples = [block for block in BLOCKS if STARTS_A_RUN not in block]
    assert len(examples) == len(BLOCKS) - 1 > 5
    for block in examples:
        run_block(block, names)
    printed = capsys.readouterr().out
    assert printed.startswith("gate ")  # the field of the InputError
    assert f"{MEASURED} promoted promote" in printed
    assert "kept all 5 objectives of the gate small" in printed
    assert (tmp_path / "ttft.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_example_that_starts_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real: the built-in model, quantized, served, measured and judged on this machine."""
    from tests.end_to_end.conftest import Home

    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in BLOCKS if STARTS_A_RUN in block]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names: dict[str, object] = {}
    try:
        run_block(block.replace('gate="quick")', f'gate="quick", port={port})'), names)
        outcome = names["outcome"]
        assert isinstance(outcome, greenlight.Outcome)
        assert outcome.exit_code in (0, 3) and outcome.verdict is not None, outcome.reason
        assert Path(outcome.report).is_file() and Path(outcome.log).is_file()
        assert greenlight.load_run().run_id == outcome.run_id
    finally:
        Home(tmp_path / ".greenlight", port)("down")


def test_the_page_names_all_that_is_public() -> None:
    unnamed = [
        name
        for name in greenlight.__all__
        if name[0].islower() and f"greenlight.{name}(" not in PAGE and f"`{name}" not in PAGE
    ]
    assert not unnamed, "describe them on docs/python.md"


def test_what_is_not_run_is_valid_python() -> None:
    (block,) = NOT_RUN
    ast.parse(block)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_public_face_alone(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(cell.source for cell in cells))
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
        if name.split(".")[0] == "greenlight"
    ]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "greenlight"
    }
    assert imported == ["greenlight"] and used <= set(greenlight.__all__)
