"""What a person does without a pipeline and without a gate: deploy a model, switch the traffic."""

import logging

from greenlight.core.errors import GreenlightError
from greenlight.core.records import Color, Promotion, Release
from greenlight.rollout import preconditions as checks
from greenlight.rollout.log_points import log_point
from greenlight.rollout.releases import (
    Source,
    empty_color,
    ensure_ready,
    find_running,
    go_live,
    hold_lease,
    make_release,
    record_candidate,
    restore_live,
    stop_unverified,
    wait_until_verified,
)
from greenlight.rollout.state import OTHER, Switch
from greenlight.rollout.switch import finish_interrupted, finish_promotion, flip
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.rollout")


def deploy(
    target: Target,
    source: Source,
    *,
    run_id: str,
    engine: str,
    replicas: int,
    prompts: list[str],
    test: bool = True,
) -> Release:
    """Put a model on the idle color by hand, without a pipeline. Where nothing is live yet, it
    becomes live. Raises: as `deploy_green`.

    Args:
        test: have every server answer the prompts. Off: that it serves this release's digest is
            enough.
    """
    probes = checks.choose_probe_prompts(prompts)
    with hold_lease(target, run_id, "deploy_green", "deploy_green.leased"):
        finish_interrupted(target, run_id)
        live = restore_live(target, run_id)
        wanted = make_release(
            target, source, OTHER[live.color] if live else "blue", run_id, engine, replicas
        )
        if live and live.digest == wanted.digest and wanted.engine in ("auto", live.engine):
            log.warning("live is this model already: %s", live.release_id)
        if found := find_running(target, wanted):
            return found
        target.check_files(wanted)
        try:
            empty_color(target, wanted)
            started = target.start(wanted)
            log_point("deploy_green.started", "loading %s on %s", wanted.release_id, wanted.color)
            target.open_endpoint()
            release = wait_until_verified(target, started, probes if test else [])
            return (
                record_candidate(target, release, probes, run_id)
                if live
                else go_live(target, release, probes, run_id)
            )
        except BaseException:
            stop_unverified(target, wanted.color)
            raise


def switch(target: Target, color: Color, run_id: str = "") -> Promotion:
    """Move the traffic to a color by hand, without a decision: its release must run, or come up
    again, and answer. WatchResult as any move is.

    Raises:
        GreenlightError: the color holds no release.
        DeployError: it does not come up, or does not answer. Nothing was moved.
        ConflictError: somebody else is rolling out.
    """
    with hold_lease(target, run_id, "switch", "switch.leased"):
        finish_interrupted(target, run_id)
        state = target.read()
        release, live = state.slot(color), state.live_release
        if release is None:
            raise GreenlightError(
                f"{color} holds no release. Nothing was moved. `greenlight deploy` puts one there."
            )
        target.open_endpoint()
        if live and state.live == color:
            return Promotion(
                outcome="already_live",
                live=live,
                previous=state.previous,
                reason=f"{live.release_id} is live on {color} already",
            )
        release = ensure_ready(target, release, run_id)
        checks.verify_identity(target, release)
        release = checks.scale_to_live(target, release, live, state.prompts) if live else release
        log_point(
            "switch.checked",
            "%s: release %s serves, with as many servers as live",
            color,
            release.release_id,
        )
        move = Switch(action="promote", release=release, back=live, run_id=run_id)
        flip(target, target.commit(target.read().having(switch=move)), move, "switch.switched")
        return finish_promotion(target, run_id)
