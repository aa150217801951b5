"""What a rollout asks of an inference server over HTTP."""

import os
import time
from typing import Any

from greenlight.core.errors import DeployError, NoAnswerError
from greenlight.core.http import call
from greenlight.rollout.target import Answer, Served

COLOR_HEADER = "x-greenlight-color"
RELEASE_HEADER = "x-greenlight-release"
SHORT_S = 5.0
"""For answers that need no model."""


def is_ready(url: str) -> bool:
    """Does the server at `url` take requests now?"""
    try:
        return call("GET", f"{url}/ready", SHORT_S, headers=_key()).status_code == 200
    except NoAnswerError:
        return False


def read_version(url: str) -> Served:
    """What the server says it serves. Raises DeployError."""
    return parse_version(_json("GET", f"{url}/version", SHORT_S)[0], url)


def generate(url: str, prompt: str, max_length: int, seconds: float) -> Answer:
    """A greedy generation that does not stop early, so that a sound model always has something to
    say.

    Raises:
        DeployError: no answer within `seconds`, an error, or an empty text.
    """
    began = time.perf_counter()
    body, headers = _json("POST", f"{url}/generate", seconds, generate_request(prompt, max_length))
    return Answer(
        parse_text(body, url),
        time.perf_counter() - began,
        headers.get(COLOR_HEADER, ""),
        headers.get(RELEASE_HEADER, ""),
    )


def generate_request(prompt: str, max_length: int) -> dict[str, Any]:
    """The request for a greedy generation that does not stop early."""
    return {
        "prompt": prompt,
        "max_length": max_length,
        "temperature": 0.0,
        "stream": False,
        "ignore_eos": True,
    }


def parse_text(body: Any, who: str) -> str:
    """The text in an answer of /generate. Raises DeployError when there is none."""
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text:
        raise DeployError(
            f"{who}/generate answered a prompt with no text: {str(body)[:200]}. Read the log of the"
            " server."
        )
    return text


def parse_version(body: Any, who: str) -> Served:
    """What an answer of /version says. Raises DeployError when it says neither release nor
    digest.
    """
    try:
        return Served(
            release_id=body["release_id"],
            digest=body["model_digest"],
            engine=body["engine"],
            pid=int(body["pid"]),
        )
    except (KeyError, TypeError, ValueError):
        raise DeployError(
            f"{who}/version says neither release nor digest: {str(body)[:200]}. Something else"
            " listens there."
        ) from None


def _json(
    method: str, url: str, seconds: float, body: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    try:
        response = call(method, url, seconds, body, _key())
    except NoAnswerError as error:
        raise DeployError(f"{error} Read the log of the server.") from None
    if response.status_code != 200:
        raise DeployError(
            f"{url} answered {response.status_code}: {response.text[:200]}. Read the log of the"
            " server."
        )
    try:
        return response.json(), response.headers
    except ValueError:
        raise DeployError(
            f"{url} did not answer JSON: {response.text[:200]}. Something else listens there."
        ) from None


def _key() -> dict[str, str]:
    """The header for servers with API_KEYS."""
    return {"X-API-Key": key} if (key := os.environ.get("GREENLIGHT_API_KEY")) else {}
