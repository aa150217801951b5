"""Recover and down, sleep and wake: a service as a whole, between rollouts."""

from greenlight.core.errors import ConflictError, GreenlightError
from greenlight.core.records import Promotion, Release, utc_now
from greenlight.rollout.log_points import log_point
from greenlight.rollout.releases import restore_live
from greenlight.rollout.state import OTHER
from greenlight.rollout.switch import finish_interrupted
from greenlight.rollout.target import Target


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
        if target.read().asleep_since is None and restore_live(target, run_id):
            target.open_endpoint()
        state = target.read()
        idle = state.slot(state.idle)
        if state.live and idle and state.warm_until and utc_now() >= state.warm_until:
            target.scale_down(idle.color)
            log_point(
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


def sleep(target: Target, run_id: str = "") -> Release:
    """Stop everything for a while, and stay stopped: `recover` leaves it so until `wake`, or until
    a run or a person brings a release up.

    Raises:
        GreenlightError: nothing is live.
        ConflictError: a rollout is under way, or a candidate waits for its verdict.
    """
    with target.lease(run_id, "sleep"):
        finish_interrupted(target, run_id)
        state = target.read()
        live, idle = state.live_release, state.slot(state.idle)
        if live is None:
            raise GreenlightError(f"service {target.service} has no live release that could sleep.")
        was_live = idle and state.previous and state.previous.release_id == idle.release_id
        if idle and not was_live and target.is_alive(idle):
            raise ConflictError(
                f"release {idle.release_id} on {idle.color} waits for its verdict. Promote or"
                f" retire it, then let {target.service} sleep."
            )
        if state.asleep_since is None:
            target.commit(state.having(asleep_since=utc_now()).noting("asleep", live, run_id))
        log_point("sleep.written", "%s sleeps from now on", target.service)
        target.close_endpoint()
        for color in OTHER:
            target.stop(color)
        return live


def wake(target: Target, run_id: str = "") -> Release:
    """Serve again what is live. Returns when it is ready.

    Raises:
        GreenlightError: nothing is live, or its files are gone.
        DeployError: it does not come up. `recover` tries again from now on.
        ConflictError: somebody is rolling out.
    """
    with target.lease(run_id, "wake"):
        finish_interrupted(target, run_id)
        state = target.read()
        if state.asleep_since:
            target.commit(state.having(asleep_since=None))
        live = restore_live(target, run_id)
        if live is None:
            raise GreenlightError(
                f"service {target.service} has no live release that could wake, or its files are"
                " gone. `greenlight run` brings one up."
            )
        target.open_endpoint()
        return target.wait_ready(live)
