"""The harness itself: a real Kubernetes that keeps its rules, and leaves nothing behind."""

import contextlib
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from tests.cluster.cluster import NODE_ADDRESS, Cluster, running_cluster, wait_until
from tests.cluster.host_environment import PYTHON, ROOT, with_host_environment
from tests.cluster.manifests import deployment, pod, service

PAUSE = "localhost/pause:1"
HELLO = textwrap.dedent("""
    import http.server, sys

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from a pod")

    print("serving", flush=True)
    http.server.HTTPServer(("0.0.0.0", 8000), Hello).serve_forever()
""")


def phase(core: client.CoreV1Api, namespace: str, name: str) -> str:
    return str(core.read_namespaced_pod(name, namespace).status.phase)


def logs_of_finished_pod(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> str:
    """Run a pod to its end; it must succeed."""
    core, name = cluster.core(), manifest["metadata"]["name"]
    core.create_namespaced_pod(namespace, manifest)
    wait_until(
        lambda: phase(core, namespace, name) in ("Succeeded", "Failed"), f"the end of pod {name}"
    )
    logs = str(core.read_namespaced_pod_log(name, namespace))
    assert phase(core, namespace, name) == "Succeeded", logs
    return logs


def test_node_is_ready_and_of_the_version_that_is_pinned(inside: Cluster) -> None:
    inside.need_own()
    (node,) = inside.core().list_node().items
    assert {condition.type: condition.status for condition in node.status.conditions}[
        "Ready"
    ] == "True"
    pinned = next(
        line.split()[2]
        for line in (ROOT / "tests/cluster/modules/kubernetes/go.mod").read_text().splitlines()
        if line.startswith("require k8s.io")
    )
    assert (
        node.status.node_info.kubelet_version
        == client.VersionApi(inside.client()).get_code().git_version
        == pinned
    )


def test_service_answers_and_logs_and_proxies_go_through_the_api_server(
    inside: Cluster, namespace: str, volumes: dict, serving_image: str
) -> None:
    core = inside.core()
    manifest = deployment(pod("hello", serving_image, ["python3", "-c", HELLO]), "/", 8000)
    client.AppsV1Api(inside.client()).create_namespaced_deployment(
        namespace, with_host_environment(manifest, volumes)
    )
    core.create_namespaced_service(namespace, service("hello", 8000))

    def answers() -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{inside.service_ip(namespace, 'hello')}/", timeout=1
            ) as answer:
                return bool(answer.read() == b"hello from a pod")
        except OSError:
            return False

    wait_until(answers, "the Service")
    (running,) = core.list_namespaced_pod(namespace).items
    assert core.read_namespaced_pod_log(running.metadata.name, namespace).startswith("serving")
    assert (
        core.connect_get_namespaced_pod_proxy_with_path(
            f"{running.metadata.name}:8000", namespace, ""
        )
        == "hello from a pod"
    )
    assert (
        core.connect_get_namespaced_service_proxy_with_path("hello:http", namespace, "")
        == "hello from a pod"
    )
    (slices,) = (
        client.DiscoveryV1Api(inside.client()).list_namespaced_endpoint_slice(namespace).items
    )
    assert slices.endpoints[0].addresses == [running.status.pod_ip]


def test_service_account_has_the_rights_of_its_roles_and_no_others(
    inside: Cluster, namespace: str
) -> None:
    core, rbac = inside.core(), client.RbacAuthorizationV1Api(inside.client())
    token = core.create_namespaced_service_account_token(
        "default", namespace, {"spec": {"expirationSeconds": 600}}
    ).status.token
    account, unknown = (
        client.CoreV1Api(inside.client(token)),
        client.CoreV1Api(inside.client("a-token-that-nothing-issued")),
    )

    def status(call: Callable[[], Any]) -> int:
        try:
            call()
        except ApiException as error:
            return int(error.status)
        return 200

    assert status(lambda: account.list_namespaced_pod(namespace)) == 403
    rbac.create_namespaced_role(
        namespace,
        {
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        },
    )
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(namespace, {"metadata": {"name": "reader"}, **binding})
    wait_until(
        lambda: status(lambda: account.list_namespaced_pod(namespace)) == 200,
        "the role to count",
        timeout=10,
    )
    assert status(lambda: account.list_namespaced_secret(namespace)) == 403
    assert status(lambda: account.list_namespaced_pod("default")) == 403
    assert status(lambda: unknown.list_namespaced_pod(namespace)) == 401


def test_pod_reaches_the_api_server_with_its_token_and_gets_403(
    inside: Cluster, namespace: str, volumes: dict, serving_image: str
) -> None:
    program = textwrap.dedent("""
        from kubernetes import client, config
        config.load_incluster_config()
        try:
            client.CoreV1Api().list_namespaced_secret("default")
        except client.ApiException as error:
            print(error.status, error.body)
    """)
    logs = logs_of_finished_pod(
        inside,
        namespace,
        with_host_environment(
            pod("asks", serving_image, ["python3", "-c", program], restartPolicy="Never"), volumes
        ),
    )
    assert logs.startswith("403 ") and f"system:serviceaccount:{namespace}:default" in logs


def test_kubelet_refuses_requests_without_a_token(inside: Cluster) -> None:
    inside.need_own()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(
            f"https://{NODE_ADDRESS}:10250/pods",
            timeout=5,
            context=ssl._create_unverified_context(),
        )


def test_pod_with_a_folder_of_the_host_is_refused(inside: Cluster, namespace: str) -> None:
    manifest = pod("greedy", PAUSE)
    manifest["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    with pytest.raises(ApiException, match='violates PodSecurity \\\\"restricted'):
        inside.core().create_namespaced_pod(namespace, manifest)


def test_kinds_that_a_deployment_of_ours_has_are_accepted(inside: Cluster, namespace: str) -> None:
    api = inside.client()
    selector = {"matchLabels": {"app": "x"}}
    client.CoordinationV1Api(api).create_namespaced_lease(
        namespace,
        {"metadata": {"name": "x"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}},
    )
    client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(
        namespace, {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": selector}}
    )
    client.NetworkingV1Api(api).create_namespaced_network_policy(
        namespace,
        {"metadata": {"name": "x"}, "spec": {"podSelector": selector, "policyTypes": ["Ingress"]}},
    )
    client.AutoscalingV2Api(api).create_namespaced_horizontal_pod_autoscaler(
        namespace,
        {
            "metadata": {"name": "x"},
            "spec": {
                "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
            },
        },
    )
    group, plural = f"{namespace}.test", "things"
    definitions = client.ApiextensionsV1Api(api)
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definitions.create_custom_resource_definition(
        {
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": "Thing"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
    )
    things = client.CustomObjectsApi(api)

    def created() -> bool:
        try:
            things.create_namespaced_custom_object(
                group,
                "v1",
                namespace,
                plural,
                {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}},
            )
        except ApiException as error:
            assert error.status == 404  # its API takes a moment to appear
            return False
        return True

    wait_until(created, "an object of a kind of our own", timeout=15)
    definitions.delete_custom_resource_definition(f"{plural}.{group}")


def test_pod_reads_what_a_test_wrote_to_a_bucket(
    bucket: Any, gcs_server: str, inside: Cluster, namespace: str, volumes: dict, serving_image: str
) -> None:
    bucket.blob("folder/file").upload_from_string("from the test")
    program = f"""from google.cloud import storage
blob = storage.Client().bucket("{bucket.name}").blob("folder/file")
print(blob.download_as_text())
blob.upload_from_string("from the pod")"""
    environment = {"STORAGE_EMULATOR_HOST": gcs_server, "GOOGLE_CLOUD_PROJECT": "test"}
    manifest = with_host_environment(
        pod(
            "reader", serving_image, ["python3", "-c", program], environment, restartPolicy="Never"
        ),
        volumes,
    )
    assert logs_of_finished_pod(inside, namespace, manifest) == "from the test\n"
    assert bucket.blob("folder/file").download_as_text() == "from the pod"


def test_thread_is_inside_only_where_it_says_so(cluster: Cluster) -> None:
    cluster.need_own()

    def here() -> int:
        return os.stat("/proc/thread-self/ns/net").st_ino

    outside = here()
    with cluster.inside():
        within = here()
        with cluster.inside():
            assert here() == within != outside
        child = subprocess.run(
            ["stat", "-Lc", "%i", "/proc/self/ns/net"], capture_output=True, text=True, check=True
        )
        assert int(child.stdout) == here() == within
    assert here() == outside
    assert int(cluster.run("stat", "-Lc", "%i", "/proc/self/ns/net").stdout) == within
    assert (
        subprocess.run(
            [*cluster.enter, "ip", "-o", "addr", "show", "cni0"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.count(NODE_ADDRESS)
        == 1
    )


def test_api_server_comes_back_and_a_stopped_kubelet_starts_no_pods(
    inside: Cluster, namespace: str
) -> None:
    core = inside.core()
    inside.stop_kubelet()
    try:
        core.create_namespaced_pod(namespace, pod("late", PAUSE))
        inside.restart_apiserver()
        time.sleep(3)
        assert phase(core, namespace, "late") == "Pending"
    finally:
        inside.start_kubelet()
    wait_until(
        lambda: phase(core, namespace, "late") == "Running", "the pod that waited for the kubelet"
    )


def traces(state: Path) -> list[str]:
    """What the machine still knows about a cluster."""
    found = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if f"{state}/" in line
    ]
    netns = f"greenlight-{hashlib.sha256(str(state).encode()).hexdigest()[:8]}"
    for folder in (Path("/var/run/netns"), Path("/var/lib/cni/results")):
        found += [str(path) for path in folder.glob(f"{netns}*")]
    found += [
        str(path)
        for path in Path("/var/log/containers").glob("*")
        if str(path.readlink()).startswith(f"{state}/")
    ]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            found += [command] if f"{state}/" in command else []
    return found


def start_pod(cluster: Cluster) -> None:
    name = cluster.new_namespace()
    with cluster.inside():
        core = cluster.core()
        core.create_namespaced_pod(name, pod("runs", PAUSE))
        wait_until(lambda: phase(core, name, "runs") == "Running", "a pod of another cluster")


def test_second_cluster_runs_beside_the_first_and_ends_without_a_trace(cluster: Cluster) -> None:
    cluster.need_own()
    with running_cluster() as other:
        start_pod(other)
        assert other.state and len(traces(other.state)) > 10 and other.network.exists()
    assert traces(other.state) == [] and not other.state.exists()
    with cluster.inside():
        assert cluster.core().list_node().items


def test_cluster_ends_with_the_process_that_started_it_even_when_that_is_killed(
    cluster: Cluster,
) -> None:
    cluster.need_own()
    program = textwrap.dedent("""
        import time
        from tests.cluster.cluster import running_cluster
        with running_cluster() as it:
            print(it.state, flush=True)
            time.sleep(600)
    """)
    with subprocess.Popen(
        [PYTHON, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as starter:
        assert starter.stdout
        state = Path(starter.stdout.readline().strip())
        assert traces(state)
        starter.send_signal(signal.SIGKILL)
    wait_until(
        lambda: traces(state) == [] and {path.name for path in state.iterdir()} == {"logs"},
        "the end of a cluster whose starter was killed",
        timeout=60,
    )
    shutil.rmtree(state)
