"""The local target: what rollout/ does on a cluster with Deployments and Services, on one machine
with processes.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from greenlight.core.errors import DeployError, InputError, IntegrityError
from greenlight.core.extras import require
from greenlight.core.records import Color, Instance, Release
from greenlight.core.waiting import wait_for
from greenlight.rollout import server_client as client
from greenlight.rollout.local.ports import HOST, check_port, free_port, is_own_proxy
from greenlight.rollout.local.processes import Processes
from greenlight.rollout.local.store import Store
from greenlight.rollout.state import Action, Holder, ServiceState
from greenlight.rollout.target import Answer, Served, Target, Timings

log = logging.getLogger("greenlight.rollout")

PROXY = "proxy"
PROXY_READY_S = 60.0
SERVER: Sequence[str] = (sys.executable, "-m", "greenlight.serving")


class LocalTarget(Target):
    """Serving processes and a proxy on 127.0.0.1, all of which outlive the command that starts
    them.

    Args:
        home: the state is kept in `<home>/services/<service>/`.
        port: of the stable endpoint; 0: the one it was opened with.
        command: starts a server that reads its settings from the environment as serving/ does;
            None: serving/ itself.
    """

    kind = "local"

    def __init__(
        self,
        service: str,
        namespace: str,
        home: str,
        port: int,
        timings: Timings | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.service, self.namespace, self.port = service, namespace, port
        self.timings, self.command = timings or Timings(), tuple(command or SERVER)
        self.folder = Path(home).expanduser().resolve() / "services" / service
        self.store = Store(self.folder, service)
        self.processes = Processes(self.folder, self.timings)

    # The truth.

    def check(self) -> None:
        check_port(self.store, self._port())

    def read(self) -> ServiceState:
        return self.store.read()

    def commit(self, state: ServiceState) -> ServiceState:
        return self.store.commit(state)

    def lease(self, run_id: str, action: Action) -> AbstractContextManager[None]:
        return self.store.lease(run_id, action)

    def holder(self) -> Holder | None:
        return self.store.holder()

    # The colors.

    def check_files(self, release: Release) -> None:
        from greenlight.models.integrity import verify_model

        folder = _folder(release)
        if not folder.is_dir():
            raise IntegrityError(
                f"the files of release {release.release_id} are gone: there is no folder {folder}."
                " Run `greenlight run --force` to make it again."
            )
        digest = verify_model(folder).digest
        if digest != release.digest:
            raise IntegrityError(
                f"the files of release {release.release_id} have changed: {folder} holds digest"
                f" {digest[:12]}, not {release.digest[:12]}. Run `greenlight run --force` to make"
                " it again."
            )

    def start(self, release: Release) -> Release:
        kept = {
            instance.name: instance
            for instance in release.instances
            if not self.processes.has_ended(instance)
        }
        self.processes.end(release.color, keep=[instance.pid for instance in kept.values()])
        if self.command == SERVER:
            require("local", "A server on this machine", "uvicorn", "orjson", "tokenizers")
        environment = {
            "MODEL_ID": str(_folder(release)),
            "ENGINE": release.engine,
            "RELEASE_ID": release.release_id,
            "MODEL_DIGEST": release.digest,
            "GRACE_SECONDS": f"{self.timings.drain:g}",
        }
        taken = [urlsplit(running.instance.url).port or 0 for running in self.processes.find()]
        instances = []
        for number in range(release.replicas):
            name = f"{release.color}-{number}"
            if name not in kept:
                taken.append(free_port(taken))
                kept[name] = self.processes.start(
                    release.color, name, self.command, taken[-1], environment
                )
            instances.append(kept[name])
        return release.model_copy(update={"instances": instances})

    def wait_ready(self, release: Release) -> Release:
        waiting = list(release.instances)

        def look(elapsed: float) -> Release | None:
            nonlocal waiting
            for instance in waiting:
                if self.processes.has_ended(instance):
                    raise DeployError(
                        f"{release.color}: the server of release {release.release_id} ended while"
                        f" starting{self.processes.describe_end(instance)}"
                    )
            waiting = [instance for instance in waiting if not client.is_ready(instance.url)]
            return None if waiting else release

        def report(elapsed: float) -> None:
            up = release.replicas - len(waiting)
            log.info(
                "%s: %d of %d servers ready after %.0f s",
                release.color,
                up,
                release.replicas,
                elapsed,
                extra={"figure": f"{release.color} {up}/{release.replicas} ready, {elapsed:.0f} s"},
            )

        ready = wait_for(
            look,
            seconds=self.timings.ready,
            interval=self.timings.poll,
            report=report,
            report_interval=self.timings.progress,
        )
        if ready is None:
            raise DeployError(
                f"{release.color}: release {release.release_id} was not ready within"
                f" {self.timings.ready:g} s ({len(waiting)} of {release.replicas} processes)."
                f" {self.processes.last_lines(waiting[0])}"
            )
        return ready

    def running(self, color: Color) -> list[Instance]:
        return [running.instance for running in self.processes.find(color)]

    def stop(self, color: Color) -> None:
        self.processes.end(color)

    def is_ready(self, instance: Instance) -> bool:
        return client.is_ready(instance.url)

    def version(self, instance: Instance) -> Served:
        return client.read_version(instance.url)

    def ask(
        self, instance: Instance, prompt: str, max_length: int, seconds: float | None = None
    ) -> Answer:
        return client.generate(instance.url, prompt, max_length, seconds or self.timings.ask)

    # The stable endpoint.

    @property
    def endpoint(self) -> str:
        port = self._port()
        return f"http://{HOST}:{port}" if port else ""

    def open_endpoint(self) -> str:
        port = self._port()
        check_port(self.store, port)
        if not is_own_proxy(self.folder, port):
            # one that hangs, or was started by a run that was killed before it answered
            self.processes.end(PROXY)
            self._start_proxy(port)
        state = self.read()
        if state.port != port:
            self.commit(state.having(port=port))
        return self.endpoint

    def close_endpoint(self) -> None:
        self.processes.end(PROXY)

    def endpoint_open(self) -> bool:
        port = self._port()
        return port > 0 and is_own_proxy(self.folder, port)

    def ask_stable(self, prompt: str, max_length: int, seconds: float | None = None) -> Answer:
        return client.generate(self.endpoint, prompt, max_length, seconds or self.timings.ask)

    def _port(self) -> int:
        return self.port or self.read().port

    def _start_proxy(self, port: int) -> None:
        command = (
            sys.executable,
            "-m",
            "greenlight.rollout.local.proxy",
            str(self.folder),
            self.service,
        )
        proxy = self.processes.start(
            PROXY, PROXY, command, port, {"GRACE_SECONDS": f"{self.timings.drain:g}"}
        )

        def answers(elapsed: float) -> bool | None:
            if is_own_proxy(self.folder, port):
                return True
            if self.processes.has_ended(proxy):
                raise DeployError(
                    "the proxy of the stable endpoint ended while"
                    f" starting{self.processes.describe_end(proxy)}"
                )
            return None

        if not wait_for(answers, seconds=PROXY_READY_S, interval=self.timings.poll / 4):
            raise DeployError(
                f"the proxy of the stable endpoint did not answer within {PROXY_READY_S:g} s."
                f" {self.processes.last_lines(proxy)}"
            )
        log.info("the stable endpoint is http://%s:%d", HOST, port)


def _folder(release: Release) -> Path:
    """The Model artifact of a release, which is what a server is pointed at. Raises InputError when
    it is not on this machine.
    """
    path = release.model_uri.removeprefix("file://")
    if "://" in path:
        raise InputError(
            "model_uri",
            release.model_uri,
            "the local target serves from a folder of this machine; run the pipeline with the local"
            " runner",
        )
    return Path(path).resolve()
