"""Is what answers what should be measured? Asked of every endpoint before and after."""

from collections.abc import Iterable
from typing import Any

from greenlight.benchmark.plan import Side
from greenlight.core.errors import NoAnswerError
from greenlight.core.http import call
from greenlight.core.records import Release

TIMEOUT = 5.0  # seconds; the server answers /version without its engine


def read_versions(sides: Iterable[Side]) -> dict[str, dict[str, Any] | str]:
    """What GET /version says, by endpoint; a sentence where it says nothing."""
    return {endpoint: _read_version(endpoint) for side in sides for endpoint in side.endpoints}


def find_unreachable(versions: dict[str, dict[str, Any] | str]) -> str:
    """The first endpoint that does not answer, as a sentence; empty when all do."""
    return next((version for version in versions.values() if isinstance(version, str)), "")


def find_mismatch(
    endpoints: Iterable[str], release: Release, versions: dict[str, dict[str, Any] | str]
) -> str:
    """The first endpoint that serves another release or other bytes, as a sentence; empty when all
    are right.
    """
    for endpoint in endpoints:
        version = versions.get(endpoint, f"{endpoint} was not asked")
        if isinstance(version, str):
            return version
        for name, wanted in (("release_id", release.release_id), ("model_digest", release.digest)):
            if version.get(name) != wanted:
                return (
                    f"{endpoint} serves {name} {version.get(name)!r}, not {wanted!r}, which was"
                    " deployed"
                )
    return ""


def find_change(
    before: dict[str, dict[str, Any] | str], after: dict[str, dict[str, Any] | str]
) -> str:
    """The first endpoint that answers otherwise than before, as a sentence: its process died or was
    replaced meanwhile.
    """
    for endpoint, version in before.items():
        now = after.get(endpoint)
        if isinstance(now, str):
            return now
        if now != version:
            return f"{endpoint} was replaced during the benchmark: it was {version}, it is {now}"
    return ""


def _read_version(endpoint: str) -> dict[str, Any] | str:
    url = endpoint.rstrip("/") + "/version"
    try:
        answer = call("GET", url, TIMEOUT)
        if answer.status_code == 404:
            return {}  # a server of another make has no versions: then there is nothing to compare
        if answer.status_code != 200:
            return f"{url} answers {answer.status_code}"
        version = answer.json()
    except NoAnswerError as error:
        return str(error).rstrip(".")
    except ValueError:
        return f"{url} answers {answer.text[:80]!r}, not JSON"
    return (
        version
        if isinstance(version, dict)
        else f"{url} answers {str(version)[:80]!r}, not an object"
    )
