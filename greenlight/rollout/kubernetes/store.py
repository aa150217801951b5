"""The state of a service and its lease, in the cluster: an annotation of the stable Service, and a
Lease.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from greenlight.core.errors import ConflictError, GreenlightError, InputError, IntegrityError
from greenlight.core.records import utc_now
from greenlight.rollout.kubernetes.connection import ApiError, Connection, Json
from greenlight.rollout.state import OTHER, Action, Event, Holder, ServiceState, who

log = logging.getLogger("greenlight.rollout")

PREFIX = "greenlight.dev"
STATE = f"{PREFIX}/state"
HOLDER = f"{PREFIX}/holder"
COLOR_KEY = "version"
NOBODY = "none"
"""What the stable Service selects before anything is live: no pod has it."""
EVENT_REASONS = {
    "went_live": "WentLive",
    "deployed": "Deployed",
    "promoted": "Promoted",
    "rolled_back": "BakeFailed",
    "rollback": "RolledBack",
    "retired": "Retired",
    "interrupted": "Interrupted",
    "restarted": "Restarted",
    "down": "Down",
    "scaled_down": "ScaledDown",
    "asleep": "Asleep",
}
LEASE_SECONDS, RENEW_SECONDS = 15, 3.0
TRIES = 20


class Store:
    """What is live, as the cluster knows it.

    The selector of the stable Service is the traffic; the annotation beside it says the rest, and
    both change in one write.

    `version` counts the writes of the annotation. Other fields of the Service may change meanwhile
    (a load balancer writes its status there): a write is then repeated on the latest
    resourceVersion, as long as the annotation and the selector are what was read.
    """

    def __init__(self, connection: Connection, service: str, namespace: str) -> None:
        self.connection, self.service, self.namespace = connection, service, namespace
        self.path = f"/api/v1/namespaces/{namespace}/services/{service}"
        self.lease_path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._lost = threading.Event()

    def read(self) -> ServiceState:
        """The latest state; a fresh one where nothing was written yet. The selector has the last
        word on what is live.

        Raises:
            InputError: there is no such Service.
            IntegrityError: the annotation is not a state that this version can read.
        """
        return self._state_of(self.object())

    def object(self) -> Json:
        """The stable Service. Raises InputError when there is none."""
        found = self.connection.find(self.path)
        if found is None:
            fix = (
                f"there is no such Service in namespace {self.namespace} of {self.connection.name};"
                " `kubectl apply -k k8s/overlays/cpu` makes it"
            )
            raise InputError("service", self.service, fix)
        return found

    def commit(self, state: ServiceState) -> ServiceState:
        """One conditional write of the annotation and the selector: the switch, where `live`
        changes.

        Raises:
            ConflictError: the state has changed since it was read, or the lease was lost. Nothing
                was written.
        """
        written = state.having(version=str(int(state.version) + 1))
        document = written.model_dump_json(exclude={"port"})
        for _ in range(TRIES):
            if self._lost.is_set():
                raise ConflictError(
                    f"the lease of service {self.service} was lost: the API server was away too"
                    " long. Nothing was done. Run this again."
                )
            found = self.object()
            before = self._state_of(found)
            if found["metadata"].get("annotations", {}).get(STATE) == document and found["spec"][
                "selector"
            ].get(COLOR_KEY) == (state.live or NOBODY):
                break  # ours: the answer to an earlier try was lost
            if before.version != state.version:
                raise ConflictError(
                    f"the state of service {self.service} was changed by somebody else (version"
                    f" {before.version}, expected {state.version}). Nothing was done. Look at"
                    " `greenlight status`, then run this again."
                )
            try:
                self.connection.merge(self.path, self._patch(found, written, document))
                self._publish_events(written, before, found)
                break
            except ApiError as error:
                if error.status != 409:
                    raise
        else:
            raise ConflictError(
                f"Service {self.service} is changed by somebody else all the time ({TRIES} tries)."
                " Find out by whom, then run this again."
            )
        return written

    def _patch(self, found: Json, state: ServiceState, document: str) -> Json:
        live = state.live_release
        last = state.history[-1] if state.history else None
        annotations = {
            STATE: document,
            f"{PREFIX}/live-release": live.release_id if live else None,
            f"{PREFIX}/live-digest": live.digest if live else None,
            f"{PREFIX}/last-change": (
                last
                and f"{last.what} {last.release_id} at {last.at:%Y-%m-%dT%H:%M:%SZ} by {last.who}"
            ),
            f"{PREFIX}/run": (last and last.run_id) or None,
            f"{PREFIX}/decision": (last and last.decision) or None,
        }
        return {
            "metadata": {
                "resourceVersion": found["metadata"]["resourceVersion"],
                "annotations": annotations,
            },
            "spec": {"selector": {COLOR_KEY: state.live or NOBODY}},
        }

    def _state_of(self, found: Json) -> ServiceState:
        text = found["metadata"].get("annotations", {}).get(STATE)
        try:
            state = (
                ServiceState.model_validate_json(text)
                if text
                else ServiceState(service=self.service)
            )
        except ValidationError as error:
            raise IntegrityError(
                f"the annotation {STATE} of Service {self.service} is not readable"
                f" ({error.errors()[0]['msg']}). What serves keeps serving. Put a good one back, or"
                " remove it and run `greenlight run`: it starts over with the baseline."
            ) from None
        selected = found["spec"].get("selector", {}).get(COLOR_KEY)
        if selected in OTHER and selected != state.live and state.slot(selected):
            log.warning(
                "Service %s was switched to %s by hand: that is live", self.service, selected
            )
            return state.having(live=selected)
        return state

    def drifted(self, state: ServiceState) -> bool:
        """Does the Service select something else than what is live?"""
        return bool(
            self.object()["spec"].get("selector", {}).get(COLOR_KEY) != (state.live or NOBODY)
        )

    def _publish_events(self, state: ServiceState, before: ServiceState, found: Json) -> None:
        """New lines of the history as Events of the Service, which `kubectl describe` shows. They
        are news: one that fails stops nothing.
        """
        known = len(before.history)
        fresh = (
            state.history[known:] if state.history[:known] == before.history else state.history[-1:]
        )
        for event in fresh:
            with contextlib.suppress(GreenlightError):
                self.connection.create(
                    f"/api/v1/namespaces/{self.namespace}/events", self._event(event, found)
                )

    def _event(self, event: Event, found: Json) -> Json:
        bad = event.what in ("rolled_back", "interrupted")
        message = (
            f"{event.what.replace('_', ' ')}: release {event.release_id or '(none)'} on"
            f" {event.color or '(no color)'}"
        )
        message += f", run {event.run_id}" if event.run_id else ""
        message += f", decision {event.decision}" if event.decision else ""
        message += f": {event.reason}" if event.reason else ""
        at = event.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {
                "name": f"{self.service}.{uuid.uuid4().hex[:16]}",
                "namespace": self.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "name": self.service,
                "namespace": self.namespace,
                "uid": found["metadata"]["uid"],
            },
            "reason": EVENT_REASONS[event.what],
            "message": message[:1000],
            "type": "Warning" if bad else "Normal",
            "source": {"component": "greenlight"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }

    # The lease.

    @contextlib.contextmanager
    def lease(self, run_id: str, action: Action) -> Iterator[None]:
        """Hold the service alone; renewed by a thread. One whose holder is dead is taken over when
        it has not been renewed for its duration.

        Whether it is renewed is watched here, by this machine's clock alone: clocks of different
        machines are not compared.

        Raises:
            ConflictError: somebody alive holds it. Names them.
        """
        holder = Holder(run_id=run_id, action=action, who=who(), pid=os.getpid())
        identity = f"{holder.who}/{holder.pid}/{uuid.uuid4().hex[:8]}"
        self._take(holder, identity)
        self._lost.clear()
        over = threading.Event()
        renewing = threading.Thread(
            target=self._renew, args=(holder, identity, over), daemon=True, name="lease"
        )
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            self._lost.clear()
            with contextlib.suppress(GreenlightError):
                found = self._find()
                # one that was lost belongs to whoever took it
                if found and found["spec"].get("holderIdentity") == identity:
                    self._write(None, "", found)

    def holder(self) -> Holder | None:
        """Who has the lease, unless it was not renewed in time (by this machine's clock, which is
        good enough to be shown).
        """
        found = self._find()
        if not found or not found["spec"].get("holderIdentity"):
            return None
        renewed = datetime.fromisoformat(found["spec"]["renewTime"].replace("Z", "+00:00"))
        if (utc_now() - renewed).total_seconds() > LEASE_SECONDS + RENEW_SECONDS:
            return None
        return _holder_of(found)

    def _take(self, holder: Holder, identity: str) -> None:
        seen: Any = None
        since = time.monotonic()
        while True:
            found = self._find()
            spec = (found or {}).get("spec", {})
            held_by = spec.get("holderIdentity")
            if held_by == identity:  # the answer to the write was lost
                return
            if held_by and _died_here(_holder_of(found)):
                held_by = None
            if held_by and (held_by, spec.get("renewTime")) != seen:
                if seen is not None and seen[0] == held_by:
                    raise ConflictError(
                        f"service {self.service} is being rolled out by"
                        f" {_holder_of(found) or held_by}. Nothing was done. Wait for its end."
                    )
                seen, since = (held_by, spec.get("renewTime")), time.monotonic()
                log.info(
                    "the lease of service %s is held by %s: waiting to see whether that is alive",
                    self.service,
                    _holder_of(found) or held_by,
                )
            if not held_by or time.monotonic() - since > spec.get(
                "leaseDurationSeconds", LEASE_SECONDS
            ):
                with contextlib.suppress(ApiError):  # somebody was faster: look again
                    self._write(holder, identity, found)
                    return
            time.sleep(0.5)

    def _renew(self, holder: Holder, identity: str, over: threading.Event) -> None:
        renewed = time.monotonic()
        while not over.wait(RENEW_SECONDS):
            try:
                found = self._find()
                if found and found["spec"].get("holderIdentity") != identity:
                    self._lost.set()
                    return
                self._write(holder, identity, found)
                renewed = time.monotonic()
            except GreenlightError as error:
                log.warning("the lease of service %s was not renewed: %s", self.service, error)
            if time.monotonic() - renewed > LEASE_SECONDS:
                self._lost.set()

    def _find(self) -> Json | None:
        return self.connection.find(f"{self.lease_path}/{self._lease_name}")

    def _write(self, holder: Holder | None, identity: str, found: Json | None) -> None:
        """On condition that the lease is as it was found. Raises ApiError 409 when it is not."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        annotations = {HOLDER: holder.model_dump_json() if holder else None}
        if found is None:
            body = {
                "metadata": {"name": self._lease_name, "annotations": annotations},
                "spec": {**spec, "acquireTime": now},
            }
            self.connection.create(self.lease_path, body)
            return
        if found["spec"].get("holderIdentity") != identity:
            spec |= {
                "acquireTime": now,
                "leaseTransitions": found["spec"].get("leaseTransitions", 0) + 1,
            }
        metadata = {
            "resourceVersion": found["metadata"]["resourceVersion"],
            "annotations": annotations,
        }
        self.connection.merge(
            f"{self.lease_path}/{self._lease_name}", {"metadata": metadata, "spec": spec}
        )

    @property
    def _lease_name(self) -> str:
        return f"{self.service}-rollout"


def _holder_of(found: Json | None) -> Holder | None:
    with contextlib.suppress(ValidationError, KeyError, TypeError):
        return Holder.model_validate_json(found["metadata"]["annotations"][HOLDER])  # type: ignore[index]
    return None


def _died_here(holder: Holder | None) -> bool:
    """Was the holder a process of this machine, and has it ended?"""
    import psutil

    return bool(holder and holder.pid and holder.who == who() and not psutil.pid_exists(holder.pid))
