"""The state file and the lease."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from greenlight.core.errors import ConflictError, IntegrityError
from greenlight.rollout.local.store import Store
from greenlight.rollout.state import HISTORY_LIMIT, ServiceState


def add_ten(folder: Path) -> int:
    """Ten additions of a line of history, each repeated until it wins; returns how often it
    lost.
    """
    store, lost = Store(folder, "llm"), 0
    for _ in range(10):
        while True:
            try:
                store.commit(store.read().noting("deployed", run_id=str(os.getpid())))
                break
            except ConflictError:
                lost += 1
    return lost


def test_a_write_is_read_back_with_the_next_version(tmp_path: Path) -> None:
    store = Store(tmp_path / "new", "llm")
    assert store.read() == ServiceState(service="llm")
    first = store.commit(store.read().having(port=1))
    second = store.commit(first.having(port=2))
    assert (first.version, second.version, store.read()) == ("1", "2", second)


def test_a_write_on_an_old_version_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "llm")
    old = store.read()
    store.commit(old.having(port=1))
    with pytest.raises(ConflictError, match="version 1, expected 0"):
        store.commit(old.having(port=2))
    assert store.read().port == 1


def test_no_write_is_lost_between_processes(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(add_ten, [tmp_path] * 4))
    state = Store(tmp_path, "llm").read()
    assert (state.version, len(state.history)) == ("40", 40)


def test_the_history_does_not_grow_for_ever() -> None:
    state = ServiceState(service="llm")
    for number in range(HISTORY_LIMIT + 5):
        state = state.noting("deployed", run_id=str(number))
    assert len(state.history) == HISTORY_LIMIT and state.history[-1].run_id == str(
        HISTORY_LIMIT + 4
    )


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"schema_version": 2, "service": "llm"}', '{"service": "llm", "blue": 1}'],
)
def test_what_is_no_state_is_a_clear_error(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path, "llm")
    store.path.write_text(content)
    with pytest.raises(
        IntegrityError, match=r"state\.json is not readable as the state of service llm"
    ):
        store.read()
    with pytest.raises(IntegrityError):
        store.commit(ServiceState(service="llm"))
    assert store.path.read_text() == content


def test_the_lease_has_one_holder(tmp_path: Path) -> None:
    store, other = Store(tmp_path, "llm"), Store(tmp_path, "llm")
    assert store.holder() is None
    with store.lease("run-1", "promote"):
        holder = other.holder()
        assert holder and (holder.run_id, holder.action, holder.pid) == (
            "run-1",
            "promote",
            os.getpid(),
        )
        with (
            pytest.raises(ConflictError, match="service llm is being rolled out by run run-1"),
            other.lease("run-2", "retire"),
        ):
            pass
    assert store.holder() is None
    with other.lease("run-2", "retire"):
        pass


def test_the_lease_is_free_after_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path, "llm")
    with pytest.raises(ZeroDivisionError), store.lease("run-1", "promote"):
        raise ZeroDivisionError
    with store.lease("run-2", "promote"):
        pass


def test_what_was_started_under_a_lease_does_not_hold_it(tmp_path: Path) -> None:
    store = Store(tmp_path, "llm")
    with store.lease("run-1", "deploy_green"):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(30)"])
    try:
        assert store.holder() is None
        with store.lease("run-2", "promote"):
            pass
    finally:
        child.kill()
        child.wait()
