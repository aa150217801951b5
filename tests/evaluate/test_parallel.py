"""Windows that are read at once: in order, each in a thread, and an error ends them."""

import logging
import threading
import time

import pytest
import torch

from greenlight.core.errors import GreenlightError
from greenlight.evaluate.parallel import score_windows


class Slow:
    """Takes longest for what comes first."""

    at_once = 2

    def __init__(self) -> None:
        self.threads = set[str]()

    def logits(self, ids: list[int], last: int = 0) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        if ids == [7]:
            raise GreenlightError("broken")
        time.sleep(0.2 / (1 + ids[0]))
        return torch.full((len(ids), 3), float(ids[0]))


def test_results_come_in_order_and_from_two_threads() -> None:
    scorer, threads = Slow(), torch.get_num_threads()
    windows = [[0], [1, 1], [2]]
    found = list(
        score_windows(scorer, windows, lambda each: each, lambda _, given: given.sum().item(), 4)
    )
    assert found == [([0], 0.0), ([1, 1], 6.0), ([2], 6.0)]
    assert len(scorer.threads) == 2 and torch.get_num_threads() == threads


def test_an_error_of_a_window_is_raised() -> None:
    with pytest.raises(GreenlightError, match="broken"):
        list(score_windows(Slow(), [[0], [7], [1]], lambda each: each, lambda *_: None, 3))


def test_a_long_window_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("greenlight.evaluate.parallel.PROGRESS_SECONDS", 0.05)
    with caplog.at_level(logging.INFO, "greenlight.evaluate"):
        list(score_windows(Slow(), [[0]], lambda each: each, lambda *_: None, 1))
    assert "scored 0 of 1 tokens in 0 s" in caplog.text
