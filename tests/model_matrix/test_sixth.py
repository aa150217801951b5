"""A fixed sixth of the matrix; `make test-models` runs all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_matrix.architectures import ARCHITECTURES, SIXTH
from tests.model_matrix.page import PAGE, render
from tests.model_matrix.results import RESULTS, Results
from tests.serving.server_process import ROOT


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    output = tmp_path_factory.mktemp("models") / "models.json"
    command = [sys.executable, "-m", "tests.model_matrix", "--sixth", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert output.is_file(), done.stdout + done.stderr
    return Results.load(output)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", SIXTH)
def test_every_cell_ends_as_the_page_says(found: Results, architecture: str) -> None:
    kept = {cell.key: cell for cell in Results.load(RESULTS).cells}
    cells = [cell for cell in found.cells if cell.architecture == architecture]
    assert {cell.key for cell in cells} == {key for key in kept if key[0] == architecture}
    # a GPU or vLLM may be here, and not where the page was made, or the other way round
    ended = [cell for cell in cells if "not run" not in (cell.outcome, kept[cell.key].outcome)]
    assert {cell.key: cell.outcome for cell in ended} == {
        cell.key: kept[cell.key].outcome for cell in ended
    }, "\n".join(cell.line() for cell in ended)
    for cell in ended:
        if cell.outcome == "served" and cell.method != "none":
            assert cell.share and cell.share >= 0.9
            assert cell.kl and cell.golden


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text() == render(Results.load(RESULTS)), "make models-page"


def test_the_results_have_every_architecture_and_no_cell_twice() -> None:
    keys = [cell.key for cell in Results.load(RESULTS).cells]
    assert len(keys) == len(set(keys))
    assert {key[0] for key in keys} == set(ARCHITECTURES)


def test_the_folders_of_the_run_are_not_on_the_page(tmp_path: Path) -> None:
    assert "/tmp" not in RESULTS.read_text()
