"""A Kubernetes that tests use: one of our own in a network namespace, or any that
GREENLIGHT_TEST_KUBECONFIG names.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE_ADDRESS = "10.244.0.1"  # of our own cluster, as in up.sh
BUILD_SECONDS, UP_SECONDS, DOWN_SECONDS = 3600, 300, 120
CLONE_NEWNET = 0x40000000
CANNOT = 3  # how build.sh ends where something is missing that it cannot make
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Cluster:
    """A running cluster and what tests may do to it.

    Attributes:
        kubeconfig: of a cluster administrator.
        state: folder of our own cluster, with logs/; None for one that is given.
    """

    kubeconfig: Path
    state: Path | None = None

    @property
    def network(self) -> Path:
        """The file of our own cluster's network namespace."""
        return Path("/var/run/netns") / (self.need_own() / "netns").read_text().strip()

    @property
    def enter(self) -> list[str]:
        """What to put before a command so that it runs inside: nothing for a
        cluster that is given.
        """
        return [] if self.state is None else ["nsenter", f"--net={self.network}", "--"]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread, the threads and the processes that it starts: all inside the
        namespace. May be nested.

        A client keeps its connections where it made them, so make it and use it inside. A proxy is
        of no use there.
        """
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("KUBECONFIG", str(self.kubeconfig))
            if self.state is not None:
                stack.enter_context(inside_network(self.network))
            yield

    def run(
        self, *argv: str | os.PathLike[str], timeout: float = 120, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, e.g. `run(sys.executable, "-c", program)`; KUBECONFIG is set.
        Raises CalledProcessError with what it printed.
        """
        with self.inside():
            return subprocess.run(
                argv,
                timeout=timeout,
                **{"check": True, "capture_output": True, "text": True, **options},
            )

    def client(self, token: str = "") -> Any:
        """A new kubernetes.client.ApiClient of the administrator, or of whoever has the token. Make
        it and use it inside.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        if token:
            configuration.refresh_api_key_hook = None  # it would bring back the administrator's
            configuration.api_key = {"authorization": f"Bearer {token}"}
        return client.ApiClient(configuration)

    def core(self) -> Any:
        """A new CoreV1Api of the administrator."""
        from kubernetes import client

        return client.CoreV1Api(self.client())

    def new_namespace(self, enforce: str = "restricted") -> str:
        """Make a Kubernetes namespace that admits pods of one pod security standard, ready for
        pods. Returns its name.
        """
        from kubernetes.client import ApiException

        name = f"test-{uuid.uuid4().hex[:8]}"
        with self.inside():
            core = self.core()
            core.create_namespace(
                {
                    "metadata": {
                        "name": name,
                        "labels": {"pod-security.kubernetes.io/enforce": enforce},
                    }
                }
            )

            def has_service_account() -> bool:
                try:
                    core.read_namespaced_service_account("default", name)
                except ApiException as error:
                    if error.status != 404:
                        raise
                    return False
                return True

            wait_until(has_service_account, f"the default service account of {name}")
        return name

    def delete_namespace(self, name: str) -> None:
        """Ask for the end of a namespace and kill its pods; wait for neither."""
        with self.inside():
            core = self.core()
            core.delete_namespace(name)
            core.delete_collection_namespaced_pod(name, grace_period_seconds=0)
            core.delete_collection_persistent_volume(label_selector=f"namespace={name}")

    def service_ip(self, namespace: str, name: str) -> str:
        """The address of a Service, which answers inside."""
        self.need_own()
        with self.inside():
            return str(self.core().read_namespaced_service(name, namespace).spec.cluster_ip)

    def load_image(self, archive: Path) -> None:
        """Import an OCI or docker archive into the node. Pods use it with imagePullPolicy Never or
        IfNotPresent.
        """
        subprocess.run(
            [self.need_own() / "commands/ctr", "images", "import", "--local", archive],
            check=True,
            capture_output=True,
            timeout=600,
        )

    def restart_apiserver(self, down_seconds: float = 0) -> None:
        """Kill the API server, start it again after a while, and wait until it is ready."""
        self._component("kill", "apiserver")
        time.sleep(down_seconds)
        self._component("start", "apiserver")
        with self.inside():
            wait_until(self._api_is_ready, "the API server after its restart")

    def stop_kubelet(self) -> None:
        """Containers run on, but nobody probes them, starts new ones or reports about them."""
        self._component("stop", "kubelet")

    def start_kubelet(self) -> None:
        """Does not wait until the node is ready."""
        self._component("start", "kubelet")

    def need_own(self) -> Path:
        """The state folder of our own cluster; skips the test on another."""
        if self.state is None:
            pytest.skip("needs a cluster of our own: GREENLIGHT_TEST_KUBECONFIG names another")
        return self.state

    def _component(self, verb: str, name: str) -> None:
        subprocess.run([HERE / "component.sh", self.need_own(), verb, name], check=True, timeout=60)

    def _api_is_ready(self) -> bool:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            client = self.client()
            client.configuration.retries = False
            return (
                client.call_api(
                    "/readyz",
                    "GET",
                    auth_settings=["BearerToken"],
                    response_type="str",
                    _request_timeout=2,
                )[1]
                == 200
            )
        except (ApiException, HTTPError):
            return False


@contextlib.contextmanager
def inside_network(file: Path) -> Iterator[None]:
    """The calling thread, the threads and the processes that it starts: all inside a network
    namespace, where a proxy is of no use.
    """
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in PROXIES:
            patch.delenv(name, raising=False)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, before)
        namespace = os.open(file, os.O_RDONLY)
        stack.callback(os.close, namespace)
        stack.callback(_set_namespace, before)
        _set_namespace(namespace)
        yield


def _set_namespace(descriptor: int) -> None:
    """setns(2) for the calling thread; os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def wait_until(
    condition: Callable[[], bool], what: str, timeout: float = 60, every: float = 0.1
) -> None:
    """Raises TimeoutError that names what was awaited."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(every)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster of our own, or take the one that GREENLIGHT_TEST_KUBECONFIG names. Skips, and
    says why, where neither can be had.
    """
    if given := os.environ.get("GREENLIGHT_TEST_KUBECONFIG"):
        yield Cluster(Path(given))
        return
    if os.geteuid() != 0:
        pytest.skip(
            "starting a Kubernetes takes root; or name a cluster to test on in"
            " GREENLIGHT_TEST_KUBECONFIG"
        )
    built = subprocess.run(
        [HERE / "build.sh"], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if built.returncode == CANNOT:
        pytest.skip(
            f"no Kubernetes can be built here ({built.stderr.strip().splitlines()[-1]}), and"
            " GREENLIGHT_TEST_KUBECONFIG names none"
        )
    assert built.returncode == 0, built.stderr

    state = Path(tempfile.mkdtemp(prefix="greenlight-"))  # short, for the unix sockets below it
    # Ends the cluster when this process does, however that may happen: then its end of the pipe is
    # closed.
    end = ["sh", "-c", 'cat >/dev/null; exec "$0" "$1"', str(HERE / "down.sh"), str(state)]
    watcher = subprocess.Popen(
        end, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    try:
        up = subprocess.run(
            [HERE / "up.sh", state], capture_output=True, text=True, timeout=UP_SECONDS, check=False
        )
        assert up.returncode == 0, up.stderr
        yield Cluster(state / "kubeconfig", state)
    finally:
        _, errors = watcher.communicate(timeout=DOWN_SECONDS)
        assert watcher.returncode == 0, errors
    shutil.rmtree(state)  # after a failure it stays, for its logs
