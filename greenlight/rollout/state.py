"""What a target remembers of a service: one document, replaced as a whole, only by whoever has read
its latest version.
"""

import getpass
import hashlib
import os
import socket
from datetime import datetime
from typing import Literal

from pydantic import Field

from greenlight.core.records import (
    BakeReference,
    BakeTest,
    Color,
    Decision,
    Instance,
    Part,
    Release,
    utc_now,
)
from greenlight.core.records.decisions import KEEP_WARM_SECONDS

HISTORY_LIMIT = 200
OTHER: dict[Color, Color] = {"blue": "green", "green": "blue"}

Action = Literal[
    "deploy_green", "promote", "rollback", "switch", "retire", "recover", "down", "sleep", "wake"
]
What = Literal[
    "went_live",
    "deployed",
    "promoted",
    "rolled_back",
    "rollback",
    "retired",
    "interrupted",
    "restarted",
    "scaled_down",
    "down",
    "asleep",
]

GAINS_TRAFFIC = ("went_live", "promoted", "rollback")


class Event(Part):
    """One thing that was done. Who, when, from which run and decision."""

    at: datetime = Field(default_factory=utc_now)
    who: str
    what: What = Field(description="`rolled_back` is a failed bake, `rollback` a person's command.")
    release_id: str = ""
    color: Color | None = None
    run_id: str = ""
    decision: str = ""
    reason: str = ""


class Switch(Part):
    """The intent to move the traffic, written before it moves and removed when the move is
    settled.
    """

    action: Literal["promote", "rollback"]
    release: Release = Field(
        description="That gets the traffic, with the very processes that were measured or checked."
    )
    back: Release | None = Field(description="That had it.")
    run_id: str = ""
    decision: str = Field("", description="Id of the decision that it follows.")
    bake_seconds: float = 0.0
    bake_max_errors: int = 0
    bake_test: BakeTest = BakeTest()
    reference: BakeReference | None = Field(
        None,
        description=(
            "The colors compared before the switch. None: not asked for, or too few answers."
        ),
    )
    bake_ends_at: datetime | None = Field(
        None, description="A run that continues the bake ends it then, too."
    )
    keep_warm_seconds: float = KEEP_WARM_SECONDS
    intended_at: datetime = Field(default_factory=utc_now)
    switched_at: datetime | None = Field(None, description="None: the traffic has not moved yet.")


class ServiceState(Part):
    """The truth about a service. `live` decides where the traffic goes; a slot holds a release only
    after it was verified to serve.

    `version` is the target's own: a number on the local target, a resourceVersion on a cluster. A
    write names the version that was read.
    """

    schema_version: Literal[1] = 1
    version: str = "0"
    service: str
    port: int = Field(0, description="Of the stable endpoint. 0: not opened yet, or not by port.")
    live: Color | None = None
    blue: Release | None = None
    green: Release | None = None
    previous: Release | None = Field(
        None,
        description=(
            "What a rollback goes back to, warm in its slot or to be started again from its"
            " model_uri."
        ),
    )
    warm_until: datetime | None = Field(
        None,
        description=(
            "When the idle color may be scaled down. None: it is a candidate under test, or down"
            " already."
        ),
    )
    asleep_since: datetime | None = Field(
        None,
        description=(
            "Put to sleep on purpose: nothing runs, and `recover` leaves it so. Whatever brings a"
            " release up ends it."
        ),
    )
    switch: Switch | None = None
    prompts: list[str] = Field(
        default_factory=list,
        description="A few short prompts that every release here has answered: probes of a bake.",
    )
    history: list[Event] = Field(default_factory=list, description="Oldest first.")

    def slot(self, color: Color) -> Release | None:
        return self.blue if color == "blue" else self.green

    @property
    def live_release(self) -> Release | None:
        return self.slot(self.live) if self.live else None

    @property
    def idle(self) -> Color:
        """The color that a candidate goes to. Green before anything is live: the baseline comes up
        on blue.
        """
        return OTHER[self.live or "blue"]

    @property
    def went_live(self) -> Event | None:
        """How the live release got the traffic, as far back as the history goes."""
        live = self.live_release
        for event in reversed(self.history):
            # A bake that went badly is noted with the release that lost the traffic.
            if live and (
                event.what == "rolled_back"
                or (event.what in GAINS_TRAFFIC and event.release_id == live.release_id)
            ):
                return event
        return None

    @property
    def decision(self) -> str:
        """Id of the decision by which live was promoted, also when a rollback has brought it back
        since; empty when it was none.
        """
        live = self.live_release
        return next(
            (
                event.decision
                for event in reversed(self.history)
                if live and event.what == "promoted" and event.release_id == live.release_id
            ),
            "",
        )

    def having(self, **changes: object) -> "ServiceState":
        return self.model_copy(update=changes)

    def filled(self, release: Release) -> "ServiceState":
        return self.having(**{release.color: release})

    def emptied(self, color: Color) -> "ServiceState":
        return self.having(**{color: None})

    def noting(
        self,
        what: What,
        release: Release | None = None,
        run_id: str = "",
        decision: str = "",
        reason: str = "",
    ) -> "ServiceState":
        """The state with one more line of history."""
        event = Event(
            who=who(),
            what=what,
            run_id=run_id,
            decision=decision,
            reason=reason,
            release_id=release.release_id if release else "",
            color=release.color if release else None,
        )
        return self.having(history=[*self.history, event][-HISTORY_LIMIT:])


class Holder(Part):
    """Who works on a service."""

    run_id: str
    action: Action
    who: str
    pid: int = 0
    since: datetime = Field(default_factory=utc_now)

    def __str__(self) -> str:
        run = f"run {self.run_id}" if self.run_id else "a command"
        process = f", process {self.pid}" if self.pid else ""
        return (
            f"{run} ({self.action} by {self.who}{process}, since {self.since:%Y-%m-%d %H:%M:%S}"
            " UTC)"
        )


class InstanceStatus(Part):
    instance: Instance
    ready: bool
    recorded: bool = Field(
        description=(
            "It belongs to the release in the slot. False: left by a killed run, or not verified"
            " yet."
        )
    )


class ColorStatus(Part):
    color: Color
    live: bool
    release: Release | None
    instances: list[InstanceStatus] = Field(description="What runs on the color now.")

    @property
    def ready(self) -> bool:
        wanted = self.release.replicas if self.release else 0
        return (
            wanted > 0
            and sum(status.ready and status.recorded for status in self.instances) >= wanted
        )


class ServiceStatus(Part):
    """What `greenlight status` shows."""

    target: str
    service: str
    namespace: str
    endpoint: str = Field(description="URL of the stable endpoint. Empty: never opened.")
    endpoint_open: bool
    live: Color | None
    asleep_since: datetime | None = None
    live_since: datetime | None = Field(
        None,
        description=(
            "When live got the traffic. None: nothing is live, or longer ago than the events that"
            " are kept."
        ),
    )
    live_decision: str = Field(
        "", description="Id of the decision that promoted live. Empty: it went live without one."
    )
    colors: list[ColorStatus]
    previous: Release | None
    switch: Switch | None = Field(
        description="A move of the traffic that is under way, or was interrupted."
    )
    holder: Holder | None = Field(description="Who works on the service now.")
    events: list[Event] = Field(description="The latest, newest first.")


def decision_id(decision: Decision) -> str:
    """Names a decision in the history: 12 hex digits of its sha256."""
    return hashlib.sha256(decision.model_dump_json().encode()).hexdigest()[:12]


def who() -> str:
    """user@host of this process. The numeric user where it has no name, as in many containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
