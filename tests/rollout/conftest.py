from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rollout.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A service with nothing deployed. Whatever a test starts is ended with it."""
    made = Stage(tmp_path)
    yield made
    made.close()
