"""A cloud on this machine: fakes of the APIs, a key that signs in to them, and a bucket for the
history.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import CredentialsWithRegionalAccessBoundary

from greenlight.core import storage
from greenlight.pipelines.runners.settings import CloudOptions
from greenlight.resolve.parameters import Parameters
from tests.gcs import bucket, gcs_server
from tests.pipelines.runners.fake_api import FakeKubeflow, FakeVertex

__all__ = ["bucket", "gcs_server"]

IMAGE = f"us-central1-docker.pkg.dev/proj-1/greenlight/components@sha256:{'ab' * 32}"
ACCOUNT = "greenlight-dev-pipeline@proj-1.iam.gserviceaccount.com"
CLUSTER = "projects/proj-1/locations/us-central1/clusters/greenlight-dev"


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def vertex(
    tmp_path: Path, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeVertex]:
    fake = FakeVertex()
    with fake.running():
        key = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key": private_key,
            "project_id": "proj-1",
            "token_uri": f"{fake.url}/token",
        }
        file = tmp_path / "key.json"
        file.write_text(json.dumps(key))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        # else a thread asks Google where the account may be used from, and logs long after the test
        monkeypatch.setattr(
            CredentialsWithRegionalAccessBoundary,
            "_is_regional_access_boundary_lookup_required",
            lambda self: False,
        )
        yield fake


@pytest.fixture
def kubeflow() -> Iterator[FakeKubeflow]:
    fake = FakeKubeflow()
    with fake.running():
        yield fake


@pytest.fixture
def history(bucket: Any) -> Iterator[str]:
    storage._client.cache_clear()
    yield f"gs://{bucket.name}/greenlight"
    storage._client.cache_clear()


@pytest.fixture
def upload(bucket: Any) -> Callable[[Path], None]:
    """Copies a local history to the bucket's."""

    def copy(folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.blob(f"greenlight/{path.relative_to(folder)}").upload_from_filename(
                    str(path)
                )

    return copy


def parameters(**changes: Any) -> Parameters:
    values: dict[str, Any] = {
        "target": CLUSTER,
        "namespace": "llm-serving",
        "history": "gs://models/greenlight",
    }
    return Parameters(**{**values, **changes})


def vertex_options(fake: FakeVertex, **changes: Any) -> CloudOptions:
    values = {
        "runner": "vertex",
        "components_image": IMAGE,
        "project": "proj-1",
        "pipeline_root": "gs://runs/runs",
        "service_account": ACCOUNT,
        "api_endpoint": fake.url,
        "templates": f"{fake.url}/pipelines/proj-1/templates",
        "poll_seconds": 0.02,
    }
    return CloudOptions(**{**values, **changes})  # type: ignore[arg-type]


def kubeflow_options(fake: FakeKubeflow, **changes: Any) -> CloudOptions:
    values = {
        "runner": "kubeflow",
        "components_image": IMAGE,
        "pipeline_root": "gs://runs/runs",
        "kfp_host": fake.url,
        "poll_seconds": 0.02,
    }
    return CloudOptions(**{**values, **changes})  # type: ignore[arg-type]
