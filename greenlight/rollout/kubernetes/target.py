"""The Kubernetes target. All that it knows it asks the cluster: nothing is kept between two calls
but the connection.
"""

import json
import logging
import time
from contextlib import AbstractContextManager
from typing import Any

from greenlight.core.errors import DeployError, GreenlightError, InputError, IntegrityError
from greenlight.core.records import Color, Instance, Release
from greenlight.rollout import server_client as client
from greenlight.rollout.kubernetes import manifests
from greenlight.rollout.kubernetes.connection import Connection, Json
from greenlight.rollout.kubernetes.jobs import run_job
from greenlight.rollout.kubernetes.pods import (
    PORT,
    Pod,
    color_selector,
    count_pods,
    last_lines,
    owner,
    pods_of,
    preview,
)
from greenlight.rollout.kubernetes.store import COLOR_KEY, PREFIX, Store
from greenlight.rollout.state import OTHER, Action, Holder, ServiceState
from greenlight.rollout.target import Answer, Served, Target, Timings

log = logging.getLogger("greenlight.rollout")

# an autoscaler may have asked for a pod that no node has room for: as many as the release wants are
# enough then
STRAGGLER_S = 60.0
MIN_REPLICAS = f"{PREFIX}/min-replicas"
"""Of an autoscaler that holds a warm color at its size: the bound that it had before."""


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
        name = owner(release.color, self.service)
        began = said = time.monotonic()
        while True:
            deployment = self._deployment(release.color)
            pods = [
                pod for pod in self._pods(release.color) if pod.release_id == release.release_id
            ]
            ready = [pod for pod in pods if pod.ready]
            seen = (
                deployment.get("status", {}).get("observedGeneration", 0)
                >= deployment["metadata"]["generation"]
            )
            wanted = deployment["spec"]["replicas"]
            # somebody applied the manifests just now
            if deployment["spec"].get("paused") and not pods:
                self.connection.merge(f"{self.apps}/{name}", {"spec": {"paused": False}})
            elapsed = time.monotonic() - began
            enough = len(ready) >= release.replicas and (
                len(ready) == len(pods) or elapsed > STRAGGLER_S
            )
            if seen and enough and {pod.name for pod in ready} <= self.behind(preview(name)):
                # from here on no edit by hand restarts what is measured, and what serves
                if not deployment["spec"].get("paused"):
                    self.connection.merge(f"{self.apps}/{name}", {"spec": {"paused": True}})
                return release.model_copy(update={"instances": [pod.instance for pod in ready]})
            trouble = _worst(pods)
            reason = f"{trouble.name}: {trouble.trouble}" if trouble else _refusal(deployment)
            if (trouble and trouble.hopeless) or elapsed > self.timings.ready:
                lines = (
                    last_lines(
                        self.connection, self.namespace, trouble.name, trouble.crashed or "server"
                    )
                    if trouble
                    else ""
                )
                raise DeployError(
                    f"{release.color}: release {release.release_id} is not ready after"
                    f" {elapsed:.0f} s ({len(ready)} of {wanted} pods of {name})."
                    f" {reason or 'Its pods are still loading the model.'}{lines}"
                )
            if began + elapsed - said >= self.timings.progress:
                said = began + elapsed
                figure = f"{release.color} {len(ready)}/{wanted} ready, {elapsed:.0f} s"
                log.info(
                    "%s: %d of %d pods ready after %.0f s. %s",
                    release.color,
                    len(ready),
                    wanted,
                    elapsed,
                    reason,
                    extra={"figure": figure},
                )
            time.sleep(self.timings.poll)

    def running(self, color: Color) -> list[Instance]:
        return [pod.instance for pod in self._pods(color)]

    def stop(self, color: Color) -> None:
        deployment = self._deployment(color)
        name = owner(color, self.service)
        if deployment["spec"].get("replicas", 1):
            self.connection.merge(f"{self.apps}/{name}/scale", {"spec": {"replicas": 0}})
        began = said = time.monotonic()
        while left := count_pods(self.connection, self.namespace, color_selector(deployment)):
            elapsed = time.monotonic() - began
            if elapsed > self.timings.drain + 120:
                raise DeployError(
                    f"{color}: {left} pods of {name} do not end. Look at `kubectl describe pods`,"
                    " then run this again."
                )
            if began + elapsed - said >= self.timings.progress:
                said = began + elapsed
                log.info(
                    "%s: waiting for streams in flight, %d pods left",
                    color,
                    left,
                    extra={"figure": f"draining {elapsed:.0f} s"},
                )
            time.sleep(self.timings.poll)

    def is_ready(self, instance: Instance) -> bool:
        pod = self.connection.find(f"{self.core}/pods/{instance.name}")
        conditions = (pod or {}).get("status", {}).get("conditions", [])
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in conditions
        )

    def version(self, instance: Instance) -> Served:
        who = f"pod {instance.name}"
        return client.parse_version(
            self._json(
                "GET", f"{self.core}/pods/{instance.name}:{PORT}/proxy/version", client.SHORT_S, who
            )[0],
            who,
        )

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
        found = self.connection.find(self._autoscaler(color))
        if found and (low := found["metadata"].get("annotations", {}).get(MIN_REPLICAS)):
            self.connection.merge(
                self._autoscaler(color),
                {
                    "metadata": {"annotations": {MIN_REPLICAS: None}},
                    "spec": {"minReplicas": int(low)},
                },
            )

    def scale_like(self, release: Release, live: Release) -> Release:
        """As many pods as live has now. Those that are new are proven by the caller."""
        wanted = max(sum(pod.ready for pod in self._pods(live.color)), release.replicas)
        deployment = self._deployment(release.color)
        if (deployment["spec"].get("replicas") or 0) < wanted:
            log.info("%s: scaling to %d pods, as many as %s has", release.color, wanted, live.color)
            self.connection.merge(
                f"{self.apps}/{owner(release.color, self.service)}/scale",
                {"spec": {"replicas": wanted}},
            )
        self._hand_over(release.color, live.color)
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

    def _hand_over(self, color: Color, live: Color) -> None:
        """The bounds of live's autoscaler become the next live's. Live's own holds it at its size
        from now on: it must not shrink while warm.
        """
        theirs, ours = (self.connection.find(self._autoscaler(one)) for one in (live, color))
        if not theirs or not ours:
            return
        low = int(
            theirs["metadata"].get("annotations", {}).get(MIN_REPLICAS)
            or theirs["spec"].get("minReplicas", 1)
        )
        held = max(low, min(len(self._pods(live)), theirs["spec"]["maxReplicas"]))
        for one, found, least, kept in ((color, ours, low, None), (live, theirs, held, str(low))):
            spec = {"minReplicas": least, "maxReplicas": theirs["spec"]["maxReplicas"]}
            if any(found["spec"].get(key) != value for key, value in spec.items()):
                self.connection.merge(
                    self._autoscaler(one),
                    {"metadata": {"annotations": {MIN_REPLICAS: kept}}, "spec": spec},
                )

    def _autoscaler(self, color: Color) -> str:
        return f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers/{owner(color, self.service)}"

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
        body, headers = self._json(
            "POST",
            path,
            seconds or self.timings.ask,
            who,
            client.generate_request(prompt, max_length),
        )
        return Answer(
            client.parse_text(body, who),
            time.perf_counter() - began,
            release_id=headers.get("x-release-id", ""),
        )

    def _json(
        self, method: str, path: str, seconds: float, who: str, wish: Any = None
    ) -> tuple[Any, dict[str, str]]:
        """One question through the API server. Only an API server that is away is asked again; what
        a pod answers is the answer.
        """
        began = time.monotonic()
        while True:
            status, text, headers = self.connection.once(
                method, path, wish, "application/json", seconds=seconds
            )
            if status or time.monotonic() - began > seconds:
                break
            time.sleep(self.timings.poll)
        if status != 200:
            raise DeployError(
                f"{who} answered {status or 'nothing'}: {text[:200].strip()}. Read the log of the"
                " server."
            )
        try:
            return json.loads(text), headers
        except ValueError:
            raise DeployError(
                f"{who} did not answer JSON: {text[:200]}. Something else listens there."
            ) from None


def _worst(pods: list[Pod]) -> Pod | None:
    """The pod whose trouble says most."""
    troubled = [pod for pod in pods if pod.trouble]
    return min(troubled, key=lambda pod: not pod.hopeless) if troubled else None


def _refusal(deployment: Json) -> str:
    """Why the cluster makes no pods, such as a quota or an admission policy; empty when it does."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"The cluster refuses its pods: {condition.get('message', '')}"
    return ""
