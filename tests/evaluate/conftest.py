from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from greenlight.evaluate.reference import make_reference
from tests.quantize.candidates import Candidates, shared_candidates


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    return shared_candidates(Path(tmp_path_factory.getbasetemp()) / "candidates")


@pytest.fixture(scope="session")
def reference_of(
    candidates: Candidates, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """What a baseline predicts for eight documents, made once."""

    @cache
    def make(baseline: Path) -> Path:
        folder = tmp_path_factory.mktemp("reference")
        make_reference(baseline, folder, text=str(candidates.heldout)).save(folder)
        return folder

    return make
