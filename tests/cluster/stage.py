"""What the tests of a rollout on a cluster need: the shipped manifests, applied as a person would;
models in a bucket; a target; runs that are killed.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.core.records import Deployment, Model
from greenlight.models.integrity import content_digest, describe_files
from greenlight.rollout import bluegreen
from greenlight.rollout.kubernetes.connection import Connection
from greenlight.rollout.kubernetes.target import KubernetesTarget
from greenlight.rollout.releases import Source
from greenlight.rollout.target import Timings
from tests.cluster.cluster import Cluster
from tests.cluster.host_environment import with_host_environment

SERVICE = "llm-inference"
TIMINGS = Timings(ready=240, progress=2, poll=0.2, drain=60, ask=30, switched=20)
PROMPTS = ["The import statement", "What is await?"]
SETTINGS = {"MAX_RUNNING": "32", "GRACE_SECONDS": "40", "NUM_THREADS": "1", "LOG_LEVEL": "info"}
# the namespace is the test's own, and GKE's kinds are unknown here
NOT_HERE = (
    "Namespace",
    "PodMonitoring",
)


class Stage:
    """A namespace with the manifests of k8s/base, and a bucket with models. Use it inside the
    cluster's network.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        bucket: Any,
        image: str,
        volumes: dict[str, list[dict[str, Any]]],
    ) -> None:
        self.cluster, self.namespace, self.bucket, self.image, self.volumes = (
            cluster,
            namespace,
            bucket,
            image,
            volumes,
        )
        self.admin = Connection()
        # connects, as the administrator that KUBECONFIG names now
        self.admin.find(f"/api/v1/namespaces/{namespace}")
        self.kubeconfig = Path(tempfile.mkdtemp(prefix="greenlight-account-")) / "kubeconfig"
        self.target = KubernetesTarget(SERVICE, namespace, "", TIMINGS)
        self.history = f"gs://{bucket.name}/history"

    def install(self) -> None:
        """Apply k8s/base as a person would (`kubectl apply`), changed as an overlay of this small
        node would change it.
        """
        if not shutil.which("kubectl"):
            pytest.skip(
                "kubectl is not installed: the manifests cannot be applied as a person would"
            )
        base, fitted = files("greenlight.k8s").joinpath("base"), []
        for name in yaml.safe_load(base.joinpath("kustomization.yaml").read_text())["resources"]:
            for item in yaml.safe_load_all(base.joinpath(name).read_text()):
                if item["kind"] not in NOT_HERE:
                    fitted.append(self._fitted(item))
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": fitted})
        own = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        done = subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            input=document,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=own,
        )
        assert done.returncode == 0, done.stderr
        self.become_the_pipeline()

    def become_the_pipeline(self) -> None:
        """From here on, the target and every command act as the pipeline's own service account,
        with the rights that are shipped.
        """
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/greenlight-pipeline/token"
        token = self.admin.create(path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["users"] = [
            {"name": user["name"], "user": {"token": token}} for user in config["users"]
        ]
        self.kubeconfig.write_text(yaml.safe_dump(config))
        # until the test leaves the cluster's network, which puts back what was there
        os.environ["KUBECONFIG"] = str(self.kubeconfig)

    def _fitted(self, item: dict[str, Any]) -> dict[str, Any]:
        item = copy.deepcopy(item)
        item["metadata"]["namespace"] = self.namespace
        if item["kind"] == "ConfigMap":
            item["data"] |= SETTINGS | {
                "STORAGE_EMULATOR_HOST": os.environ["STORAGE_EMULATOR_HOST"]
            }
        if item["kind"] == "RoleBinding":
            item["subjects"][0]["namespace"] = self.namespace
        if item["kind"] == "Deployment":
            item = with_host_environment(item, self.volumes)
            self._small(item["spec"]["template"]["spec"])
        if item["kind"] == "CronJob":
            job = item["spec"]["jobTemplate"]
            job |= with_host_environment(job, self.volumes)
            self._small(job["spec"]["template"]["spec"])
            if item["metadata"]["name"].endswith("recover"):
                item["spec"]["suspend"] = True  # tests call it when they mean to
                command = job["spec"]["template"]["spec"]["containers"][0]["command"]
                command[:1] = ["python", "-m", "greenlight.cli.main"]
                command[-1] = self.namespace
        return item

    def _small(self, pod: dict[str, Any]) -> None:
        pod["terminationGracePeriodSeconds"] = min(45, pod.get("terminationGracePeriodSeconds", 45))
        pod.pop("topologySpreadConstraints", None)
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            container |= {"image": self.image, "imagePullPolicy": "Never"}
            container["resources"] = {"requests": {"cpu": "10m", "memory": "64Mi"}}
            container["env"].append(
                {"name": "STORAGE_EMULATOR_HOST", "value": os.environ["STORAGE_EMULATOR_HOST"]}
            )
            for probe in ("startupProbe", "readinessProbe"):
                if probe in container:
                    container[probe] |= {"periodSeconds": 1}
            if "lifecycle" in container:
                container["lifecycle"]["preStop"]["sleep"]["seconds"] = 3

    def artifact(self, model: Path, name: str, role: str = "candidate", bits: int = 8) -> str:
        """A Model artifact in the bucket, with the files of a model folder and one more, so that
        each name has a digest of its own.
        """
        extra = self.bucket.blob(f"models/{name}/model/NAME.txt")
        extra.upload_from_string(name)
        for path in sorted(model.iterdir()):
            if path.is_file():
                self.bucket.blob(f"models/{name}/model/{path.name}").upload_from_filename(str(path))
        entries = describe_files(model)
        entries |= describe_files(_folder_with(name))
        record = Model(
            role=role,
            source="builtin:tiny",
            commit="c0ffee",
            format="openvino",
            method="none" if role == "baseline" else "optimum",
            bits=bits,  # type: ignore[arg-type]
            digest=content_digest(entries),
            files=entries,
            bytes=sum(entry.size for entry in entries.values()),
        )
        self.bucket.blob(f"models/{name}/record.json").upload_from_string(record.model_dump_json())
        return f"gs://{self.bucket.name}/models/{name}"

    def deploy(
        self, candidate: str, baseline: str, run_id: str = "run-1", replicas: int = 1
    ) -> Deployment:
        return bluegreen.deploy_green(
            self.target,
            candidate=Source(candidate, candidate),
            baseline=Source(baseline, baseline),
            run_id=run_id,
            engine="openvino",
            replicas=replicas,
            fingerprint="f1",
            prompts=PROMPTS,
        )

    def command(self, action: str, *arguments: str, point: str = "") -> list[str]:
        """The command line of an action in a process of its own, which may be killed at a named
        point.
        """
        return [
            sys.executable,
            "-m",
            "tests.cluster.act",
            self.namespace,
            point or "-",
            action,
            *arguments,
        ]

    def killed(self, point: str, action: str, *arguments: str) -> None:
        done = subprocess.run(
            self.command(action, *arguments, point=point),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == -9, (
            f"not killed at {point}: {done.returncode} {done.stdout} {done.stderr[-2000:]}"
        )

    def get(self, path: str) -> dict[str, Any]:
        return self.admin.get(f"/{path}".replace("{ns}", f"namespaces/{self.namespace}"))


def _folder_with(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="model-name-"))
    (folder / "NAME.txt").write_text(name)
    return folder
