"""The way to an API server: what is tried again, what is not, and how a GKE cluster is found."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google.auth
import pytest
import yaml
from google.auth.credentials import Credentials

from greenlight.core.errors import GreenlightError, InputError
from greenlight.rollout.kubernetes import connection as module
from greenlight.rollout.kubernetes.connection import ApiError, Connection

GKE = "projects/p/locations/europe-west1/clusters/c"


class Api(ThreadingHTTPServer):
    """Gives the next of `answers` (status, body) to each request, the last one for ever, and
    remembers what it was asked.
    """

    answers: list[tuple[int, Any]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = [(200, {})], list[tuple[str, str, dict[str, str], bytes]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        status, answer = (
            self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        )
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def connection(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return Connection()


def test_what_passes_is_tried_again(api: Api, connection: Connection) -> None:
    api.answers = [(503, {}), (429, {}), (200, {"kind": "Service"})]
    assert connection.get("/api/v1/x", labelSelector="a=b,c=d") == {"kind": "Service"}
    assert [asked[1] for asked in api.asked] == ["/api/v1/x?labelSelector=a%3Db%2Cc%3Dd"] * 3
    assert api.asked[0][2]["Authorization"] == "Bearer secret-token"


def test_what_is_refused_is_not(api: Api, connection: Connection) -> None:
    api.answers = [(403, {"message": 'services "llm" is forbidden: no'}), (200, {})] * 2
    with pytest.raises(
        ApiError, match=r"403 to PATCH /x: services \"llm\" is forbidden: no\.$"
    ) as refused:
        connection.merge("/x", {"a": 1})
    assert (
        refused.value.status == 403
        and [asked[1] for asked in api.asked] == ["/x?fieldManager=greenlight", "/readyz"] * 2
    )
    api.answers = [(404, {})]
    assert connection.find("/x") is None
    connection.delete("/x")


def test_an_api_server_that_has_just_started_knows_nobody_yet(
    api: Api, connection: Connection
) -> None:
    api.answers = [
        (403, {}),
        (500, {}),
        (401, {}),
        (403, {}),
        (403, {}),
        (200, {}),
        (200, {"a": 1}),
    ]
    assert connection.get("/x") == {"a": 1}
    assert [asked[1] for asked in api.asked] == [
        "/x",
        "/readyz",
        "/x",
        "/readyz",
        "/x",
        "/readyz",
        "/x",
    ]


def test_an_api_server_that_stays_away_is_named(
    api: Api, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.3)
    api.shutdown()
    api.server_close()
    with pytest.raises(GreenlightError, match=r"cannot be reached.*Check the network"):
        connection.get("/x")


def test_patches_say_who_writes(api: Api, connection: Connection) -> None:
    connection.apply("/x", {"spec": {}})
    connection.merge("/x", {"spec": {}})
    (_, applied, first, _), (_, merged, second, body) = api.asked
    assert (
        applied == "/x?fieldManager=greenlight&force=true"
        and first["Content-Type"] == "application/apply-patch+yaml"
    )
    assert (
        merged == "/x?fieldManager=greenlight"
        and second["Content-Type"] == "application/merge-patch+json"
        and body == b'{"spec": {}}'
    )


def test_a_servers_key_goes_to_servers_alone(
    api: Api, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_API_KEY", "k")
    connection.get("/api/v1/namespaces/ns/pods")
    connection.get("/api/v1/namespaces/ns/pods/p:8000/proxy/version")
    assert ["X-API-Key" in headers or "X-Api-Key" in headers for _, _, headers, _ in api.asked] == [
        False,
        True,
    ]


class Token(Credentials):  # type: ignore[misc]
    """Runs out when a test says so."""

    count = 0

    def refresh(self, request: object) -> None:
        self.count += 1
        self.token = f"token-{self.count}"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Token:
    token = Token()
    monkeypatch.setattr(google.auth, "default", lambda **_: (token, "p"))
    return token


@pytest.fixture
def gke(api: Api, token: Token, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("GREENLIGHT_GKE_ENDPOINT", api.url)
    return api


def test_a_gke_cluster_is_found_by_its_name_and_its_token_is_renewed(
    gke: Api, token: Token
) -> None:
    ca = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
    gke.answers = [(200, {"endpoint": "10.1.2.3", "masterAuth": {"clusterCaCertificate": ca}})]
    configuration = module.client_configuration(GKE)
    assert gke.asked[0][1] == f"/v1/{GKE}"
    assert configuration.host == "https://10.1.2.3" and Path(
        configuration.ssl_ca_cert
    ).read_bytes().startswith(b"-----BEGIN")
    assert {configuration.get_api_key_with_prefix("authorization") for _ in range(2)} == {
        "Bearer token-1"
    }
    token.expiry = datetime(2020, 1, 1)
    assert configuration.get_api_key_with_prefix("authorization") == "Bearer token-2"


def test_a_private_gke_cluster_is_reached_by_its_dns_endpoint(gke: Api) -> None:
    dns = {"endpoint": "gke-1.europe-west1.gke.goog", "allowExternalTraffic": True}
    gke.answers = [
        (
            200,
            {
                "endpoint": "10.1.2.3",
                "masterAuth": {},
                "controlPlaneEndpointsConfig": {"dnsEndpointConfig": dns},
            },
        )
    ]
    configuration = module.client_configuration(GKE)
    assert (
        configuration.host == "https://gke-1.europe-west1.gke.goog"
        and configuration.ssl_ca_cert is None
    )


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [(404, InputError, "no such cluster"), (403, GreenlightError, "roles/container.clusterViewer")],
)
def test_a_gke_cluster_that_cannot_be_found(
    gke: Api, status: int, error: type[Exception], says: str
) -> None:
    gke.answers = [(status, {"error": {}})]
    with pytest.raises(error, match=says):
        module.client_configuration(GKE)
