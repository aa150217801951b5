"""Blue-green as the pipeline does it, one sentence per line.

Every procedure may be killed at any line and called again; it ends where it would have ended.
"""

from collections.abc import Sequence

from greenlight.core.errors import GreenlightError
from greenlight.core.records import Decision, Deployment, Golden, Promotion, Release
from greenlight.rollout import preconditions as checks
from greenlight.rollout.bake import compare_before_switch
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
from greenlight.rollout.state import OTHER, ServiceState, Switch, decision_id
from greenlight.rollout.switch import (
    answer_no_rollback,
    finish_interrupted,
    finish_promotion,
    finish_rollback,
    flip,
    undo_interrupted,
    write_intent,
)
from greenlight.rollout.target import Target

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

    A release that runs already, verified and with the same settings, is taken as it is. When this
    fails, live is as it was, and what was started here is ended.

    Args:
        golden: what every server of the candidate must answer.

    Raises:
        IntegrityError: the files of a model are not those of its record.
        DeployError: a release did not come up, or does not serve what it should. Holds the last
            lines of its log.
        ConflictError: another run is rolling out this service.
    """
    probes = checks.choose_probe_prompts(prompts)
    with hold_lease(target, run_id, "deploy_green", "deploy_green.leased"):
        finish_interrupted(target, run_id)
        live = restore_live(target, run_id)
        first = live or make_release(
            target,
            baseline,
            target.read().live or "blue",
            run_id,
            BASELINE_ENGINE[target.kind],
            replicas,
        )
        green = make_release(
            target, candidate, OTHER[first.color], run_id, engine, replicas, fingerprint
        )
        green = find_running(target, green) or green
        missing = [release for release in (first, green) if not target.is_alive(release)]
        for release in missing:
            target.check_files(release)
        log_point("deploy_green.checked", "the files of both releases are those of their records")
        try:
            if green in missing:
                empty_color(target, green)
            # both at once: loading overlaps
            started = {release.color: target.start(release) for release in missing}
            log_point("deploy_green.started", "loading %s", _names(missing) or "nothing")
            target.open_endpoint()
            log_point("deploy_green.opened", "the stable endpoint is open at %s", target.endpoint)
            if live is None:
                live = wait_until_verified(target, started[first.color], probes)
                live = go_live(target, live, probes, run_id)
            live = target.wait_ready(live)
            green = wait_until_verified(target, started.get(green.color, green), probes, golden)
            green = record_candidate(target, green, probes, run_id)
        except BaseException:
            for release in missing:
                stop_unverified(target, release.color)
            serving = target.live()
            if serving is None or not target.is_alive(serving):
                target.close_endpoint()
            raise
    return Deployment(candidate=green, live=live, golden=list(golden))


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
    checks.require_promote(decision)
    with hold_lease(target, run_id, "promote", "promote.leased"):
        interrupted = target.read().switch
        finished = finish_interrupted(target, run_id)
        if finished and interrupted and interrupted.decision == decision_id(decision):
            return finished
        if earlier := checks.find_earlier_outcome(target.read(), decision):
            return earlier
        target.open_endpoint()
        state, _ = _require_as_measured(target, decision)
        before = compare_before_switch(target, decision, state.prompts)
        # what is checked from here on is what is flipped: each write names the version that it
        # follows
        state, candidate = _require_as_measured(target, decision)
        log_point("promote.checked", "what runs on %s is what was measured", candidate.color)
        measured = decision.deployment
        candidate = checks.scale_to_live(
            target, candidate, measured.live, state.prompts, measured.golden
        )
        log_point("promote.matched", "%s has as many servers as live", candidate.color)
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
        state = write_intent(target, state, switch, "promote.intended")
        flip(target, state, switch, "promote.switched")
        return finish_promotion(target, run_id)


def _require_as_measured(target: Target, decision: Decision) -> tuple[ServiceState, Release]:
    """The state, and the candidate as it runs now. Raises as `promote`."""
    state = target.read()
    checks.require_live_unchanged(state, decision)
    return state, checks.require_measured(target, state, decision.deployment)


def rollback(target: Target, run_id: str = "") -> Promotion:
    """Go back to the previous release, at once while it is warm, else as soon as it is up again.
    Needs no gate and no decision.

    Raises:
        GreenlightError: there is nothing to go back to.
        IntegrityError: it is down, and its files are gone or changed.
        DeployError: it does not come up. Live is as it was.
        ConflictError: somebody else is rolling out.
    """
    with hold_lease(target, run_id, "rollback", "rollback.leased"):
        state = target.read()
        if state.switch and (undone := undo_interrupted(target, state.switch, run_id)):
            return undone
        if state.previous is None or state.live_release is None:
            return answer_no_rollback(state)
        target.open_endpoint()
        previous = ensure_ready(target, state.previous, run_id)
        log_point("rollback.warm", "%s: release %s is ready", previous.color, previous.release_id)
        state = target.read()
        switch = Switch(action="rollback", release=previous, back=state.live_release, run_id=run_id)
        state = write_intent(target, state, switch, "rollback.intended")
        flip(target, state, switch, "rollback.switched")
        return finish_rollback(target, run_id)


def retire(target: Target, release: Release, run_id: str = "") -> Promotion:
    """Drain and stop a release that is not live. One that is gone already, or was replaced by
    another, needs nothing.

    Raises:
        GreenlightError: the release is live.
        ConflictError: somebody else is rolling out.
    """
    with hold_lease(target, run_id, "retire", "retire.leased"):
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
        log_point("retire.emptied", "%s holds no release any more", release.color)
        target.stop(release.color)
        log_point(
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


def _names(releases: list[Release]) -> str:
    return ", ".join(f"{release.release_id} on {release.color}" for release in releases)
