"""The state file and the lease."""

import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from greenlight.core.errors import ConflictError, IntegrityError
from greenlight.core.records.base import _warn_of_newer
from greenlight.rollout.local.store import Store
from greenlight.rollout.state import HISTORY_LIMIT, ServiceState

OLD_STATE = Path(__file__).parent / "state_of_release_0_1_0.json"
"""Written by the release before this one, after a promotion."""


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
    ["", "{", "[]", '{"schema_version": 2, "service": "llm"}', '{"service": "llm", "live": 1}'],
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


def test_the_state_of_the_release_before_is_read_and_carried_on(tmp_path: Path) -> None:
    shutil.copy(OLD_STATE, tmp_path / "state.json")
    store = Store(tmp_path, "llm-inference")
    state = store.read()
    assert (state.live, state.version, state.port) == ("green", "7", 8080)
    assert state.live_release and state.live_release.release_id == "optimum8-78a378e0"
    assert state.previous == state.blue and state.decision == "df688723910f"
    assert [event.what for event in state.history] == ["went_live", "deployed", "promoted"]
    written = store.commit(state.noting("down", state.live_release))
    assert written.version == "8" and store.read() == written
    before, after = json.loads(OLD_STATE.read_text()), json.loads(store.path.read_text())
    changed = {"version", "history"}
    assert {key: value for key, value in after.items() if key not in changed} == {
        key: value for key, value in before.items() if key not in changed
    }, "the proxy of that release, which may still run, reads it too"


def test_fields_of_a_newer_version_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = json.loads(OLD_STATE.read_text())
    document["region"] = "eu"
    document["green"]["instances"][0]["zone"] = {"name": "b"}
    document["history"][1]["ticket"] = 7
    (tmp_path / "state.json").write_text(json.dumps(document))
    store = Store(tmp_path, "llm-inference")
    _warn_of_newer.cache_clear()
    with caplog.at_level(logging.WARNING):
        state = store.read()
        assert store.read() == state
    assert state == ServiceState.model_validate_json(OLD_STATE.read_text())
    told = {message.partition(":")[0]: message for message in caplog.messages}
    assert len(told) == len(caplog.messages) == 3, "once per kind, however often it is read"
    assert told["ServiceState"].endswith("region") and told["Instance"].endswith("zone")
    assert told["Event"].endswith("ticket")


def test_what_else_is_wrong_beside_a_new_field_is_refused(tmp_path: Path) -> None:
    document = json.loads(OLD_STATE.read_text()) | {"region": "eu", "live": "red"}
    (tmp_path / "state.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="is not readable"):
        Store(tmp_path, "llm-inference").read()
