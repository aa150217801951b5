"""The move of the traffic: written down, done by one conditional write, watched, settled. Called
with the lease held.
"""

import logging
from datetime import datetime, timedelta

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.core.records import Promotion, utc_now
from greenlight.rollout.bake import WatchResult, bake, verify_switch
from greenlight.rollout.log_points import Point, log_point
from greenlight.rollout.releases import restart, restore_live
from greenlight.rollout.state import ServiceState, Switch
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.rollout")


def write_intent(target: Target, state: ServiceState, switch: Switch, point: Point) -> ServiceState:
    """Write down what is about to be done, so that whoever finds this run killed can finish it."""
    state = target.commit(state.having(switch=switch))
    log_point(point, "the switch from %s to %s is written down", state.live, switch.release.color)
    return state


def flip(target: Target, state: ServiceState, switch: Switch, point: Point) -> None:
    """The one write that moves the traffic, on condition that nothing has changed since `state` was
    checked.
    """
    now = utc_now()
    moved = switch.model_copy(
        update={"switched_at": now, "bake_ends_at": now + timedelta(seconds=switch.bake_seconds)}
    )
    color = switch.release.color
    target.commit(state.having(live=color, switch=moved))
    log_point(
        point,
        "the traffic goes to %s, release %s",
        color,
        switch.release.release_id,
        figure=f"live is {color}",
    )


def finish_promotion(target: Target, run_id: str) -> Promotion:
    """Watch the new color; keep it, or go back."""
    state = target.read()
    switch = state.switch
    assert switch is not None and switch.back is not None
    back = switch.back
    verified = verify_switch(target, switch.release, state.prompts[0])
    if not verified.reason:
        log_point("promote.verified", "the stable endpoint answers from %s", switch.release.color)
        state, switch = _still_to_bake(target, state, switch)
        verified = bake(target, switch, state.prompts)
        log_point(
            "promote.baked",
            "%s: baked, %d of %d probes failed",
            switch.release.color,
            verified.errors,
            verified.probes,
        )
    if verified.reason:
        return _go_back(target, switch, run_id, verified)
    state = state.having(switch=None, previous=back, warm_until=_warm_until(switch)).noting(
        "promoted",
        switch.release,
        run_id or switch.run_id,
        switch.decision,
        verified.bake.sentence if verified.bake else "",
    )
    target.commit(state)
    log_point(
        "promote.settled",
        "%s is live; %s stays warm for a rollback",
        switch.release.release_id,
        back.release_id,
        figure=f"live is {switch.release.color}",
    )
    return Promotion(
        outcome="promoted", live=switch.release, previous=back, switched_at=switch.switched_at,
        probes=verified.probes, errors=verified.errors, bake=verified.bake,
    )  # fmt: skip


def _still_to_bake(
    target: Target, state: ServiceState, switch: Switch
) -> tuple[ServiceState, Switch]:
    """A run that continues a bake does not prolong it, unless its end passed while nobody watched:
    then it begins anew.
    """
    if switch.bake_ends_at and switch.bake_ends_at > utc_now():
        return state, switch
    again = switch.model_copy(
        update={"bake_ends_at": utc_now() + timedelta(seconds=switch.bake_seconds)}
    )
    return (
        (target.commit(state.having(switch=again)), again)
        if switch.bake_seconds
        else (state, switch)
    )


def _go_back(target: Target, switch: Switch, run_id: str, watched: WatchResult) -> Promotion:
    """The new color did badly: the old one gets the traffic back."""
    assert switch.back is not None
    log.error("%s: %s Going back to %s.", switch.release.color, watched.reason, switch.back.color)
    back = switch.back if target.is_alive(switch.back) else restart(target, switch.back, run_id)
    state = target.read().having(live=back.color, switch=None, warm_until=_warm_until(switch))
    target.commit(
        state.noting(
            "rolled_back", switch.release, run_id or switch.run_id, switch.decision, watched.reason
        )
    )
    log_point(
        "promote.settled",
        "%s is live again; %s is idle",
        back.release_id,
        switch.release.release_id,
        figure=f"rolled back to {back.color}",
    )
    return Promotion(
        outcome="rolled_back", live=back, previous=switch.release, switched_at=switch.switched_at,
        probes=watched.probes, errors=watched.errors, bake=watched.bake, reason=watched.reason,
    )  # fmt: skip


def finish_rollback(target: Target, run_id: str) -> Promotion:
    """The previous release is live. There is no way forward but a new measurement, so `previous` is
    empty now.
    """
    state = target.read()
    switch, live = state.switch, state.live_release
    assert switch is not None and live is not None
    verified = verify_switch(target, live, state.prompts[0])
    if verified.reason:
        log.error("%s: %s Look at `greenlight status`.", switch.release.color, verified.reason)
    log_point("rollback.verified", "the stable endpoint was asked %d times", verified.probes)
    target.commit(
        state.having(switch=None, previous=None, warm_until=_warm_until(switch)).noting(
            "rollback", live, run_id or switch.run_id, reason=verified.reason
        )
    )
    log_point(
        "rollback.settled",
        "%s is live again",
        live.release_id,
        figure=f"rolled back to {live.color}",
    )
    return Promotion(
        outcome="rolled_back", live=live, previous=switch.back, switched_at=switch.switched_at,
        probes=verified.probes, errors=verified.errors, reason=verified.reason,
    )  # fmt: skip


def _warm_until(switch: Switch) -> datetime:
    return utc_now() + timedelta(seconds=switch.keep_warm_seconds)


def finish_interrupted(target: Target, run_id: str) -> Promotion | None:
    """Finish the switch that a killed run left: settled if the traffic had moved, forgotten if it
    had not.
    """
    state = target.read()
    switch = state.switch
    if switch is None:
        return None
    if switch.switched_at is None:
        log.info(
            "an interrupted %s to %s had not moved the traffic: its intent is cleared",
            switch.action,
            switch.release.color,
        )
        target.commit(
            state.having(switch=None).noting("interrupted", switch.release, run_id, switch.decision)
        )
        return None
    log.info(
        "an interrupted %s had moved the traffic to %s: finishing it",
        switch.action,
        switch.release.color,
    )
    target.open_endpoint()
    if switch.action == "rollback":
        restore_live(target, run_id)
        return finish_rollback(target, run_id)
    if target.is_alive(switch.release):
        return finish_promotion(target, run_id)
    try:
        return _go_back(
            target,
            switch,
            run_id,
            WatchResult(0, 0, "the processes that were measured do not run any more."),
        )
    except IntegrityError as error:
        log.error("there is no way back to %s: %s", switch.back and switch.back.release_id, error)
        target.commit(
            target.read()
            .having(switch=None)
            .noting("interrupted", switch.release, run_id, switch.decision, str(error))
        )
        return None


def undo_interrupted(target: Target, switch: Switch, run_id: str) -> Promotion | None:
    """A rollback after a killed switch takes back that switch, and no more. None: the rollback is
    still to be done.
    """
    if switch.action == "promote" and switch.switched_at is not None:
        target.open_endpoint()
        return _go_back(
            target, switch, run_id, WatchResult(0, 0, "rolled back by hand before it was settled.")
        )
    finished = finish_interrupted(target, run_id)
    live = target.live()
    if finished or switch.action == "rollback" or live is None:
        return finished
    reason = (
        f"an interrupted promote had not moved the traffic: {live.release_id} is live as before."
        " Run rollback again to leave it."
    )
    return Promotion(
        outcome="already_live", live=live, previous=target.read().previous, reason=reason
    )


def answer_no_rollback(state: ServiceState) -> Promotion:
    """A rollback that is repeated has nothing left to do."""
    live, last = state.live_release, state.history[-1] if state.history else None
    if live and last and last.what == "rollback" and last.release_id == live.release_id:
        return Promotion(
            outcome="already_live",
            live=live,
            reason=f"rolled back to {live.release_id} at {last.at:%Y-%m-%d %H:%M:%S} UTC already",
        )
    raise GreenlightError(
        f"there is nothing to roll back to: {live.release_id if live else 'nothing'} is live, and"
        " nothing was promoted since. Look at `greenlight status`."
    )
