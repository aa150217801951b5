"""A barrier for workers that begin together: through small files in a folder, or objects in a
bucket where they are pods.
"""

import time

from greenlight.core import storage

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 600.0
"""Pods are scheduled one after the other, and nodes may have to be made for them."""
START_DELAY_SECONDS = 0.5
"""From the last worker's arrival to the common start: time for all to read it."""


class Barrier:
    """Where `workers` workers wait for each other. One alone waits for nobody.

    Args:
        place: folder or gs:// prefix that all of them reach, of this attempt alone.
    """

    def __init__(self, place: str, worker: int, workers: int) -> None:
        self.place, self.worker, self.workers = place, worker, workers

    def wait(self, name: str) -> float:
        """Wait until all workers have arrived. Returns the time at which all of them begin, in
        seconds since the epoch.

        Raises:
            TimeoutError: some did not arrive in time.
        """
        if self.workers == 1:
            return time.time()
        storage.write_bytes(
            storage.join(self.place, name, str(self.worker)), repr(time.time()).encode()
        )
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(there := storage.list_names(storage.join(self.place, name))) < self.workers:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"only {len(there)} of {self.workers} workers of the benchmark reached the"
                    f" barrier {name} within {TIMEOUT_SECONDS:g} s"
                )
            time.sleep(POLL_SECONDS)
        return (
            max(float(storage.read_bytes(storage.join(self.place, name, each))) for each in there)
            + START_DELAY_SECONDS
        )
