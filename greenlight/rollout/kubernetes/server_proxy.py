"""Requests to an inference server through the API server's proxy, which every runner can reach."""

import json
from typing import Any

from greenlight.core.errors import DeployError
from greenlight.core.waiting import wait_for
from greenlight.rollout.kubernetes.connection import Connection


def ask_json(
    connection: Connection,
    method: str,
    path: str,
    who: str,
    seconds: float,
    poll: float,
    body: Any = None,
) -> tuple[Any, dict[str, str]]:
    """One request; returns the JSON and the headers of the answer. Only an API server that is away
    is asked again; what a pod answers is the answer.

    Args:
        who: is asked, for people.
        seconds: to wait for the answer.

    Raises:
        DeployError: there is no answer, an error, or no JSON.
    """
    status, text = 0, ""
    headers: dict[str, str] = {}

    def look(elapsed: float) -> bool | None:
        nonlocal status, text, headers
        status, text, headers = connection.once(
            method, path, body, "application/json", seconds=seconds
        )
        return True if status else None

    wait_for(look, seconds=seconds, interval=poll)
    if status != 200:
        raise DeployError(
            f"{who} answered {status or 'nothing'}: {text[:200].strip()}. Read the log of the"
            " server."
        )
    try:
        return json.loads(text), headers
    except ValueError:
        raise DeployError(
            f"{who} did not answer JSON: {text[:200]}. Something else listens there."
        ) from None
