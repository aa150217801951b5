"""Sleep and wake: servers that nobody needs for a while cost nothing, and no schedule brings them
up before their time.
"""

from greenlight.core.errors import ConflictError, GreenlightError
from greenlight.core.records import Release, utc_now
from greenlight.rollout.log_points import reached
from greenlight.rollout.releases import live_again
from greenlight.rollout.state import OTHER
from greenlight.rollout.switch import finish_interrupted
from greenlight.rollout.target import Target


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
        if idle and not was_live and target.alive(idle):
            raise ConflictError(
                f"release {idle.release_id} on {idle.color} waits for its verdict. Promote or"
                f" retire it, then let {target.service} sleep."
            )
        if state.asleep_since is None:
            target.commit(state.having(asleep_since=utc_now()).noting("asleep", live, run_id))
        reached("sleep.written", "%s sleeps from now on", target.service)
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
        live = live_again(target, run_id)
        if live is None:
            raise GreenlightError(
                f"service {target.service} has no live release that could wake, or its files are"
                " gone. `greenlight run` brings one up."
            )
        target.open_endpoint()
        return target.wait_ready(live)
