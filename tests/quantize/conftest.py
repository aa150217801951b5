from pathlib import Path

import pytest

from tests.quantize.candidates import Candidates, shared_candidates


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    return shared_candidates(Path(tmp_path_factory.getbasetemp()) / "candidates")
