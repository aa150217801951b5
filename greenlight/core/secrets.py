"""Secrets on Vertex AI: the compiled pipeline names them, and the step that needs one reads it from
Secret Manager into its own environment.
"""

import base64
import logging
import os

from greenlight.core.errors import GreenlightError

log = logging.getLogger("greenlight.secrets")

PREFIX = "GREENLIGHT_SECRET_"
"""GREENLIGHT_SECRET_HF_TOKEN=hf-token: HF_TOKEN is what the secret hf-token holds."""
OWN_PROJECT = "CLOUD_ML_PROJECT_ID"
"""Vertex puts the number of the project into it, in which the pipeline runs."""
ENDPOINT = "https://secretmanager.googleapis.com"
SECONDS = 30


def read_secrets(endpoint: str = ENDPOINT) -> None:
    """Set every variable that the environment names a secret for, where there is one. A variable
    that is set already stays.

    Raises:
        GreenlightError: a secret is there and may not be read, or Secret Manager cannot be reached.
    """
    wanted = {
        name.removeprefix(PREFIX): secret
        for name, secret in os.environ.items()
        if name.startswith(PREFIX)
    }
    for name, secret in wanted.items():
        if name not in os.environ and (value := _read(secret, endpoint)) is not None:
            os.environ[name] = value


def _read(secret: str, endpoint: str) -> str | None:
    """The value of `name` or `projects/P/secrets/name`, its latest version unless it says another.
    None where there is no such secret.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from requests import RequestException

    try:
        credentials, project = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        # on Vertex the default one is that of Google's machines
        project = os.environ.get(OWN_PROJECT) or project
        full = secret if secret.startswith("projects/") else f"projects/{project}/secrets/{secret}"
        full = full if "/versions/" in full else f"{full}/versions/latest"
        answer = AuthorizedSession(credentials).get(f"{endpoint}/v1/{full}:access", timeout=SECONDS)
    except (GoogleAuthError, RequestException) as error:
        raise GreenlightError(
            f"Secret Manager cannot be asked for {secret}: {error}. Run the step again"
        ) from None
    if answer.status_code == 404:
        log.info("there is no secret %s; going on without it", secret)
        return None
    # also of a secret that is not there, which whoever may not read it is not told
    if answer.status_code == 403:
        log.warning(
            "there is no secret %s, or the pipeline's account has no"
            " roles/secretmanager.secretAccessor on it; going on without it",
            secret,
        )
        return None
    if answer.status_code != 200:
        raise GreenlightError(
            f"Secret Manager answers {answer.status_code} when asked for {secret}. Run the step"
            " again"
        )
    return base64.b64decode(answer.json()["payload"]["data"]).decode()
