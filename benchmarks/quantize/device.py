"""What quantizes here: a GPU with its memory, or the cores of the CPU."""

import os
import subprocess
import threading
from types import TracebackType

QUERY = ["nvidia-smi", "--format=csv,noheader,nounits"]
POLL_MS = 100


def device() -> str:
    """The GPU's name, or how many cores there are."""
    try:
        return subprocess.run(
            [*QUERY, "--query-gpu=name"], capture_output=True, text=True, check=True, timeout=20
        ).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"


class GpuMemory:
    """The most memory that each process had on a GPU within the block: `peaks`, process id to
    bytes. Empty where there is none.
    """

    def __init__(self) -> None:
        self.peaks: dict[int, int] = {}

    def __enter__(self) -> "GpuMemory":
        try:
            command = [*QUERY, "--query-compute-apps=pid,used_memory", f"--loop-ms={POLL_MS}"]
            self._reader: subprocess.Popen[str] | None = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            self._reader = None
            return self
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader:
            self._reader.terminate()
            self._reader.wait()
            self._thread.join()

    def _read(self) -> None:
        assert self._reader and self._reader.stdout
        for line in self._reader.stdout:
            pid, _, mib = (part.strip() for part in line.partition(","))
            if pid.isdigit() and mib.isdigit():
                self.peaks[int(pid)] = max(self.peaks.get(int(pid), 0), 2**20 * int(mib))
