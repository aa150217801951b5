"""Where serving runs. Blue-green is written over this interface; each target says how its machinery
does it.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass

from greenlight.core.records import Color, Instance, Release
from greenlight.rollout.state import Action, Holder, ServiceState


@dataclass(frozen=True)
class Timings:
    """Every wait of a rollout, in seconds. What decides about a model is in a gate file, not here.

    Attributes:
        ready: for a release to load its model; hours of download are not in it, the files are
            there.
        progress: between two lines about a wait.
        poll: between two looks at something that is awaited.
        drain: for streams in flight when a color is stopped.
        ask: for one short generation, on a machine that also serves others.
        switched: for the stable endpoint to answer from the color it was switched to.
    """

    ready: float = 600.0
    progress: float = 2.0
    poll: float = 0.2
    drain: float = 120.0
    ask: float = 60.0
    switched: float = 15.0


@dataclass(frozen=True)
class Served:
    """What an instance says about itself at /version."""

    release_id: str
    digest: str
    engine: str
    pid: int


@dataclass(frozen=True)
class Answer:
    """A generated text, the seconds until all of it was there, and what the stable endpoint says it
    came from (empty when an instance was asked).
    """

    text: str
    seconds: float
    color: str = ""
    release_id: str = ""


class Target(ABC):
    """One service on one target: two colors, one stable endpoint, one document of state, one lease.

    Every method may be called again after a process that called it was killed at any line.
    """

    kind: str
    service: str
    namespace: str
    timings: Timings

    # The truth.

    @abstractmethod
    def check(self) -> None:
        """Is the target usable? Cheap; changes nothing. Raises InputError."""

    @abstractmethod
    def read(self) -> ServiceState:
        """The latest state. Raises IntegrityError when it cannot be read."""

    @abstractmethod
    def commit(self, state: ServiceState) -> ServiceState:
        """Replace the state atomically if its version is still the latest; returns it with its new
        version.

        When this returns, new requests to the stable endpoint go to `state.live` (at once, or as
        soon as the target's routing follows).

        Raises:
            ConflictError: somebody wrote in between. Nothing was changed.
        """

    @abstractmethod
    def lease(self, run_id: str, action: Action) -> AbstractContextManager[None]:
        """Be the only one who rolls out here. Free again when the holder is dead. Raises
        ConflictError naming the holder.
        """

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who has the lease."""

    # The colors.

    @abstractmethod
    def check_files(self, release: Release) -> None:
        """Are the files at the release's model_uri those that it was made from? Raises
        IntegrityError when they are gone or changed.
        """

    @abstractmethod
    def start(self, release: Release) -> Release:
        """Start the release on its color; returns at once, with its instances.

        Those of its recorded instances that run are kept. Everything else on the color is stopped
        first.
        """

    @abstractmethod
    def wait_ready(self, release: Release) -> Release:
        """Wait until every instance is ready, with a line of progress now and then; returns the
        release with the instances that are.

        Raises:
            DeployError: an instance ended, or is not ready in time. Holds the reason and the last
                lines of its log.
        """

    @abstractmethod
    def running(self, color: Color) -> list[Instance]:
        """What runs on a color now, recorded or not."""

    @abstractmethod
    def stop(self, color: Color) -> None:
        """End what runs on a color; streams in flight may finish. Nothing there: nothing to do."""

    @abstractmethod
    def is_ready(self, instance: Instance) -> bool:
        """Does it run, and take requests now?"""

    @abstractmethod
    def version(self, instance: Instance) -> Served:
        """What the instance says it serves. Raises DeployError when it does not say."""

    @abstractmethod
    def ask(
        self, instance: Instance, prompt: str, max_length: int, seconds: float | None = None
    ) -> Answer:
        """A short greedy generation by one instance. Raises DeployError when there is no answer
        within `seconds` (None: `timings.ask`).
        """

    # The stable endpoint.

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """URL of the stable endpoint. Empty while it was never opened."""

    @abstractmethod
    def open_endpoint(self) -> str:
        """Make the stable endpoint answer, if it does not already; returns its URL. While nothing
        is live it answers 503.
        """

    @abstractmethod
    def close_endpoint(self) -> None:
        """Take the stable endpoint away; streams in flight may finish."""

    @abstractmethod
    def endpoint_open(self) -> bool:
        """Does the stable endpoint of this service answer?"""

    @abstractmethod
    def ask_stable(self, prompt: str, max_length: int, seconds: float | None = None) -> Answer:
        """A short greedy generation through the stable endpoint. Raises DeployError as `ask`
        does.
        """

    # What follows from these.

    def live(self) -> Release | None:
        """What has the traffic, by the state. Cheap."""
        return self.read().live_release

    replaces_instances = False
    """Does the target replace an instance that ends by another of the same build, without being
    asked?
    """

    def running_of(self, release: Release) -> list[Instance]:
        """The instances of this release that run now: the very processes that it was recorded with,
        or on a cluster its pods.
        """
        return [
            now
            for now in self.running(release.color)
            if any(same_process(mine, now) for mine in release.instances)
        ]

    def is_alive(self, release: Release) -> bool:
        """Does the release run, whole?"""
        return len(release.instances) >= release.replicas and len(self.running_of(release)) == len(
            release.instances
        )

    def is_healthy(self, release: Release) -> bool:
        """Does the release run, whole, and is all of it ready?"""
        return self.is_alive(release) and all(
            self.is_ready(instance) for instance in self.running_of(release)
        )

    def scale_like(self, release: Release, live: Release) -> Release:
        """Give the release as many instances as live has now; returns it with those that are ready.
        A target that does not scale has nothing to do.
        """
        return release

    def scale_down(self, color: Color) -> None:
        """What a color that was kept warm long enough ends as. A target whose idle processes cost
        nothing keeps them.
        """
        return


def same_process(one: Instance, other: Instance) -> bool:
    """A pid may be used again; a pid with its start time is not. Start times of one process differ
    a little when the clock is set.
    """
    return (one.name, one.pid) == (other.name, other.pid) and abs(one.started - other.started) < 2
