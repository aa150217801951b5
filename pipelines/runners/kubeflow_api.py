"""The API of Kubeflow Pipelines, through its own generated client: sign-in, services and errors."""

import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from greenlight.core.errors import GreenlightError, InputError
from greenlight.pipelines.runners.interface import UnavailableError
from greenlight.pipelines.runners.settings import KubeflowSettings

T = TypeVar("T")

TOKEN = "GREENLIGHT_KFP_TOKEN"
"""Environment variable: a bearer token, where no file holds one."""


class KubeflowApi:
    """The services of one Kubeflow Pipelines, and a call to them whose errors say what to do."""

    def __init__(self, settings: KubeflowSettings) -> None:
        self.settings = settings

    def reconnect(self) -> None:
        """Sign in anew at the next call."""
        self.__dict__.pop("_client", None)

    @cached_property
    def _client(self) -> Any:
        import kfp_server_api as api

        configuration = api.Configuration(host=self.settings.host.rstrip("/"))
        configuration.retries = False  # tried again by us, which see what came of it
        configuration.api_key_prefix["authorization"] = "Bearer"
        self._give_token(configuration)  # the hook is only asked when there is one already
        configuration.refresh_api_key_hook = self._give_token
        return api.ApiClient(configuration)

    def _give_token(self, configuration: Any) -> None:
        token = os.environ.get(TOKEN, "")
        if self.settings.token_file:
            try:
                token = Path(self.settings.token_file).read_text().strip()
            except OSError as error:
                raise InputError(
                    "kfp_token_file",
                    self.settings.token_file,
                    f"{error.strerror or error}; give a file that holds a bearer token",
                ) from None
        if token:
            configuration.api_key["authorization"] = token

    @property
    def runs(self) -> Any:
        import kfp_server_api as api

        return api.RunServiceApi(self._client)

    @property
    def recurring(self) -> Any:
        import kfp_server_api as api

        return api.RecurringRunServiceApi(self._client)

    @property
    def pipelines(self) -> Any:
        import kfp_server_api as api

        return api.PipelineServiceApi(self._client)

    @property
    def uploads(self) -> Any:
        import kfp_server_api as api

        return api.PipelineUploadServiceApi(self._client)

    @property
    def experiments(self) -> Any:
        import kfp_server_api as api

        return api.ExperimentServiceApi(self._client)

    def call(self, call: Callable[[], T], what: tuple[str, str] | None = None) -> T:
        """One call to the API, its errors in our words.

        Args:
            what: the field and value that a 404 means.
        """
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        host = self.settings.host
        try:
            return call()
        except ApiException as error:
            status, said = error.status or 0, _message(error)
            if status == 401:
                raise UnavailableError(
                    f"{host} wants a new sign-in: {said}. Write a new token to the file of"
                    " --kfp-token-file"
                ) from None
            if status in (0, 408, 429) or status >= 500:
                raise UnavailableError(
                    f"{host} cannot answer now ({status or 'no answer'}): {said}"
                ) from None
            if status == 404 and what:
                raise InputError(
                    *what, f"there is none on {host}; see its web page, or --kfp-host"
                ) from None
            raise GreenlightError(
                f"{host} refused it ({status}): {said}. See docs/cloud.md for what it needs"
            ) from None
        except (HTTPError, OSError) as error:
            raise UnavailableError(
                f"{host} cannot be reached:"
                f" {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from None


def display_name_filter(name: str) -> str:
    """The filter of a listing: what has exactly this display name."""
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    )


def _message(error: Any) -> str:
    """What the server says, without the trace that it adds."""
    try:
        return str(
            json.loads(error.body)["error"]
            if "error" in json.loads(error.body)
            else json.loads(error.body)["message"]
        ).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return str(error.reason or error).splitlines()[0]
