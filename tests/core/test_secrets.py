"""Secrets of Vertex steps: read from Secret Manager into the environment of the one step, and
nowhere else.
"""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.service_account import Credentials

from greenlight.core.errors import GreenlightError
from greenlight.core.secrets import read_secrets
from tests.pipelines.runners.fake_api import Answer, FakeApi, Request, refusal


class FakeSecretManager(FakeApi):
    secrets: ClassVar = {
        "projects/proj-1/secrets/hf-token/versions/latest": "hf_abc",
        "projects/other/secrets/key/versions/3": "k",
    }

    def answer(self, request: Request) -> Answer:
        if request.path == "/token":
            return Answer({"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        value = self.secrets.get(request.path.removeprefix("/v1/").removesuffix(":access"))
        return (
            Answer({"payload": {"data": base64.b64encode(value.encode()).decode()}})
            if value
            else refusal(404)
        )


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecretManager]:
    fake = FakeSecretManager()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with fake.running():
        file = tmp_path / "key.json"
        account = {
            "type": "service_account",
            "client_email": "a@p.iam.gserviceaccount.com",
            "private_key": text,
            "project_id": "proj-1",
        }
        file.write_text(json.dumps({**account, "token_uri": f"{fake.url}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        # It would ask Google's own address, in a thread that outlives the test.
        monkeypatch.setattr(
            Credentials, "_is_regional_access_boundary_lookup_required", lambda _: False
        )
        for name in ("HF_TOKEN", "GREENLIGHT_API_KEY"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        yield fake


def test_secrets_become_variables(
    manager: FakeSecretManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_SECRET_HF_TOKEN", "hf-token")
    monkeypatch.setenv(
        "GREENLIGHT_SECRET_GREENLIGHT_API_KEY", "projects/other/secrets/key/versions/3"
    )
    read_secrets(manager.url)
    assert (os.environ["HF_TOKEN"], os.environ["GREENLIGHT_API_KEY"]) == ("hf_abc", "k")
    assert manager.requests[-1].authorization == "Bearer t"


def test_a_secret_that_is_not_there_is_left_out(
    manager: FakeSecretManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_SECRET_HF_TOKEN", "no-such")
    read_secrets(manager.url)
    assert "HF_TOKEN" not in os.environ


def test_a_secret_that_may_not_be_read_is_left_out_with_what_to_give(
    manager: FakeSecretManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is not there looks the same to an account without the role."""
    monkeypatch.setenv("GREENLIGHT_SECRET_HF_TOKEN", "hf-token")
    manager.faults = [("GET .*", 403)]
    read_secrets(manager.url)
    assert "HF_TOKEN" not in os.environ and "roles/secretmanager.secretAccessor" in caplog.text


def test_a_secret_manager_that_is_ill_fails_the_step(
    manager: FakeSecretManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_SECRET_HF_TOKEN", "hf-token")
    manager.faults = [("GET .*", 500)]
    with pytest.raises(GreenlightError, match="answers 500"):
        read_secrets(manager.url)


def test_the_project_is_the_pipelines_own(
    manager: FakeSecretManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_SECRET_HF_TOKEN", "hf-token")
    monkeypatch.setenv("CLOUD_ML_PROJECT_ID", "123")
    read_secrets(manager.url)
    assert manager.requests[-1].path == "/v1/projects/123/secrets/hf-token/versions/latest:access"


def test_nothing_is_asked_without_a_wish(manager: FakeSecretManager) -> None:
    read_secrets(manager.url)
    assert manager.requests == []
