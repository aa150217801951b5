"""Blue-green, a sentence a line. Every procedure may be killed at any line and called again; it
ends where it would have ended.
"""

import logging
from collections.abc import Sequence

from greenlight.core.errors import DeployError, GreenlightError
from greenlight.core.records import Color, Decision, Deployment, Golden, Promotion, Release, utc_now
from greenlight.rollout import preconditions as checks
from greenlight.rollout.bake import compare_before, verify_switch
from greenlight.rollout.log_points import reached
from greenlight.rollout.releases import (
    Source,
    end_unproven,
    live_again,
    proven,
    release_of,
    running_already,
    warm,
)
from greenlight.rollout.state import (
    OTHER,
    ColorStatus,
    InstanceStatus,
    ServiceState,
    ServiceStatus,
    Switch,
    decision_id,
)
from greenlight.rollout.switch import (
    finish_interrupted,
    flip,
    nothing_to_roll_back,
    settle_promotion,
    settle_rollback,
    undo_interrupted,
)
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.rollout")

EVENTS_SHOWN = 10
BASELINE_ENGINE = {"local": "transformers", "kubernetes": "auto"}
"""The baseline is full precision as published, a checkpoint of transformers. On a cluster the image
has what serves such a one.
"""


def deploy_green(
    target: Target,
    candidate: Source,
    baseline: Source,
    *,
    run_id: str,
    engine: str,
    replicas: int,
    fingerprint: str,
    prompts: list[str],
    golden: Sequence[Golden] = (),
) -> Deployment:
    """Bring the candidate up on the idle color, beside what is live. Where nothing is live yet, the
    baseline becomes live first.

    A release that runs already, proven and with the same settings, is taken as it is. When this
    fails, live is as it was, and what was started here is ended.

    Args:
        golden: what every server of the candidate must answer.

    Raises:
        IntegrityError: the files of a model are not those of its record.
        DeployError: a release did not come up, or does not serve what it should. Holds the last
            lines of its log.
        ConflictError: another run is rolling out this service.
    """
    probes = checks.short_prompts(prompts)
    with target.lease(run_id, "deploy_green"):
        reached("deploy_green.leased", "the lease of service %s is ours", target.service)
        finish_interrupted(target, run_id)
        live = live_again(target, run_id)
        first = live or release_of(
            target,
            baseline,
            target.read().live or "blue",
            run_id,
            BASELINE_ENGINE[target.kind],
            replicas,
        )
        green = release_of(
            target, candidate, OTHER[first.color], run_id, engine, replicas, fingerprint
        )
        green = running_already(target, green) or green
        missing = [release for release in (first, green) if not target.alive(release)]
        for release in missing:
            target.check_files(release)
        reached("deploy_green.checked", "the files of both releases are those of their records")
        try:
            if green in missing:
                target.commit(target.read().emptied(green.color))
                reached(
                    "deploy_green.emptied",
                    "%s is free for release %s",
                    green.color,
                    green.release_id,
                )
            # both at once: loading overlaps
            started = {release.color: target.start(release) for release in missing}
            reached(
                "deploy_green.started",
                "loading %s",
                ", ".join(f"{release.release_id} on {release.color}" for release in missing)
                or "nothing",
            )
            target.open_endpoint()
            reached("deploy_green.opened", "the stable endpoint is open at %s", target.endpoint)
            if live is None:
                live = _go_live(
                    target, proven(target, started[first.color], probes), probes, run_id
                )
            live = target.wait_ready(live)
            green = _record(
                target,
                proven(target, started.get(green.color, green), probes, golden),
                probes,
                run_id,
            )
        except BaseException:
            for release in missing:
                end_unproven(target, release.color)
            serving = target.live()
            if serving is None or not target.alive(serving):
                target.close_endpoint()
            raise
    return Deployment(candidate=green, live=live, golden=list(golden))


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
    probes = checks.short_prompts(prompts)
    with target.lease(run_id, "deploy_green"):
        reached("deploy_green.leased", "the lease of service %s is ours", target.service)
        finish_interrupted(target, run_id)
        live = live_again(target, run_id)
        wanted = release_of(
            target, source, OTHER[live.color] if live else "blue", run_id, engine, replicas
        )
        if live and live.digest == wanted.digest and wanted.engine in ("auto", live.engine):
            log.warning("live is this model already: %s", live.release_id)
        if found := running_already(target, wanted):
            return found
        target.check_files(wanted)
        try:
            target.commit(target.read().emptied(wanted.color))
            reached(
                "deploy_green.emptied", "%s is free for release %s", wanted.color, wanted.release_id
            )
            started = target.start(wanted)
            reached("deploy_green.started", "loading %s on %s", wanted.release_id, wanted.color)
            target.open_endpoint()
            release = proven(target, started, probes if test else [])
            return (
                _record(target, release, probes, run_id)
                if live
                else _go_live(target, release, probes, run_id)
            )
        except BaseException:
            end_unproven(target, wanted.color)
            raise


def switch(target: Target, color: Color, run_id: str = "") -> Promotion:
    """Move the traffic to a color by hand, without a decision: its release must run, or come up
    again, and answer. Watched as any move is.

    Raises:
        GreenlightError: the color holds no release.
        DeployError: it does not come up, or does not answer. Nothing was moved.
        ConflictError: somebody else is rolling out.
    """
    with target.lease(run_id, "switch"):
        reached("switch.leased", "the lease of service %s is ours", target.service)
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
        release = warm(target, release, run_id)
        checks.prove(target, release)
        release = checks.matched(target, release, live, state.prompts) if live else release
        reached(
            "switch.checked",
            "%s: release %s serves, with as many servers as live",
            color,
            release.release_id,
        )
        move = Switch(action="promote", release=release, back=live, run_id=run_id)
        flip(target, target.commit(target.read().having(switch=move)), move)
        reached(
            "switch.switched",
            "the traffic goes to %s, release %s",
            color,
            release.release_id,
            figure=f"live is {color}",
        )
        return settle_promotion(target, run_id)


def promote(target: Target, decision: Decision, run_id: str = "") -> Promotion:
    """Move the traffic to the candidate that was measured, watch it, and move it back by itself if
    it does badly.

    Nothing is restarted: the processes that get the traffic are those that were measured.

    Raises:
        GreenlightError: the verdict is not `promote`.
        ConflictError: the candidate or live is not what was measured, or somebody else is rolling
            out. Nothing was moved.
        DeployError: the candidate does not answer. Nothing was moved.
    """
    checks.may_promote(decision)
    with target.lease(run_id, "promote"):
        reached("promote.leased", "the lease of service %s is ours", target.service)
        interrupted = target.read().switch
        finished = finish_interrupted(target, run_id)
        if finished and interrupted and interrupted.decision == decision_id(decision):
            return finished
        if earlier := checks.earlier_outcome(target.read(), decision):
            return earlier
        target.open_endpoint()
        state, _ = _as_measured(target, decision)
        before = compare_before(target, decision, state.prompts)
        # what is checked from here on is what is flipped: each write names the version that it
        # follows
        state, candidate = _as_measured(target, decision)
        reached("promote.checked", "what runs on %s is what was measured", candidate.color)
        candidate = checks.matched(
            target, candidate, decision.deployment.live, state.prompts, decision.deployment.golden
        )
        reached(
            "promote.matched",
            "%s: release %s has as many servers as live",
            candidate.color,
            candidate.release_id,
        )
        switch = Switch(
            action="promote",
            release=candidate,
            back=state.live_release,
            run_id=run_id,
            decision=decision_id(decision),
            bake_seconds=decision.bake_seconds,
            bake_max_errors=decision.bake_max_errors,
            keep_warm_seconds=decision.keep_warm_seconds,
            bake_test=decision.bake_test,
            reference=before,
        )
        state = target.commit(state.having(switch=switch))
        reached(
            "promote.intended",
            "the switch from %s to %s is written down",
            state.live,
            switch.release.color,
        )
        flip(target, state, switch)
        reached(
            "promote.switched",
            "the traffic goes to %s, release %s",
            switch.release.color,
            switch.release.release_id,
            figure=f"live is {switch.release.color}",
        )
        return settle_promotion(target, run_id)


def _as_measured(target: Target, decision: Decision) -> tuple[ServiceState, Release]:
    state = target.read()
    checks.live_unchanged(state, decision)
    return state, checks.measured(target, state, decision.deployment)


def rollback(target: Target, run_id: str = "") -> Promotion:
    """Go back to the previous release, at once while it is warm, else as soon as it is up again.
    Needs no gate and no decision.

    Raises:
        GreenlightError: there is nothing to go back to.
        IntegrityError: it is down, and its files are gone or changed.
        DeployError: it does not come up. Live is as it was.
        ConflictError: somebody else is rolling out.
    """
    with target.lease(run_id, "rollback"):
        reached("rollback.leased", "the lease of service %s is ours", target.service)
        state = target.read()
        if state.switch and (undone := undo_interrupted(target, state.switch, run_id)):
            return undone
        if state.previous is None or state.live_release is None:
            return nothing_to_roll_back(state)
        target.open_endpoint()
        previous = warm(target, state.previous, run_id)
        reached("rollback.warm", "%s: release %s is ready", previous.color, previous.release_id)
        state = target.read()
        switch = Switch(action="rollback", release=previous, back=state.live_release, run_id=run_id)
        state = target.commit(state.having(switch=switch))
        reached(
            "rollback.intended",
            "the switch from %s to %s is written down",
            state.live,
            previous.color,
        )
        flip(target, state, switch)
        reached(
            "rollback.switched",
            "the traffic goes to %s, release %s",
            previous.color,
            previous.release_id,
            figure=f"live is {previous.color}",
        )
        return settle_rollback(target, run_id)


def retire(target: Target, release: Release, run_id: str = "") -> Promotion:
    """Drain and stop a release that is not live. One that is gone already, or was replaced by
    another, needs nothing.

    Raises:
        GreenlightError: the release is live.
        ConflictError: somebody else is rolling out.
    """
    with target.lease(run_id, "retire"):
        reached("retire.leased", "the lease of service %s is ours", target.service)
        finish_interrupted(target, run_id)
        state = target.read()
        held, live = state.slot(release.color), state.live_release
        if live is None:
            raise GreenlightError(
                f"service {target.service} has no live release, so there is none to keep."
                " `greenlight down` stops everything."
            )
        if live.release_id == release.release_id:
            raise GreenlightError(
                f"release {release.release_id} is live on {live.color} and is not retired."
                " `greenlight rollback` moves the traffic first."
            )
        if state.live == release.color or (held and held.release_id != release.release_id):
            return Promotion(
                outcome="retired",
                live=live,
                reason=f"release {release.release_id} was replaced on {release.color} already",
            )
        if held:
            target.commit(state.emptied(release.color).noting("retired", held, run_id))
        reached("retire.emptied", "%s holds no release any more", release.color)
        target.stop(release.color)
        reached(
            "retire.stopped",
            "%s: release %s is stopped",
            release.color,
            release.release_id,
            figure=f"{release.color} stopped",
        )
        return Promotion(
            outcome="retired",
            live=live,
            reason=(
                f"release {release.release_id} is stopped; live is {live.release_id} on"
                f" {live.color}"
            ),
        )


def recover(target: Target, run_id: str = "") -> Promotion | None:
    """Finish a switch that was interrupted, serve again what should be live (unless it sleeps), and
    scale down the old color when it was kept warm long enough.

    For after `down` or a restart of the machine, and for a schedule in a cluster: what a dead run
    left undone does not wait for the next run.

    Returns what became of the switch; None when there was none, or its traffic had not moved and
    its intent is cleared.

    Raises:
        ConflictError: somebody else is rolling out.
        DeployError: what should be live does not come up.
    """
    with target.lease(run_id, "recover"):
        finished = finish_interrupted(target, run_id)
        if target.read().asleep_since is None and live_again(target, run_id):
            target.open_endpoint()
        state = target.read()
        idle = state.slot(state.idle)
        if state.live and idle and state.warm_until and utc_now() >= state.warm_until:
            target.scale_down(idle.color)
            reached(
                "recover.scaled_down",
                "%s: release %s was kept warm long enough",
                idle.color,
                idle.release_id,
            )
            target.commit(target.read().having(warm_until=None).noting("scaled_down", idle, run_id))
        return finished


def down(target: Target, run_id: str = "") -> None:
    """Stop everything; streams in flight may finish. What is live is remembered, and `recover`
    serves it again.
    """
    with target.lease(run_id, "down"):
        state = target.read()
        served = target.endpoint_open() or any(target.running(color) for color in OTHER)
        target.close_endpoint()
        for color in OTHER:
            target.stop(color)
        if served:
            target.commit(state.noting("down", state.live_release, run_id))


def status(target: Target) -> ServiceStatus:
    """What is there now. Changes nothing, waits for nobody."""
    state = target.read()
    went_live, moving = state.went_live, state.switch
    return ServiceStatus(
        target=target.kind,
        service=target.service,
        namespace=target.namespace,
        endpoint=target.endpoint,
        endpoint_open=target.endpoint_open(),
        live=state.live,
        asleep_since=state.asleep_since,
        live_since=(
            moving.switched_at
            if moving and moving.switched_at
            else went_live.at
            if went_live
            else None
        ),
        live_decision=(moving.decision if moving and moving.switched_at else "") or state.decision,
        colors=[_color_status(target, state, color) for color in OTHER],
        previous=state.previous,
        switch=state.switch,
        holder=target.holder(),
        events=state.history[: -EVENTS_SHOWN - 1 : -1],
    )


def _go_live(target: Target, release: Release, prompts: list[str], run_id: str) -> Release:
    """The first release of a service gets the traffic: there is no other to measure it against."""
    state = (
        target.read().filled(release).having(live=release.color, prompts=prompts, asleep_since=None)
    )
    target.commit(state.noting("went_live", release, run_id))
    if problem := verify_switch(target, release, prompts[0]).reason:
        raise DeployError(f"{problem} Look at `greenlight status`, then run this again.")
    reached(
        "deploy_green.went_live",
        "%s: release %s is live",
        release.color,
        release.release_id,
        figure=f"live is {release.color}",
    )
    return release


def _record(target: Target, release: Release, prompts: list[str], run_id: str) -> Release:
    """Write the proven candidate down: from here on it may be measured and promoted."""
    reached(
        "deploy_green.proven",
        "%s: every server of release %s serves digest %s",
        release.color,
        release.release_id,
        release.digest[:12],
    )
    state = target.read().filled(release).having(prompts=prompts, warm_until=None)
    target.commit(state.noting("deployed", release, run_id))
    reached(
        "deploy_green.recorded",
        "%s: release %s is up beside live",
        release.color,
        release.release_id,
        figure=f"{release.color} is up",
    )
    return release


def _color_status(target: Target, state: ServiceState, color: Color) -> ColorStatus:
    held = state.slot(color)
    recorded = target.runs(held) if held else []
    instances = [
        InstanceStatus(instance=now, ready=target.is_ready(now), recorded=now in recorded)
        for now in target.running(color)
    ]
    return ColorStatus(color=color, live=state.live == color, release=held, instances=instances)
