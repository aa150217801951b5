"""Manifests of k8s/rollout/ as parsed objects, filled in. Text is never substituted."""

from functools import cache
from importlib.resources import files
from typing import Any

from greenlight.core.records import Release
from greenlight.rollout.kubernetes.connection import Json
from greenlight.rollout.kubernetes.store import PREFIX


def load(name: str) -> Json:
    """A manifest of k8s/rollout/, parsed anew, so that the caller may change it."""
    import yaml

    parsed: Json = yaml.safe_load(_text(name))
    return parsed


@cache
def _text(name: str) -> str:
    return files("greenlight.k8s").joinpath("rollout", name).read_text()


def deployment(release: Release, name: str, stable_url: str, replicas: int) -> Json:
    """The fields of a color's Deployment that make it serve a release."""
    body = load("deployment.yaml")
    marks = {f"{PREFIX}/release": release.release_id, f"{PREFIX}/digest": release.digest}
    body["metadata"] |= {
        "name": name,
        "annotations": marks
        | {
            f"{PREFIX}/source": f"{release.source}@{release.commit}",
            f"{PREFIX}/run": release.run_id,
        },
    }
    body["spec"]["replicas"] = replicas
    template = body["spec"]["template"]
    template["metadata"]["annotations"] = marks
    (fetch,), (server,) = template["spec"]["initContainers"], template["spec"]["containers"]
    _fill(fetch, MODEL_URI=release.model_uri, MODEL_DIGEST=release.digest)
    _fill(
        server,
        RELEASE_ID=release.release_id,
        MODEL_DIGEST=release.digest,
        ENGINE=release.engine,
        STABLE_URL=stable_url,
    )
    return body


def _fill(container: dict[str, Any], **values: str) -> None:
    """Set environment variables that the manifest names. KeyError for one that it does not."""
    entries = {entry["name"]: entry for entry in container["env"]}
    for name, value in values.items():
        entries[name]["value"] = value
