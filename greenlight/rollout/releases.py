"""A release on a color: what it is, whether it runs, how it comes up. Called with the lease
held.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenlight.core.errors import DeployError, InputError, IntegrityError
from greenlight.core.records import Color, Golden, Model, Release
from greenlight.rollout import preconditions as checks
from greenlight.rollout.bake import verify_switch
from greenlight.rollout.log_points import Point, log_point
from greenlight.rollout.state import Action
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.rollout")


@dataclass(frozen=True)
class Source:
    """A Model artifact: the folder or gs:// prefix that its record can be read from here, and the
    URI that the target loads it from.
    """

    folder: Path | str
    uri: str

    @property
    def model(self) -> Model:
        """Its record. Raises InputError where there is none."""
        if not str(self.folder).startswith("gs://"):
            return Model.load(self.folder)
        from greenlight.models.bucket import ArtifactSource

        found = ArtifactSource.at(str(self.folder))
        if found is None:
            raise InputError(
                "model-path",
                str(self.folder),
                "there is no Model artifact here (no record.json); `greenlight quantize` makes one",
            )
        return found.record

    @property
    def where(self) -> str:
        """The URI, absolute: releases are started again from other working directories."""
        return self.uri if "://" in self.uri else str(Path(self.uri).resolve())


@contextlib.contextmanager
def hold_lease(target: Target, run_id: str, action: Action, point: Point) -> Iterator[None]:
    """Be the only one who rolls out the service. Raises ConflictError naming the holder."""
    with target.lease(run_id, action):
        log_point(point, "the lease of service %s is ours", target.service)
        yield


def make_release(
    target: Target,
    source: Source,
    color: Color,
    run_id: str,
    engine: str,
    replicas: int,
    fingerprint: str = "",
) -> Release:
    """The release that a model becomes on a color. Its id is the same whenever the same run deploys
    the same thing there.
    """
    model = source.model
    what = "baseline" if model.role == "baseline" else f"{model.method}{model.bits}"
    key = f"{model.digest} {engine} {replicas} {fingerprint} {color} {run_id}"
    return Release(
        release_id=f"{what}-{hashlib.sha256(key.encode()).hexdigest()[:8]}",
        color=color,
        service=target.service,
        model_uri=source.where,
        digest=model.digest,
        source=model.source,
        commit=model.commit,
        method=model.method,
        bits=model.bits,
        engine=engine,
        fingerprint=fingerprint,
        run_id=run_id,
        replicas=replicas,
    )


def find_running(target: Target, wanted: Release) -> Release | None:
    """The release in the slot, if it is the wanted one and the processes that were verified still
    run.
    """
    held = target.read().slot(wanted.color)
    same = held and (held.digest, held.replicas, held.fingerprint) == (
        wanted.digest,
        wanted.replicas,
        wanted.fingerprint,
    )
    if (
        not held
        or not same
        or wanted.engine not in ("auto", held.engine)
        or not target.is_healthy(held)
    ):
        return None
    log.info("%s: release %s runs already, and is taken as it is", held.color, held.release_id)
    return held.model_copy(update={"model_uri": wanted.model_uri})


def restore_live(target: Target, run_id: str) -> Release | None:
    """What should be live, started again if it is down; None when nothing should, or its files are
    gone or changed.

    Raises:
        DeployError: it is down and does not come up.
    """
    live = target.live()
    if live is None or target.is_alive(live):
        return live
    try:
        return restart(target, live, run_id)
    except IntegrityError as error:
        log.warning("live is %s, but it is down, and cannot come back: %s", live.release_id, error)
        return None


def ensure_ready(target: Target, previous: Release, run_id: str) -> Release:
    """The previous release, ready: as it is, or started again. Another release on its color makes
    way.
    """
    held = target.read().slot(previous.color)
    if held and held.release_id == previous.release_id and target.is_healthy(held):
        return held.model_copy(update={"instances": target.running_of(held)})
    return restart(target, previous, run_id)


def restart(target: Target, release: Release, run_id: str) -> Release:
    """Start a recorded release again from its files, what is missing of it, and write down its new
    processes.
    """
    target.check_files(release)
    state = target.read()
    held = state.slot(release.color)
    if held and held.release_id != release.release_id:
        state = target.commit(state.emptied(release.color))
    try:
        release = target.start(release)
        log_point(
            "restart.started", "%s: starting release %s again", release.color, release.release_id
        )
        release = wait_until_verified(target, release, state.prompts)
        log_point(
            "restart.proven", "%s: release %s serves again", release.color, release.release_id
        )
    except BaseException:
        stop_unverified(target, release.color)
        raise
    target.commit(
        target.read().filled(release).having(asleep_since=None).noting("restarted", release, run_id)
    )
    return release


def stop_unverified(target: Target, color: Color) -> None:
    """Stop what was started on a color and failed, unless a verified release serves there."""
    held = target.read().slot(color)
    if not (held and target.running_of(held)):
        target.stop(color)


def wait_until_verified(
    target: Target, release: Release, prompts: list[str], golden: Sequence[Golden] = ()
) -> Release:
    """Wait until a started release serves, and verify that it is this one and answers as it should;
    returns it with its engine by name.
    """
    release = target.wait_ready(release)
    engine = checks.verify_identity(target, release)
    checks.verify_answers(target, release, prompts, golden)
    return release.model_copy(update={"engine": engine})


def empty_color(target: Target, release: Release) -> None:
    """Write down that the release's color holds no release, before it is started there."""
    target.commit(target.read().emptied(release.color))
    log_point(
        "deploy_green.emptied", "%s is free for release %s", release.color, release.release_id
    )


def go_live(target: Target, release: Release, prompts: list[str], run_id: str) -> Release:
    """The first release of a service gets the traffic: there is no other to measure it against."""
    state = (
        target.read().filled(release).having(live=release.color, prompts=prompts, asleep_since=None)
    )
    target.commit(state.noting("went_live", release, run_id))
    if problem := verify_switch(target, release, prompts[0]).reason:
        raise DeployError(f"{problem} Look at `greenlight status`, then run this again.")
    log_point(
        "deploy_green.went_live",
        "%s: release %s is live",
        release.color,
        release.release_id,
        figure=f"live is {release.color}",
    )
    return release


def record_candidate(target: Target, release: Release, prompts: list[str], run_id: str) -> Release:
    """Write the verified candidate down: from here on it may be measured and promoted."""
    log_point(
        "deploy_green.proven",
        "%s: every server of release %s serves digest %s",
        release.color,
        release.release_id,
        release.digest[:12],
    )
    state = target.read().filled(release).having(prompts=prompts, warm_until=None)
    target.commit(state.noting("deployed", release, run_id))
    log_point(
        "deploy_green.recorded",
        "%s: release %s is up beside live",
        release.color,
        release.release_id,
        figure=f"{release.color} is up",
    )
    return release
