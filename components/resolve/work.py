"""Is there anything new? The exact commit of the source, and a fingerprint to compare with what is live."""

import hashlib
import json
import logging

from components.download.sources import parse_source
from components.records import Resolution
from components.resolve.parameters import Parameters
from rollout.bluegreen import recover
from rollout.target import open_target

log = logging.getLogger("greenlight.resolve")


def fingerprint(parameters: Parameters, commit: str, code_version: str) -> str:
    """Digest of all that makes a release what it is. The gate, the prompts and the text judge it; they are not in it."""
    parts = {
        "commit": commit,
        "method": parameters.method,
        "bits": 16 if parameters.method == "none" else parameters.bits,
        "engine": parameters.engine,
        "replicas": parameters.replicas,
        "code": code_version,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def resolve(parameters: Parameters, code_version: str) -> Resolution:
    """Check the parameters, finish what an interrupted promotion left, and compare the source with what is live.

    Raises:
        InputError: a parameter is unusable.
        ConflictError: another run is rolling out this service.
    """
    parameters.check()
    target = open_target(parameters.target, parameters.service, parameters.namespace, parameters.home, parameters.port)
    recovered = recover(target)
    if recovered is not None:
        log.info("finished an interrupted promotion: %s", recovered.outcome)
    source = parse_source(parameters.model, parameters.revision)
    commit = source.resolve()
    wanted = fingerprint(parameters, commit, code_version)
    live = target.live()
    if live is None:
        verdict, reason = "new", "nothing is live yet"
    elif parameters.force:
        verdict, reason = "new", "forced"
    elif live.fingerprint != wanted:
        verdict, reason = "new", f"live is {live.release_id}, made from another commit, settings or code"
    elif not target.healthy(live):
        verdict, reason = "new", f"live is {live.release_id}, which is this very release, but it does not answer"
    else:
        verdict, reason = "up_to_date", f"live is {live.release_id}: same source commit, same settings, same code"
    source_build = f"builds/{commit[:16]}-{code_version}"
    return Resolution(
        verdict=verdict,
        reason=reason,
        source=parameters.model,
        checkpoint=source.found,
        commit=commit,
        fingerprint=wanted,
        source_build=source_build,
        candidate_build=f"{source_build}/{parameters.method}-{parameters.bits}",
        live_release_id=live.release_id if live else "",
    )
