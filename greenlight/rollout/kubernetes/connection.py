"""The way to an API server: from a kubeconfig, from inside a pod, or by the name of a GKE cluster.
Nothing here needs gcloud or kubectl.
"""

import json
import logging
import os
import re
import tempfile
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from greenlight.core.errors import GreenlightError, InputError

log = logging.getLogger("greenlight.rollout")

Json = dict[str, Any]

GKE_CLUSTER = re.compile(r"projects/[^/]+/locations/[^/]+/clusters/[^/]+")
IN_CLUSTER = "in-cluster"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
FIELD_MANAGER = "greenlight"
RETRY_SECONDS = 60.0  # an API server that restarts is back within that
STARTING_SECONDS = (
    20.0  # one that has just started refuses everybody until it has read the roles and tokens
)
PASSING = (429, 500, 502, 503, 504)
LONGEST_PAUSE_S = 2.0
CONNECT_SECONDS = 5.0


class ApiError(GreenlightError):
    """The API server refused. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Connection:
    """JSON in, JSON out, to one API server. What passes by itself (a restart, an overload, a cut
    connection) is tried again for a minute.

    Args:
        cluster: a kubeconfig context, `in-cluster`, or projects/P/locations/L/clusters/C; empty:
            the kubeconfig's current context, or in a pod its cluster.
    """

    def __init__(self, cluster: str = "") -> None:
        self.cluster = cluster
        self._client: Any = None

    def get(self, path: str, **query: str) -> Json:
        return self.call("GET", path, query=query)

    def find(self, path: str, **query: str) -> Json | None:
        """What is at a path; None where nothing is."""
        try:
            return self.call("GET", path, query=query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, path: str, body: Json) -> Json:
        """Server-side apply: the fields of `body` become ours, whoever had them."""
        return self.call(
            "PATCH", path, body, APPLY, {"fieldManager": FIELD_MANAGER, "force": "true"}
        )

    def merge(self, path: str, body: Json) -> Json:
        """Merge patch. On condition, where `body` holds a resourceVersion: ApiError 409 when it is
        another by now.
        """
        return self.call("PATCH", path, body, MERGE, {"fieldManager": FIELD_MANAGER})

    def create(self, path: str, body: Json) -> Json:
        return self.call("POST", path, body, query={"fieldManager": FIELD_MANAGER})

    def delete(self, path: str) -> None:
        """Delete, with what depends on it. Nothing there: nothing to do."""
        try:
            self.call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Json:
        """One call. Raises ApiError with the server's own words, GreenlightError when it cannot be
        reached for a minute.
        """
        found: Json = json.loads(self.text(method, path, body, content_type, query) or "{}")
        return found

    def text(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> str:
        """The same, for answers that are not JSON."""
        began, pause, refused = time.monotonic(), 0.1, False
        while True:
            status, text, _ = self.once(method, path, body, content_type, query)
            if 200 <= status < 300:
                return text
            waited = time.monotonic() - began
            refused_before, refused = refused, status in (401, 403) and self._started()
            starting = (
                status in (401, 403)
                and waited < STARTING_SECONDS
                and not (refused and refused_before)
            )
            if status and status not in PASSING and not starting:
                raise ApiError(status, _say(method, path, status, text))
            if waited > RETRY_SECONDS:
                reason = (
                    _say(method, path, status, text)
                    if status
                    else f"the API server of {self.name} cannot be reached: {text}"
                )
                raise ApiError(
                    status, f"{reason} Check the network and the cluster, then run this again."
                )
            log.debug("the API server answers %d (%s): trying again", status, text[:120])
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _started(self) -> bool:
        """Has the API server read its roles and tokens? Until then it refuses everybody."""
        return self.once("GET", "/readyz", None, "application/json")[0] == 200

    def once(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        query: dict[str, str] | None = None,
        seconds: float = 30.0,
    ) -> tuple[int, str, dict[str, str]]:
        """A single try: status, body, headers. Status 0: no answer, and the body says why."""
        from urllib3.exceptions import HTTPError
        from urllib3.util import Timeout

        client = self._connected()
        headers = {
            "Accept": "application/json, */*",
            "Content-Type": content_type,
            "User-Agent": "greenlight",
        }
        # of servers with API_KEYS
        if "/proxy/" in path and (key := os.environ.get("GREENLIGHT_API_KEY")):
            headers["X-API-Key"] = key
        try:
            # fetches a new one when it ran out
            if token := client.configuration.get_api_key_with_prefix("authorization"):
                headers["Authorization"] = token
            answer = client.rest_client.pool_manager.request(
                method,
                client.configuration.host + path + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=False,
            )
        except (HTTPError, OSError) as error:
            return 0, f"{type(error).__name__}: {str(error)[:200]}", {}
        return (
            answer.status,
            answer.data.decode(errors="replace"),
            {name.lower(): value for name, value in answer.headers.items()},
        )

    @property
    def name(self) -> str:
        return f"cluster {self.cluster}" if self.cluster else "the current kubeconfig context"

    def _connected(self) -> Any:
        if self._client is None:
            from kubernetes.client import ApiClient

            self._client = ApiClient(client_configuration(self.cluster), pool_threads=1)
        return self._client


def _say(method: str, path: str, status: int, text: str) -> str:
    with suppress(ValueError, AttributeError):
        text = json.loads(text).get("message") or text
    return f"the API server answered {status} to {method} {path}: {text[:500].strip().rstrip('.')}."


def client_configuration(cluster: str) -> Any:
    """Where a cluster's API server is, and how to be let in. Raises InputError that says how to
    name a cluster.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if GKE_CLUSTER.fullmatch(cluster):
            _load_gke(configuration, cluster)
        elif cluster == IN_CLUSTER or (
            not cluster
            and "KUBERNETES_SERVICE_HOST" in os.environ
            and not os.path.exists(_kubeconfig())
        ):
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(
                _kubeconfig(), context=cluster or None, client_configuration=configuration
            )
    except config.ConfigException as error:
        reason = str(error).rstrip(".").replace("\n", " ")
        fix = (
            f"{reason}; name a context of {_kubeconfig()}, {IN_CLUSTER}, or"
            " projects/P/locations/L/clusters/C"
        )
        raise InputError(
            "target", f"kubernetes:{cluster}" if cluster else "kubernetes", fix
        ) from None
    return configuration


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")


def _load_gke(configuration: Any, cluster: str) -> None:
    """Ask the GKE API where the cluster is. Tokens are Google's, and fetched anew when they run
    out.

    Its DNS-based endpoint is taken where it takes traffic from outside: it needs no way into the
    cluster's network.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession, Request

    endpoint = os.environ.get("GREENLIGHT_GKE_ENDPOINT", "https://container.googleapis.com")
    try:
        credentials, _ = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        answer = AuthorizedSession(credentials).get(f"{endpoint}/v1/{cluster}", timeout=20)
    except GoogleAuthError as error:
        raise GreenlightError(
            f"no Google Cloud credentials to find {cluster}: {error} Run `gcloud auth"
            " application-default login`."
        ) from None
    except OSError as error:
        raise GreenlightError(
            f"the GKE API cannot be reached to find {cluster}: {error}. Check the network, then run"
            " this again."
        ) from None
    if answer.status_code != 200:
        if answer.status_code == 404:
            raise InputError(
                "target",
                cluster,
                "there is no such cluster; `gcloud container clusters list` has their names",
            )
        raise GreenlightError(
            f"the GKE API answered {answer.status_code} for {cluster}: {answer.text[:300]} It needs"
            " roles/container.clusterViewer."
        )
    found = answer.json()
    dns = found.get("controlPlaneEndpointsConfig", {}).get("dnsEndpointConfig", {})
    if dns.get("endpoint") and dns.get("allowExternalTraffic"):
        configuration.host = f"https://{dns['endpoint']}"  # its certificate is a public one
    else:
        configuration.host = f"https://{found['endpoint']}"
        configuration.ssl_ca_cert = _ca_file(found["masterAuth"]["clusterCaCertificate"])

    def refresh(configuration: Any) -> None:
        if not credentials.valid:
            credentials.refresh(Request())
        configuration.api_key["authorization"] = f"Bearer {credentials.token}"

    configuration.refresh_api_key_hook = refresh


def _ca_file(certificate: str) -> str:
    """urllib3 wants a file."""
    import base64

    with tempfile.NamedTemporaryFile(
        "wb", prefix="greenlight-ca-", suffix=".pem", delete=False
    ) as file:
        file.write(base64.b64decode(certificate))
    return file.name
