"""Windows of a text read by a loaded model, as many at once as it can: a thread each.

A window is computed by one thread from start to end, so its result does not depend on how many run
beside it. The threads of one matrix product wait for each other, which costs most where other
processes keep the cores busy. There, 1,754 tokens of a 135M model took 6 CPU seconds in two threads
so; 18 to 41 with two threads for each window in turn, 6 to 18 in padded batches with two threads
(32 bits; in bfloat16 6, 36 to 65, and 8 to 35).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from greenlight.core.waiting import report_meanwhile
from greenlight.evaluate.scorers import Scorer
from greenlight.evaluate.windows import PROGRESS_SECONDS

if TYPE_CHECKING:
    import torch

log = logging.getLogger("greenlight.evaluate")

W = TypeVar("W")
R = TypeVar("R")


def report_seconds(what: str) -> AbstractContextManager[None]:
    """Say every second that this goes on: `loading the baseline`."""
    return report_meanwhile(
        lambda seconds: log.info(what, extra={"figure": f"{seconds:.0f} s"}), PROGRESS_SECONDS
    )


def score_windows(
    scorer: Scorer,
    windows: Iterable[W],
    inputs: Callable[[W], list[int]],
    reduce: Callable[[W, "torch.Tensor"], R],
    tokens: int,
) -> Iterator[tuple[W, R]]:
    """Each window with what `reduce` makes of its logits, in order. Says how far they are.

    Args:
        inputs: the tokens to read of a window.
        reduce: runs in the thread that computed the logits; these are gone afterwards.
        tokens: of all windows.
    """
    import torch

    threads, began = torch.get_num_threads(), time.monotonic()
    told, done = began, 0

    def work(window: W) -> R:
        return reduce(window, scorer.logits(inputs(window)))

    def finish(window: W, future: Future[R]) -> R:
        nonlocal told, done
        while not future.done():
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                log.info(
                    "scored %d of %d tokens in %.0f s",
                    done,
                    tokens,
                    told - began,
                    extra={"figure": f"{done / tokens:.0%}"},
                )
            time.sleep(0.005)
        done += len(inputs(window))
        return future.result()

    waiting = deque[tuple[W, Future[R]]]()
    with ThreadPoolExecutor(
        scorer.at_once,
        initializer=torch.set_num_threads,
        initargs=(max(1, threads // scorer.at_once),),
    ) as pool:
        try:
            for window in windows:
                if len(waiting) > scorer.at_once:
                    first = waiting.popleft()
                    yield first[0], finish(*first)
                waiting.append((window, pool.submit(work, window)))
            for first in waiting:
                yield first[0], finish(*first)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
