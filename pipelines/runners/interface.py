"""What a runner is: it takes the compiled pipeline and its parameters somewhere, and follows the run to its end."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from components.resolve.parameters import Parameters
from components.step import StepEvent

Listener = Callable[[StepEvent], None]
"""Hears what the steps say, as they say it."""


class Runner(ABC):
    @abstractmethod
    def run(self, parameters: Parameters, run_id: str, listener: Listener) -> bool:
        """Run the pipeline to its end. True when no step failed."""
