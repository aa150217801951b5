"""A notebook run to its end in a kernel of its own, as Jupyter would."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"


class Executed:
    """What a notebook showed. Raises nbclient's CellExecutionError when a cell fails.

    Attributes:
        text: everything that was printed or displayed, as plain text and Markdown.
        figures: titles of the charts, empty for one without.
        complaints: what went to stderr, warnings among it.
    """

    def __init__(self, name: str, **environment: str) -> None:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT / "notebooks")}},
        )
        ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        client.execute(
            env={
                **os.environ,
                **ours,
                **{f"GREENLIGHT_{key.upper()}": value for key, value in environment.items()},
            }
        )
        outputs = [
            output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
        ]
        shown = [
            output.data
            for output in outputs
            if output.output_type in ("display_data", "execute_result")
        ]
        printed = [
            output.text
            for output in outputs
            if output.output_type == "stream" and output.name == "stdout"
        ]
        self.text = "\n".join(
            [
                *printed,
                *(
                    data.get("text/markdown", data.get("text/plain", ""))
                    for data in shown
                    if FIGURE not in data
                ),
            ]
        )
        self.figures = [
            data[FIGURE]["layout"].get("title", {}).get("text", "")
            for data in shown
            if FIGURE in data
        ]
        self.traces = [len(data[FIGURE]["data"]) for data in shown if FIGURE in data]
        self.complaints = [
            output.text
            for output in outputs
            if output.output_type == "stream" and output.name == "stderr"
        ]
