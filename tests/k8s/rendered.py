"""The manifests, rendered by kubectl, and what tests ask of the objects."""

import functools
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(str(files("greenlight.k8s")))
# GKE in November 2026: Extended from 1.31, Rapid up to 1.37
MINORS = [
    "1.31",
    "1.32",
    "1.33",
    "1.34",
    "1.35",
    "1.36",
    "1.37",
]
COMPONENTS = ["gcs-fuse", "gateway", "load-balancer", "queue-depth-hpa"]
RENDERED = [
    "base",
    "overlays/cpu",
    "overlays/gpu",
    "overlays/dev",
    *(f"overlays/gpu + {name}" for name in COMPONENTS),
]
# Kinds that are no part of Kubernetes: their required fields, by hand.
EXTENSIONS = {
    "monitoring.googleapis.com/v1/PodMonitoring": [
        "selector.matchLabels",
        "endpoints.0.port",
        "endpoints.0.interval",
    ],
    "gateway.networking.k8s.io/v1/Gateway": [
        "gatewayClassName",
        "listeners.0.name",
        "listeners.0.port",
        "listeners.0.protocol",
    ],
    "gateway.networking.k8s.io/v1/HTTPRoute": [
        "parentRefs.0.name",
        "hostnames.0",
        "rules.0.matches.0.path.value",
        "rules.0.backendRefs.0.port",
    ],
    "networking.gke.io/v1/GCPBackendPolicy": ["targetRef.name", "default.timeoutSec"],
    "networking.gke.io/v1/HealthCheckPolicy": [
        "default.config.httpHealthCheck.requestPath",
        "default.config.httpHealthCheck.portSpecification",
    ],
}
COLORS = ["blue", "green"]


@functools.cache
def render(name: str) -> list[Object]:
    """What kubectl would apply for `base`, an overlay, or an overlay with a component."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: overlays cannot be rendered")
    folder, _, component = name.partition(" + ")
    if not component:
        return kustomize(ROOT / folder)
    with tempfile.TemporaryDirectory() as scratch:
        # kustomize takes relative paths only
        above = os.path.relpath(ROOT, os.path.realpath(scratch))
        document = {
            "resources": [f"{above}/{folder}"],
            "components": [f"{above}/components/{component}"],
        }
        Path(scratch, "kustomization.yaml").write_text(yaml.safe_dump(document))
        return kustomize(Path(scratch))


def kustomize(folder: Path) -> list[Object]:
    result = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0 and not result.stderr, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def load(name: str) -> list[Object]:
    return list(yaml.safe_load_all((ROOT / "base" / name).read_text()))


def only(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [
        item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)
    ]
    return found


def deployments(objects: list[Object]) -> list[Object]:
    return [only(objects, "Deployment", f"llm-inference-{color}") for color in COLORS]


def templates(objects: list[Object]) -> dict[str, Object]:
    """Every pod that would be made, by the name of what makes it."""
    found = {}
    for item in objects:
        if item["kind"] == "Deployment":
            found[item["metadata"]["name"]] = item["spec"]["template"]
        elif item["kind"] == "CronJob":
            found[item["metadata"]["name"]] = item["spec"]["jobTemplate"]["spec"]["template"]
    return found


def containers(template: Object) -> list[Object]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def kind_of(item: Object) -> str:
    return f"{item['apiVersion']}/{item['kind']}"


def field(spec: Any, path: str) -> Any:
    for step in path.split("."):
        spec = spec[int(step)] if step.isdigit() else spec[step]
    return spec
