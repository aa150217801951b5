"""The state file and the lease of one service on this machine."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from greenlight.core.errors import ConflictError, IntegrityError
from greenlight.core.files import write_file
from greenlight.rollout.state import Action, Holder, ServiceState, who

STATE_FILE = "state.json"
LEASE_TRIES, LEASE_PAUSE_S = 10, 0.05
"""`holder` has the lock for an instant. Who wants the lease must not take that for another run."""


class Store:
    """The folder of a service. The state is replaced by rename, so a reader (the proxy reads it
    too) sees the old or the new, never half.
    """

    def __init__(self, folder: Path, service: str) -> None:
        self.folder, self.service = folder, service
        self.path = folder / STATE_FILE

    def read(self) -> ServiceState:
        """The latest state; a fresh one where nothing was written yet.

        Raises:
            IntegrityError: the file is not a state that this version can read.
        """
        try:
            return ServiceState.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return ServiceState(service=self.service)
        except ValidationError as error:
            raise IntegrityError(
                f"{self.path} is not readable as the state of service {self.service}"
                f" ({error.errors()[0]['msg']}). What serves keeps serving. Put a good copy back,"
                " or move the file away and run `greenlight run`: it starts over with the"
                " baseline."
            ) from None

    def commit(self, state: ServiceState) -> ServiceState:
        """Write `state` if the file still has the version that it was made from.

        Raises:
            ConflictError: the file has another version by now. Nothing was written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "state.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # between read and rename; gone with this process
            latest = self.read()
            if latest.version != state.version:
                raise ConflictError(
                    f"the state of service {self.service} was changed by somebody else (version"
                    f" {latest.version}, expected {state.version}). Nothing was done. Look at"
                    " `greenlight status`, then run this again."
                )
            written = state.having(version=str(int(latest.version) + 1))
            write_file(self.path, written.model_dump_json(indent=1) + "\n")
        return written

    @contextlib.contextmanager
    def lease(self, run_id: str, action: Action) -> Iterator[None]:
        """Hold the service alone. The kernel frees the lock with the process, however that ends;
        the text in the file is for people.

        Raises:
            ConflictError: a process that is alive holds it. Names it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lease", "a+") as file:
            for _ in range(LEASE_TRIES):
                if _try_lock(file.fileno(), fcntl.LOCK_EX):
                    break
                time.sleep(LEASE_PAUSE_S)
            else:
                holder = _read_holder(self.folder / "lease")
                raise ConflictError(
                    f"service {self.service} is being rolled out by {holder or 'another command'}."
                    " Nothing was done. Wait for it to end, then run this again."
                )
            file.truncate(0)
            file.write(
                Holder(run_id=run_id, action=action, who=who(), pid=os.getpid()).model_dump_json()
            )
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def holder(self) -> Holder | None:
        """Who holds the lease now. A text left by a dead process does not count."""
        path = self.folder / "lease"
        if not path.exists():
            return None
        with open(path) as file:
            return None if _try_lock(file.fileno(), fcntl.LOCK_SH) else _read_holder(path)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _read_holder(path: Path) -> Holder | None:
    try:
        return Holder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
