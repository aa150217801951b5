"""Fixtures of the rooms whose work the steps call."""

from tests.benchmark.conftest import prompts, start_stub
from tests.evaluate.conftest import candidates, reference_of

__all__ = ["candidates", "prompts", "reference_of", "start_stub"]
