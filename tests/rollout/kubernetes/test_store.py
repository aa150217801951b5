"""The state in an annotation and the lease, against an API server in memory that checks
resourceVersions as the real one does.
"""

import copy
import threading
import time
from typing import Any

import pytest

from greenlight.core.errors import ConflictError, InputError, IntegrityError
from greenlight.core.records import Release
from greenlight.rollout.kubernetes import store as store_module
from greenlight.rollout.kubernetes.connection import ApiError, Connection, Json
from greenlight.rollout.kubernetes.store import HOLDER, NOBODY, STATE, Store
from greenlight.rollout.state import Holder, ServiceState, who

SERVICE = "/api/v1/namespaces/ns/services/llm"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/llm-rollout"


class Memory(Connection):
    """Objects by path. `before` is called ahead of each write, as somebody else who is a little
    faster.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Json] = {
            SERVICE: {
                "metadata": {"resourceVersion": "1", "uid": "u"},
                "spec": {"selector": {"app": "llm"}},
            }
        }
        self.before = lambda: None
        self.events: list[Json] = []
        self.lose_answers = 0

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "",
        query: dict[str, str] | None = None,
    ) -> Json:
        if path.endswith("/events"):
            self.events.append(body)
            return body
        if method == "GET":
            if path not in self.objects:
                raise ApiError(404, "not found")
            return copy.deepcopy(self.objects[path])
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, "already exists")
            self.objects[path] = {"metadata": {"resourceVersion": "1"}}
            return self.write(path, body)
        before, self.before = self.before, lambda: None
        before()
        wanted = body["metadata"].pop("resourceVersion", None)
        if wanted not in (None, self.objects[path]["metadata"]["resourceVersion"]):
            raise ApiError(409, "the object has been modified")
        written = self.write(path, body)
        if self.lose_answers:  # what the retries of a real connection make of it
            self.lose_answers -= 1
            raise ApiError(409, "the object has been modified, by the try whose answer was lost")
        return written

    def write(self, path: str, body: Json) -> Json:
        found = self.objects[path]
        merge(found, body)
        found["metadata"]["resourceVersion"] = str(int(found["metadata"]["resourceVersion"]) + 1)
        return copy.deepcopy(found)


def merge(into: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def release(color: str, name: str) -> Release:
    what = {
        "service": "llm",
        "model_uri": "gs://b/m",
        "digest": "d",
        "source": "s",
        "commit": "c",
        "method": "none",
        "bits": 16,
        "engine": "e",
    }
    return Release.model_validate({"release_id": name, "color": color, **what})


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def store(memory: Memory) -> Store:
    return Store(memory, "llm", "ns")


@pytest.fixture
def live(store: Store) -> ServiceState:
    return store.commit(
        store.read()
        .filled(release("blue", "one"))
        .filled(release("green", "two"))
        .having(live="blue")
    )


def test_one_write_moves_the_selector_and_the_state(
    store: Store, memory: Memory, live: ServiceState
) -> None:
    service = memory.objects[SERVICE]
    assert service["spec"]["selector"] == {"app": "llm", "version": "blue"}
    assert service["metadata"]["annotations"]["greenlight.dev/live-release"] == "one"
    assert store.read() == live and live.version == "1"


def test_before_anything_is_live_the_service_selects_nobody(store: Store, memory: Memory) -> None:
    store.commit(store.read())
    assert memory.objects[SERVICE]["spec"]["selector"]["version"] == NOBODY


def test_a_write_on_what_was_read_before_is_refused(store: Store, live: ServiceState) -> None:
    store.commit(live.having(live="green"))
    with pytest.raises(ConflictError, match="version 2, expected 1"):
        store.commit(live.having(live="blue"))
    assert store.read().live == "green"


def test_what_others_write_to_the_service_is_no_conflict(
    store: Store, memory: Memory, live: ServiceState
) -> None:
    memory.before = lambda: memory.write(
        SERVICE, {"metadata": {"annotations": {"cloud.google.com/neg-status": "{}"}}}
    )  # type: ignore[assignment]
    assert store.commit(live.having(live="green")).live == "green"
    assert memory.objects[SERVICE]["metadata"]["annotations"]["cloud.google.com/neg-status"] == "{}"


def test_another_run_that_is_faster_wins(store: Store, memory: Memory, live: ServiceState) -> None:
    other = Store(memory, "llm", "ns")
    memory.before = lambda: other.commit(live.noting("retired"))  # type: ignore[assignment]
    with pytest.raises(ConflictError):
        store.commit(live.having(live="green"))
    assert store.read().live == "blue"


def test_a_write_whose_answer_was_lost_counts(
    store: Store, memory: Memory, live: ServiceState
) -> None:
    memory.lose_answers = 1
    assert store.commit(live.having(live="green")).version == "2"
    assert store.read().live == "green"


def test_a_switch_by_hand_is_what_is_live(store: Store, memory: Memory, live: ServiceState) -> None:
    memory.write(SERVICE, {"spec": {"selector": {"version": "green"}}})
    assert store.read().live == "green" and store.read().version == live.version
    memory.write(SERVICE, {"spec": {"selector": {"version": "purple"}}})
    state = store.read()
    assert state.live == "blue" and store.drifted(state)
    store.commit(state)
    assert memory.objects[SERVICE]["spec"]["selector"]["version"] == "blue"


def test_history_is_told_as_events(store: Store, memory: Memory, live: ServiceState) -> None:
    store.commit(live.noting("promoted", release("green", "two"), "run-1", "d1"))
    (event,) = memory.events
    assert (event["reason"], event["type"], event["involvedObject"]["name"]) == (
        "Promoted",
        "Normal",
        "llm",
    )
    assert "two on green, run run-1, decision d1" in event["message"]


def test_what_cannot_be_read_is_named(store: Store, memory: Memory) -> None:
    memory.write(SERVICE, {"metadata": {"annotations": {STATE: "{"}}})
    with pytest.raises(IntegrityError, match=STATE):
        store.read()
    with pytest.raises(InputError, match="no such Service"):
        Store(memory, "other", "ns").read()


class TestLease:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store_module, "LEASE_SECONDS", 1)
        monkeypatch.setattr(store_module, "RENEW_SECONDS", 0.2)

    def test_is_free_again(self, store: Store, memory: Memory) -> None:
        for _ in range(2):
            with store.lease("run-1", "promote"):
                holder = store.holder()
                assert holder and (holder.run_id, holder.action) == ("run-1", "promote")
            assert store.holder() is None

    def test_somebody_alive_is_named(self, store: Store, memory: Memory) -> None:
        with (
            store.lease("run-1", "promote"),
            pytest.raises(ConflictError, match=r"run run-1 \(promote by"),
            Store(memory, "llm", "ns").lease("run-2", "promote"),
        ):
            pass

    def held(self, memory: Memory, holder: Holder) -> None:
        spec = {
            "holderIdentity": "somebody",
            "leaseDurationSeconds": 1,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        }
        memory.objects[LEASE] = {
            "metadata": {"resourceVersion": "1", "annotations": {HOLDER: holder.model_dump_json()}},
            "spec": spec,
        }

    @pytest.mark.alone
    def test_of_a_process_that_died_here_is_free_at_once(
        self, store: Store, memory: Memory
    ) -> None:
        self.held(memory, Holder(run_id="dead", action="promote", who=who(), pid=2**22 - 7))
        began = time.monotonic()
        with store.lease("run-2", "promote"):
            assert time.monotonic() - began < 0.5

    @pytest.mark.alone
    def test_that_is_not_renewed_expires(self, store: Store, memory: Memory) -> None:
        self.held(memory, Holder(run_id="dead", action="promote", who="somebody@elsewhere", pid=1))
        began = time.monotonic()
        with store.lease("run-2", "promote"):
            assert 1 <= time.monotonic() - began < 3
        assert memory.objects[LEASE]["spec"]["leaseTransitions"] == 2

    def test_that_somebody_took_stops_every_write(
        self, store: Store, memory: Memory, live: ServiceState
    ) -> None:
        lost = threading.Event()
        with store.lease("run-1", "promote"):
            memory.write(LEASE, {"spec": {"holderIdentity": "another"}})
            assert store._lost.wait(2)
            with pytest.raises(ConflictError, match="lease"):
                store.commit(live.having(live="green"))
            lost.set()
        assert lost.is_set() and store.read().live == "blue"
        assert memory.objects[LEASE]["spec"]["holderIdentity"] == "another", (
            "it is not taken away from whoever has it now"
        )
