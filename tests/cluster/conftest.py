"""A real Kubernetes for the tests of this folder, started once per session when the first of them
asks for it.
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NODE_ADDRESS, Cluster, running_cluster
from tests.cluster.host_environment import host_volumes, load_host_image
from tests.cluster.stage import Stage
from tests.gcs import running_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test may have to wait for the build, which has time limits of its own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(600, func_only=True))


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The session's cluster. After a failure its logs are kept in pytest's folder of temporary
    files.
    """
    with running_cluster() as running:
        yield running
        if running.state and request.session.testsfailed:
            shutil.copytree(running.state / "logs", tmp_path_factory.mktemp("cluster") / "logs")


@pytest.fixture
def inside(cluster: Cluster) -> Iterator[Cluster]:
    """The whole test runs inside the cluster's network namespace: it reaches the API server,
    Services and pods, and nothing else.
    """
    with cluster.inside():
        yield cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh Kubernetes namespace that admits only pods of the restricted standard."""
    name = cluster.new_namespace()
    yield name
    cluster.delete_namespace(name)


@pytest.fixture(scope="session")
def gcs_server(cluster: Cluster) -> Iterator[str]:
    """The address of an object store inside, for tests and pods alike."""
    cluster.need_own()
    with contextlib.ExitStack() as stack:
        with cluster.inside():
            address = stack.enter_context(running_server(NODE_ADDRESS))
        yield address


@pytest.fixture
def bucket(gcs_server: str, inside: Cluster, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of its own, as a google-cloud-storage Bucket. Clients made in the test find it by
    themselves; pods need STORAGE_EMULATOR_HOST=gcs_server.
    """
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    from google.cloud import storage

    return storage.Client().create_bucket(f"test-{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def serving_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image that runs `python -m greenlight.serving` of this checkout, in pods that
    have `host_volumes`.
    """
    return load_host_image(cluster, tmp_path_factory.mktemp("image"))


@pytest.fixture
def volumes(cluster: Cluster, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """What pods of `serving_image` in `namespace` need: merge it with `with_host_environment`."""
    return host_volumes(cluster, namespace)


@pytest.fixture
def stage(
    inside: Cluster,
    namespace: str,
    bucket: Any,
    serving_image: str,
    volumes: dict[str, list[dict[str, Any]]],
) -> Stage:
    """The shipped manifests, applied in a namespace of its own."""
    stage = Stage(inside, namespace, bucket, serving_image, volumes)
    stage.install()
    return stage
