"""The built-in model, quantized once a session by every method that a test asks for. Shared by the
tests of quantize and evaluate.
"""

import functools
from pathlib import Path

from greenlight.models.builtin import CALIBRATION, HELDOUT, TINY
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import quantize_model

CALIBRATION_SAMPLES = 8
HELDOUT_DOCUMENTS = 8


class Candidates:
    """Artifacts below one folder, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calibration = _first_lines(
            CALIBRATION, CALIBRATION_SAMPLES, folder / "calibration.jsonl"
        )
        self.heldout = _first_lines(HELDOUT, HELDOUT_DOCUMENTS, folder / "heldout.jsonl")

    @functools.cache  # noqa: B019 (lives as long as the session)
    def make(self, method: str, bits: int, baseline: Path = TINY) -> Path:
        output = self.folder / f"{baseline.name}-{method}-{bits}"
        quantize_model(baseline, output, method, bits, Calibration(str(self.calibration)))
        return output


@functools.cache
def shared_candidates(folder: Path) -> Candidates:
    folder.mkdir(exist_ok=True)
    return Candidates(folder)


def _first_lines(source: Path, count: int, target: Path) -> Path:
    target.write_text("".join(source.read_text().splitlines(keepends=True)[:count]))
    return target
