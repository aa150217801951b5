"""The notebooks: committed without outputs, executed on a run as it lies on a laptop, and on one as
Vertex AI leaves it in a bucket.
"""

import re
from pathlib import Path

import nbformat
import pytest

from tests.benchmark.conftest import StartStub, prompts, start_stub  # noqa: F401  fixtures
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.notebooks.executed import NOTEBOOKS, Executed
from tests.notebooks.made_runs import LOCAL, MEASURED, VERTEX, make_runs


def check_benchmarks(done: Executed) -> None:
    assert not done.complaints
    assert (
        f"Promoted: run {MEASURED}" in done.text
        and "kept all 5 objectives of the gate small" in done.text
    )
    for title in (
        "TTFT: time from",
        "ITL: mean gap",
        "E2E: time from",
        "e2e of each pair",
        "Median e2e of each block",
        "Estimates of the resamples",
    ):
        assert any(found.startswith(title) for found in done.figures), title
    assert all(done.traces), "a chart shows nothing"
    (row,) = re.findall(
        r"^p50 of E2E vs live +(\S+) +(\S+) +1.05 +pass +(\S+)$", done.text, re.MULTILINE
    )
    estimate, bound, resampled = map(float, row)
    assert estimate <= resampled < 1 and estimate < bound < 1, (
        "a candidate that is several times as fast"
    )


def check_history(done: Executed) -> None:
    assert not done.complaints
    assert "By the gate **quick**: 0 same, 1 changed, 4 skipped" in done.text
    assert "What had the traffic" in done.figures and all(done.traces)
    moves = [
        line.split()[3:5]
        for line in done.text.splitlines()
        if re.match(r"\d +2\d{3}-\d\d-\d\d .*(promoted|rolled_back) +(run|hand) ", line)
    ]
    assert moves == [
        ["rolled_back", "hand"],
        ["promoted", "run"],
        ["rolled_back", "run"],
        ["promoted", "run"],
    ], done.text


def test_on_a_local_run(tmp_path: Path, start_stub: StartStub, prompts: str) -> None:
    history = make_runs(tmp_path, LOCAL, str(tmp_path), start_stub, prompts)
    check_benchmarks(Executed("benchmarks", history=history))
    check_history(Executed("history", history=history, gate="quick"))


def test_on_a_run_of_vertex_in_a_bucket(
    tmp_path: Path, bucket, start_stub: StartStub, prompts: str
) -> None:
    history = make_runs(tmp_path, VERTEX, f"gs://{bucket.name}", start_stub, prompts)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.parent != tmp_path:
            bucket.blob(str(path.relative_to(tmp_path))).upload_from_filename(str(path))
    check_benchmarks(Executed("benchmarks", history=history, run=MEASURED))
    check_history(Executed("history", history=history, gate="quick"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs_and_with_its_parameters_first(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert notebook.cells[0] is code[0] and 'os.environ.get("GREENLIGHT_HISTORY"' in code[0].source
    assert not any("os.environ" in cell.source for cell in code[1:])


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["benchmarks", "history"]
