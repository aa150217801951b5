"""The Kubernetes target. All that it knows it asks the cluster: nothing is kept between two calls
but the connection.
"""

import logging
import time
from contextlib import AbstractContextManager

from greenlight.core.errors import DeployError, GreenlightError, InputError, IntegrityError
from greenlight.core.records import Color, Instance, Release
from greenlight.core.waiting import wait_for
from greenlight.rollout import server_client as client
from greenlight.rollout.kubernetes import manifests
from greenlight.rollout.kubernetes.autoscalers import Autoscalers
from greenlight.rollout.kubernetes.connection import Connection, Json
from greenlight.rollout.kubernetes.jobs import run_job
from greenlight.rollout.kubernetes.pod_wait import PodWait
from greenlight.rollout.kubernetes.pods import (
    PORT,
    Pod,
    color_selector,
    count_pods,
    owner,
    pods_of,
    preview,
)
from greenlight.rollout.kubernetes.server_proxy import ask_json
from greenlight.rollout.kubernetes.store import COLOR_KEY, PREFIX, Store
from greenlight.rollout.state import OTHER, Action, Holder, ServiceState
from greenlight.rollout.target import Answer, Served, Target, Timings

log = logging.getLogger("greenlight.rollout")

POD_END_MARGIN_S = 120.0
"""For pods to end after their streams have, before somebody has to look."""


class KubernetesTarget(Target):
    """Each color is a Deployment `<service>-<color>`, the stable endpoint the Service `<service>`,
    whose selector's `version` says who is live.

    The manifests of k8s/ make these objects, once; a rollout changes the few fields of
    k8s/rollout/deployment.yaml, the selector and its annotations. Pods are asked through the API
    server, which every runner that may roll out can reach.

    Args:
        cluster: see Connection.
    """

    kind = "kubernetes"

    def __init__(
        self, service: str, namespace: str, cluster: str = "", timings: Timings | None = None
    ) -> None:
        self.service, self.namespace = service, namespace
        self.timings = timings or Timings(ready=3600.0, poll=0.5, drain=300.0, switched=30.0)
        self.connection = Connection(cluster)
        self.store = Store(self.connection, service, namespace)
        self.apps = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.core = f"/api/v1/namespaces/{namespace}"
        self.autoscalers = Autoscalers(self.connection, service, namespace)

    # The truth.

    def check(self) -> None:
        self.store.read()
        for color in OTHER:
            name = preview(str(self._deployment(color)["metadata"]["name"]))
            if self.connection.find(f"{self.core}/services/{name}") is None:
                raise InputError(
                    "service",
                    self.service,
                    f"there is no Service {name} in namespace {self.namespace}; `kubectl apply -k"
                    " k8s/overlays/cpu` makes it",
                )

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
        """Does the bucket still hold the artifact, by its record? The init container verifies every
        byte. A bucket that is away stops nothing here.
        """
        from greenlight.models.bucket import ArtifactSource

        uri = release.model_uri
        if not uri.startswith("gs://"):
            raise InputError(
                "model_uri",
                uri,
                "pods load models from a bucket; set history to a gs:// prefix, and models of local"
                " runs are uploaded beside it",
            )
        again = "Run `greenlight run --force` to make it again."
        try:
            found = ArtifactSource.at(uri)
        except IntegrityError:
            raise
        except GreenlightError as error:
            log.warning("%s was not looked at: %s", uri, error)
            return
        if found is None:
            raise IntegrityError(
                f"the files of release {release.release_id} are gone: {uri} holds no record.json."
                f" {again}"
            )
        if found.record.digest != release.digest:
            raise IntegrityError(
                f"the files of release {release.release_id} have changed: {uri} holds digest"
                f" {found.record.digest[:12]}, not {release.digest[:12]}. {again}"
            )

    def start(self, release: Release) -> Release:
        name, color = owner(release.color, self.service), release.color
        now = self._deployment(color)
        mine = now["metadata"].get("annotations", {}).get(f"{PREFIX}/release") == release.release_id
        if not mine:
            self.stop(color)
        replicas = (
            max(release.replicas, now["spec"].get("replicas") or 0) if mine else release.replicas
        )
        self.connection.apply(
            f"{self.apps}/{name}",
            manifests.deployment(release, name, self._stable_address(), replicas),
        )
        return release

    def wait_ready(self, release: Release) -> Release:
        color = release.color
        wait = PodWait(
            self.connection,
            self.namespace,
            release,
            deployment=lambda: self._deployment(color),
            pods=lambda: self._pods(color),
            behind=lambda: self.behind(preview(owner(color, self.service))),
        )
        ready = wait_for(
            wait.look,
            seconds=self.timings.ready,
            interval=self.timings.poll,
            report=wait.report,
            report_interval=self.timings.progress,
        )
        if ready is None:
            raise wait.failure(self.timings.ready)
        return ready

    def running(self, color: Color) -> list[Instance]:
        return [pod.instance for pod in self._pods(color)]

    def stop(self, color: Color) -> None:
        deployment = self._deployment(color)
        name = owner(color, self.service)
        if deployment["spec"].get("replicas", 1):
            self.connection.merge(f"{self.apps}/{name}/scale", {"spec": {"replicas": 0}})
        left = 0

        def look(elapsed: float) -> bool | None:
            nonlocal left
            left = count_pods(self.connection, self.namespace, color_selector(deployment))
            return None if left else True

        def report(elapsed: float) -> None:
            log.info(
                "%s: waiting for streams in flight, %d pods left",
                color,
                left,
                extra={"figure": f"draining {elapsed:.0f} s"},
            )

        ended = wait_for(
            look,
            seconds=self.timings.drain + POD_END_MARGIN_S,
            interval=self.timings.poll,
            report=report,
            report_interval=self.timings.progress,
        )
        if not ended:
            raise DeployError(
                f"{color}: {left} pods of {name} do not end. Look at `kubectl describe pods`,"
                " then run this again."
            )

    def is_ready(self, instance: Instance) -> bool:
        pod = self.connection.find(f"{self.core}/pods/{instance.name}")
        conditions = (pod or {}).get("status", {}).get("conditions", [])
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in conditions
        )

    def version(self, instance: Instance) -> Served:
        who = f"pod {instance.name}"
        path = f"{self.core}/pods/{instance.name}:{PORT}/proxy/version"
        body, _ = ask_json(self.connection, "GET", path, who, client.SHORT_S, self.timings.poll)
        return client.parse_version(body, who)

    def ask(
        self, instance: Instance, prompt: str, max_length: int, seconds: float | None = None
    ) -> Answer:
        return self._generate(
            f"{self.core}/pods/{instance.name}:{PORT}/proxy/generate",
            prompt,
            max_length,
            seconds,
            f"pod {instance.name}",
        )

    # The stable endpoint.

    @property
    def endpoint(self) -> str:
        return f"http://{self.service}.{self.namespace}.svc"

    def open_endpoint(self) -> str:
        state = self.read()
        if self.store.drifted(state):
            log.warning(
                "Service %s selected neither color that is live: it is put back to %s",
                self.service,
                state.live or "none",
            )
            self.commit(state)
        return self.endpoint

    def close_endpoint(self) -> None:
        """The Service stays; with no pods behind it nobody answers."""

    def endpoint_open(self) -> bool:
        return bool(self.behind())

    def ask_stable(self, prompt: str, max_length: int, seconds: float | None = None) -> Answer:
        """Through the Service, after a look at its endpoints: they must all belong to what is
        live.
        """
        live = self.store.object()["spec"]["selector"].get(COLOR_KEY)
        strangers = (
            sorted(
                name for name in self.behind() if name not in {pod.name for pod in self._pods(live)}
            )
            if live in OTHER
            else []
        )
        if strangers:
            raise DeployError(
                f"Service {self.service} still has {', '.join(strangers)} behind it, not only"
                f" {live}."
            )
        answer = self._generate(
            f"{self.core}/services/{self.service}:http/proxy/generate",
            prompt,
            max_length,
            seconds,
            f"Service {self.service}",
        )
        state = self.read()
        color = next(
            (
                color
                for color in OTHER
                if (held := state.slot(color)) and held.release_id == answer.release_id
            ),
            "",
        )
        return Answer(answer.text, answer.seconds, color, answer.release_id)

    # What a cluster does by itself.

    replaces_instances = True

    def running_of(self, release: Release) -> list[Instance]:
        return [
            pod.instance
            for pod in self._pods(release.color)
            if pod.release_id == release.release_id
        ]

    def is_alive(self, release: Release) -> bool:
        return bool(self.running_of(release))

    def is_healthy(self, release: Release) -> bool:
        pods = [pod for pod in self._pods(release.color) if pod.release_id == release.release_id]
        return len(pods) >= release.replicas and all(pod.ready for pod in pods)

    def scale_down(self, color: Color) -> None:
        self.stop(color)
        self.autoscalers.release(color)

    def scale_like(self, release: Release, live: Release) -> Release:
        """Scale to as many pods as live has now. The caller verifies the new ones."""
        wanted = max(sum(pod.ready for pod in self._pods(live.color)), release.replicas)
        deployment = self._deployment(release.color)
        if (deployment["spec"].get("replicas") or 0) < wanted:
            log.info("%s: scaling to %d pods, as many as %s has", release.color, wanted, live.color)
            self.connection.merge(
                f"{self.apps}/{owner(release.color, self.service)}/scale",
                {"spec": {"replicas": wanted}},
            )
        self.autoscalers.hand_over(release.color, live.color, len(self._pods(live.color)))
        return self.wait_ready(release.model_copy(update={"replicas": wanted})).model_copy(
            update={"replicas": release.replicas}
        )

    def run_job(
        self, kind: str, environment: dict[str, str], key: bytes, seconds: float, pods: int = 1
    ) -> None:
        """Run a Job made from the CronJob `<service>-<kind>`, once for the same `key`. See
        jobs.run_job.
        """
        run_job(
            self.connection,
            self.namespace,
            f"{self.service}-{kind}",
            environment,
            key,
            seconds,
            self.timings.poll,
            pods,
        )

    def _stable_address(self) -> str:
        """Where pods ask who is live: the Service's address, which stays for as long as it does,
        and needs no DNS.
        """
        spec = self.store.object()["spec"]
        address = spec.get("clusterIP")
        return (
            f"http://{address}:{spec['ports'][0]['port']}"
            if address and address != "None"
            else self.endpoint
        )

    def _deployment(self, color: Color) -> Json:
        name = owner(color, self.service)
        found = self.connection.find(f"{self.apps}/{name}")
        if found is None:
            fix = (
                f"there is no Deployment {name} in namespace {self.namespace} of"
                f" {self.connection.name}; `kubectl apply -k k8s/overlays/cpu` makes it"
            )
            raise InputError("service", self.service, fix)
        return found

    def _pods(self, color: Color) -> list[Pod]:
        return pods_of(self.connection, self.namespace, color_selector(self._deployment(color)))

    def behind(self, service: str = "") -> set[str]:
        """Names of the pods behind a Service that get connections; empty: the stable one."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        slices = self.connection.get(
            path, labelSelector=f"kubernetes.io/service-name={service or self.service}"
        )["items"]
        endpoints = [
            one
            for piece in slices
            for one in piece.get("endpoints") or []
            if one.get("conditions", {}).get("ready") is not False
        ]
        return {one["targetRef"]["name"] for one in endpoints if one.get("targetRef")}

    def _generate(
        self, path: str, prompt: str, max_length: int, seconds: float | None, who: str
    ) -> Answer:
        began = time.perf_counter()
        body, headers = ask_json(
            self.connection,
            "POST",
            path,
            who,
            seconds or self.timings.ask,
            self.timings.poll,
            client.generate_request(prompt, max_length),
        )
        return Answer(
            client.parse_text(body, who),
            time.perf_counter() - began,
            release_id=headers.get("x-release-id", ""),
        )
