"""Is there anything new? The exact commit of the source, and a fingerprint to compare with what is
live.
"""

import hashlib
import json
import logging

from greenlight.core import storage
from greenlight.core.cache_keys import release_key, step_key
from greenlight.core.history import BUILDS
from greenlight.core.records import PlannedCandidate, Resolution, recipe_name
from greenlight.core.step import last_failure
from greenlight.evaluate.tasks import Tasks
from greenlight.evaluate.text_files import text_digest
from greenlight.gate.objectives import load_gate
from greenlight.gate.quality_limits import write_quality_limits
from greenlight.models.open_source import parse_source
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.methods import methods
from greenlight.resolve.inspection import say_takes
from greenlight.resolve.parameters import Parameters
from greenlight.rollout.lifecycle import recover
from greenlight.rollout.targets import open_target

log = logging.getLogger("greenlight.resolve")


def fingerprint(parameters: Parameters, commit: str, code: str) -> str:
    """Digest of all that makes a release what it is. The gate, the prompts, the text and the tasks
    judge it; they are not in it.

    Args:
        code: `release_key()`, the digest of the code that makes and serves a release.
    """
    (method, bits), *more = parameters.recipes
    parts = {
        "commit": commit,
        "method": (
            ",".join(sorted(recipe_name(*recipe) for recipe in parameters.recipes))
            if more
            else method
        ),
        "bits": 0 if more else bits if methods()[method].bits else 16,
        "engine": parameters.engine,
        "replicas": parameters.replicas,
        "code": code,
        "calibration": ",".join(
            sorted({calibration_digest(parameters, method) for method, _ in parameters.recipes})
        ),
    }
    # of one gate: the same for all
    if limits := next(
        filter(None, (search_limits(parameters, method) for method, _ in parameters.recipes)), ""
    ):
        parts["limits"] = limits
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def calibration_digest(parameters: Parameters, method: str) -> str:
    """Of what the method would calibrate on; empty where it calibrates on nothing, so that the
    parameters do not matter.
    """
    if not methods()[method].calibrates:
        return ""
    return Calibration(
        parameters.calibration, parameters.calibration_samples, parameters.calibration_length
    ).digest()


def search_limits(parameters: Parameters, method: str) -> str:
    """What a method that searches has to keep; empty for others, for which the gate does not
    matter. Raises InputError where the gate says nothing of it.
    """
    return write_quality_limits(load_gate(parameters.gate)) if methods()[method].searches else ""


def source_build(commit: str) -> str:
    """The folder of what `download` makes of a commit of the source.

    The name of each folder holds the key of the code that writes to it, so that what older code
    left is never taken for what this code makes. Folders lie in those that they build upon.
    """
    return f"{BUILDS}/{commit[:16]}-{step_key('download')}"


def candidate_build(parameters: Parameters, source: str, method: str, bits: int) -> str:
    """The folder of what `quantize` makes of a source by one method: whatever makes another
    candidate has another name.

    Args:
        source: the folder that `source_build` names.
    """
    made_with = calibration_digest(parameters, method)
    if limits := search_limits(parameters, method):
        made_with = hashlib.sha256(f"{made_with} {limits}".encode()).hexdigest()
    name = f"{method}-{bits}{f'-{made_with[:12]}' if made_with else ''}"
    return f"{source}/{name}-{step_key('quantize')}"


def reference_build(parameters: Parameters, source: str) -> str:
    """The folder of what the baseline makes of a text and of tasks: named by what they hold,
    whatever they are called.
    """
    asked = Tasks.parse(parameters.tasks, parameters.task_limit, parameters.few_shot).digest()
    held = f"text-{text_digest(parameters.text)[:12]}{f'-tasks-{asked[:12]}' if asked else ''}"
    return f"{source}/{held}-{step_key('reference')}"


def evaluation_build(candidate: str, reference: str) -> str:
    """The folder of what `evaluate` makes of a candidate and a reference, by their folders."""
    return f"{candidate}/{reference.rpartition('/')[2]}-{step_key('evaluate')}"


def resolve(parameters: Parameters) -> Resolution:
    """Check the parameters, finish what an interrupted promotion left, and compare the source with
    what is live.

    Raises:
        InputError: a parameter is unusable.
        ConflictError: another run is rolling out this service.
    """
    if described := parameters.check():
        log.info("%s", say_takes(described, parameters.recipes))
    target = open_target(
        parameters.target,
        parameters.service,
        parameters.namespace,
        parameters.home,
        parameters.port,
    )
    recovered = recover(target)
    if recovered is not None:
        log.info("finished an interrupted promotion: %s", recovered.outcome)
    source = parse_source(parameters.model, parameters.revision, parameters.from_gguf)
    commit = source.resolve()
    wanted = fingerprint(parameters, commit, release_key())
    live = target.live()
    if live is None:
        verdict, reason = "new", "nothing is live yet"
    elif parameters.force:
        verdict, reason = "new", "forced"
    elif live.fingerprint != wanted:
        verdict, reason = (
            "new",
            f"live is {live.release_id}, made from another commit, settings or code",
        )
    elif not target.is_healthy(live):
        verdict, reason = (
            "new",
            f"live is {live.release_id}, which is this very release, but it does not answer",
        )
    else:
        verdict, reason = (
            "up_to_date",
            f"live is {live.release_id}: same source commit, same settings, same code",
        )
    made_from = source_build(commit)
    reference = reference_build(parameters, made_from)
    return Resolution(
        verdict=verdict,
        reason=reason,
        source=source.name,
        checkpoint=source.found,
        commit=commit,
        fingerprint=wanted,
        source_build=made_from,
        reference_build=reference,
        candidates=plan_candidates(parameters, made_from, reference),
        live_release_id=live.release_id if live else "",
    )


def plan_candidates(parameters: Parameters, source: str, reference: str) -> list[PlannedCandidate]:
    """The candidates to make, each with the folders of its builds and when it last failed.

    Args:
        source: the folder that `source_build` names.
        reference: the folder that `reference_build` names.
    """
    candidates = []
    for method, bits in parameters.recipes:
        build = candidate_build(parameters, source, method, bits)
        evaluated = evaluation_build(build, reference)
        candidates.append(
            PlannedCandidate(
                method=method,
                bits=bits,
                limits=search_limits(parameters, method),
                build=build,
                evaluation_build=evaluated,
                attempt=max(
                    last_failure(storage.join(parameters.history, each))
                    for each in (build, evaluated)
                ),
            )
        )
    return candidates
