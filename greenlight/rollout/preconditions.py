"""What must hold before traffic moves. `verify_…` and `require_…` return when it does, and raise
otherwise.
"""

import logging
from collections.abc import Sequence

from greenlight.core.errors import ConflictError, DeployError, GreenlightError
from greenlight.core.records import Decision, Deployment, Golden, Instance, Promotion, Release
from greenlight.rollout.state import ServiceState, decision_id
from greenlight.rollout.target import Target, same_process

log = logging.getLogger("greenlight.rollout")

PROMPTS = 4
VALIDATION_TOKENS = 16
GOLDEN_TOLERANCE = 1 / 8
"""Share of the golden prompts to which a server may give another answer: other kernels round
differently, and can tip a choice between two tokens.
"""
DEFAULT_PROMPT = "Hello"


def choose_probe_prompts(prompts: list[str]) -> list[str]:
    """The few that validate a release and probe a bake: the shortest, which fit any model's
    context.
    """
    return sorted(set(prompts), key=len)[:PROMPTS] or [DEFAULT_PROMPT]


def verify_identity(target: Target, release: Release) -> str:
    """Every instance says that it serves this release; returns the engine that it serves with.

    Raises:
        DeployError: one serves something else, from another process, or does not say.
    """
    engine = release.engine
    for instance in release.instances:
        served = target.version(instance)
        if (served.release_id, served.digest) != (release.release_id, release.digest):
            raise DeployError(
                f"{instance.name} at {instance.url} serves release {served.release_id or '(none)'},"
                f" digest {served.digest[:12] or '(none)'}, not {release.release_id}, digest"
                f" {release.digest[:12]}. Run `greenlight run` to deploy it again."
            )
        if instance.pid and served.pid != instance.pid:
            raise DeployError(
                f"{instance.url} is answered by process {served.pid}, not by {instance.pid} that"
                " was started for it. End that process, then run this again."
            )
        engine = served.engine
    return engine


def verify_answers(
    target: Target, release: Release, prompts: Sequence[str], golden: Sequence[Golden] = ()
) -> None:
    """Every instance answers every prompt with some text, and the golden ones as the candidate did
    when it was evaluated.

    Raises:
        DeployError: one does not answer, or what it serves is not what was evaluated.
    """
    for instance in release.instances:
        for prompt in prompts:
            target.ask(instance, prompt, VALIDATION_TOKENS)
        if golden:
            _verify_golden(target, release, instance, golden)
    log.info(
        "%s: every server of release %s answers, %d prompts",
        release.color,
        release.release_id,
        len(prompts) + len(golden),
    )


def _verify_golden(
    target: Target, release: Release, instance: Instance, golden: Sequence[Golden]
) -> None:
    other = []
    for each in golden:
        found = target.ask(instance, each.prompt, each.tokens).text
        if _plain(found) != _plain(each.text):
            other.append(f"to {each.prompt[-40:]!r} it says {found[:40]!r}, not {each.text[:40]!r}")
    if len(other) > GOLDEN_TOLERANCE * len(golden):
        raise DeployError(
            f"{instance.name} at {instance.url} does not serve what was evaluated: it answers"
            f" {len(other)} of {len(golden)} golden prompts differently ({other[0]}). Check whether"
            " its engine, version or settings differ, read the log of the server, then run"
            " `greenlight run` again."
        )
    if other:
        log.warning(
            "%s: %s answers %d of %d golden prompts differently: %s",
            release.color,
            instance.name,
            len(other),
            len(golden),
            other[0],
        )


def _plain(text: str) -> str:
    """Without what engines render in different ways: space around it, and a character that is not
    complete.
    """
    return text.strip().rstrip("\ufffd")


def require_promote(decision: Decision) -> None:
    """Only the verdict `promote` moves traffic. Raises GreenlightError."""
    if decision.verdict != "promote":
        raise GreenlightError(
            f"the gate {decision.gate_name} says {decision.verdict}: {decision.reason} Nothing was"
            " moved; only the verdict promote moves traffic."
        )


def find_earlier_outcome(state: ServiceState, decision: Decision) -> Promotion | None:
    """What became of this decision, if it was acted on before: a repeated step must not flip a
    second time.
    """
    candidate, live = decision.deployment.candidate, state.live_release
    if live and (live.release_id, live.digest) == (candidate.release_id, candidate.digest):
        return Promotion(
            outcome="already_live",
            live=live,
            previous=state.previous,
            reason=f"{live.release_id} is live on {live.color} already",
        )
    last = next(
        (event for event in reversed(state.history) if event.decision == decision_id(decision)),
        None,
    )
    if live and last and last.what == "rolled_back":
        return Promotion(
            outcome="rolled_back",
            live=live,
            previous=candidate,
            reason=(
                f"this decision was tried at {last.at:%Y-%m-%d %H:%M} UTC, and rolled back:"
                f" {last.reason}"
            ),
        )
    return None


def require_live_unchanged(state: ServiceState, decision: Decision) -> None:
    """What is live is what the candidate was compared with. Raises ConflictError."""
    then, now = decision.deployment.live, state.live_release
    if now is None or (now.release_id, now.digest, now.color) != (
        then.release_id,
        then.digest,
        then.color,
    ):
        raise ConflictError(
            f"live has changed since the benchmark: it was {then.release_id} on {then.color}, it is"
            f" {f'{now.release_id} on {now.color}' if now else 'none'}. Nothing was moved. Run"
            " `greenlight run` to measure against what is live now."
        )


def require_measured(target: Target, state: ServiceState, deployment: Deployment) -> Release:
    """What runs on the candidate's color is what was measured: the release, its digest, and the
    very processes; returns it as it runs now.

    Where a cluster replaced pods meanwhile, the new ones must be of the same build as those that
    were measured, and are validated as those were.

    Raises:
        ConflictError: it was replaced.
        DeployError: it does not answer, or does not serve what was measured.
    """
    candidate = deployment.candidate
    color, held = candidate.color, state.slot(candidate.color)
    again = "Nothing was moved. Run `greenlight run` to deploy and measure it again."
    if held is None or (held.release_id, held.digest) != (candidate.release_id, candidate.digest):
        raise ConflictError(
            f"{color} holds {held.release_id if held else 'no release'}, not {candidate.release_id}"
            f" that was measured. {again}"
        )
    if target.replaces_instances:
        return _require_same_build(
            target, candidate, target.wait_ready(candidate), state.prompts, deployment.golden
        )
    running = target.running(color)
    for instance in candidate.instances:
        if not any(same_process(instance, now) for now in running):
            raise ConflictError(
                f"{color}: {instance.name}, process {instance.pid}, was measured, and does not run"
                f" any more. {again}"
            )
    if len(running) != len(candidate.instances) or not running:
        raise ConflictError(
            f"{color}: {len(running)} servers run, {len(candidate.instances)} were measured."
            f" {again}"
        )
    verify_identity(target, candidate)
    for instance in candidate.instances:
        if not target.is_ready(instance):
            raise DeployError(
                f"{color}: {instance.name} at {instance.url} is not ready. Nothing was moved. Look"
                " at `greenlight status`, then run this again."
            )
    return candidate


def scale_to_live(
    target: Target,
    candidate: Release,
    live: Release,
    prompts: list[str],
    golden: Sequence[Golden] = (),
) -> Release:
    """The candidate with as many instances as live has now, each of the same build and verified.
    Raises as `measured`.
    """
    return (
        _require_same_build(target, candidate, target.scale_like(candidate, live), prompts, golden)
        if target.replaces_instances
        else candidate
    )


def _require_same_build(
    target: Target, before: Release, now: Release, prompts: list[str], golden: Sequence[Golden]
) -> Release:
    """The release as it runs now, if that is of the build it was before; what is new is
    validated.
    """
    builds = {instance.build for instance in before.instances}
    for instance in now.instances:
        if instance.build not in builds:
            raise ConflictError(
                f"{now.color}: {instance.name} is of another build ({instance.build}) than was"
                f" measured ({', '.join(sorted(builds))}). Nothing was moved. Run `greenlight run`"
                " to deploy and measure it again."
            )
    verify_identity(target, now)
    fresh = [
        instance
        for instance in now.instances
        if not any(same_process(instance, old) for old in before.instances)
    ]
    if fresh:
        log.info(
            "%s: validating %d new pods: %s",
            now.color,
            len(fresh),
            ", ".join(instance.name for instance in fresh),
        )
        verify_answers(target, now.model_copy(update={"instances": fresh}), prompts, golden)
    return now
