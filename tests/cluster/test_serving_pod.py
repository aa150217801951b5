"""The server of this checkout, as a pod of the restricted standard behind a Service, on each
engine.
"""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.host_environment import USER, with_host_environment
from tests.cluster.manifests import deployment, pod, service
from tests.serving.conftest import openvino_model  # noqa: F401
from tests.serving.server_process import TINY


@pytest.fixture(params=["transformers", "openvino"])
def engine_and_model(request: pytest.FixtureRequest) -> tuple[str, Path]:
    return request.param, TINY if request.param == "transformers" else request.getfixturevalue(
        "openvino_model"
    )


def accepts(host: str) -> bool:
    try:
        socket.create_connection((host, 80), timeout=1).close()
    except OSError:
        return False
    return True


def test_serving_pod_generates_behind_its_service(
    engine_and_model: tuple[str, Path],
    inside: Cluster,
    namespace: str,
    volumes: dict[str, list[dict[str, Any]]],
    serving_image: str,
) -> None:
    engine, model = engine_and_model
    settings = {
        "MODEL_ID": str(model),
        "ENGINE": engine,
        "PORT": "8080",
        "RELEASE_ID": "a-release",
        "NUM_THREADS": "1",
    }
    manifest = deployment(pod("server", serving_image, env=settings), "/ready", 8080)
    apps, core = client.AppsV1Api(inside.client()), inside.core()
    apps.create_namespaced_deployment(namespace, with_host_environment(manifest, volumes))
    core.create_namespaced_service(namespace, service("server", 8080))
    wait_until(
        lambda: apps.read_namespaced_deployment("server", namespace).status.ready_replicas == 1,
        "the server",
        timeout=180,
    )

    host = inside.service_ip(namespace, "server")
    # it learns a little later that the pod is ready
    wait_until(lambda: accepts(host), "kube-proxy to lead to the server", timeout=30)
    address = f"http://{host}"
    body = {"prompt": "The import statement", "max_length": 8, "temperature": 0, "stream": False}
    request = urllib.request.Request(
        f"{address}/generate", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["X-Release-Id"] == "a-release"
        assert json.load(answer)["text"].strip()
    with urllib.request.urlopen(f"{address}/version", timeout=60) as answer:
        assert json.load(answer)["engine"] == engine
    (running,) = core.list_namespaced_pod(namespace).items
    assert (
        running.spec.security_context.run_as_user == USER
        and running.spec.containers[0].security_context.read_only_root_filesystem
    )
    assert '"event":"ready"' in core.read_namespaced_pod_log(running.metadata.name, namespace)
