"""A line every two seconds that says how far a download is."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger("greenlight.download")

EVERY = 2.0  # seconds


class Progress:
    """Logs while its block runs.

    Args:
        name: of the model.
        here: says how many bytes are there by now. It looks at the disk, so it is right after a
            resume and for any source.
        total: bytes.
    """

    def __init__(self, name: str, here: Callable[[], int], total: int) -> None:
        self.name, self.here, self.total = name, here, total
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")

    def __enter__(self) -> None:
        self._start, self._found = time.monotonic(), self.here()
        total = f"{self.total / 1e6:.1f} MB"
        if self._found:
            log.info(
                "fetching %s: %.1f of %s are here already", self.name, self._found / 1e6, total
            )
        else:
            log.info("fetching %s: %s", self.name, total)
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(EVERY):
            here = self.here()
            speed = (here - self._found) / (time.monotonic() - self._start)
            figure = f"{here / 1e6:.0f} of {self.total / 1e6:.0f} MB"
            log.info(
                "%s: fetched %s, %.1f MB/s",
                self.name,
                figure,
                speed / 1e6,
                extra={"figure": figure},
            )
