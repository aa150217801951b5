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
        return subprocess.run([*QUERY, "--query-gpu=name"], capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return f"{len(os.sched_getaffinity(0))} CPU cores, no GPU"


class GpuMemory:
    """The most memory that the first GPU had in use within the block, above what it had before, in bytes. 0 where there is none."""

    def __enter__(self) -> "GpuMemory":
        self._mib: list[int] = []
        try:
            command = [*QUERY, "--query-gpu=memory.used", "--id=0", f"--loop-ms={POLL_MS}"]
            self._reader: subprocess.Popen[str] | None = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self._reader = None
            return self
        first = self._reader.stdout.readline()  # type: ignore[union-attr]
        self._note(first)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._reader:
            self._reader.terminate()
            self._reader.wait()
            self._thread.join()

    @property
    def peak(self) -> int:
        return 2**20 * (max(self._mib) - self._mib[0]) if self._mib else 0

    def _read(self) -> None:
        for line in self._reader.stdout:  # type: ignore[union-attr]
            self._note(line)

    def _note(self, line: str) -> None:
        if line.strip().isdigit():
            self._mib.append(int(line))
