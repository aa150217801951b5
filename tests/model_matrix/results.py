"""The cells that were run, as they lie in docs/models.json: a line for each."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.model_matrix.architectures import ARCHITECTURES
from tests.model_matrix.cells import Cell
from tests.serving.server_process import ROOT

RESULTS = ROOT / "docs/models.json"


@dataclass
class Results:
    """Attributes:
    made: date, machine and versions of the last run.
    """

    made: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Empty where there is no such file."""
        if not path.is_file():
            return cls()
        content = json.loads(path.read_bytes())
        return cls(content["made"], [Cell(**each) for each in content["cells"]])

    def add(self, cell: Cell) -> None:
        """Instead of what was found of it before."""
        self.cells = [each for each in self.cells if each.key != cell.key] + [cell]

    def save(self, path: Path) -> None:
        order = list(ARCHITECTURES)
        lines = [
            json.dumps(asdict(cell), ensure_ascii=False)
            for cell in sorted(
                self.cells,
                key=lambda each: (order.index(each.architecture), each.method, each.bits or 0),
            )
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            '{"made": ' + json.dumps(self.made) + ',\n"cells": [\n' + ",\n".join(lines) + "\n]}\n"
        )
