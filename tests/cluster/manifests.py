"""Small objects for the tests of the harness: pods that keep to the restricted pod security
standard.
"""

from typing import Any


def pod(
    name: str,
    image: str,
    command: list[str] | None = None,
    env: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod labelled app=NAME, with /tmp to write to. `spec` adds to its spec."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if command:
        container["command"] = command
    security = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "securityContext": security,
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            **spec,
        },
    }


def deployment(pod_manifest: dict[str, Any], ready_path: str, port: int) -> dict[str, Any]:
    """A Deployment of one such pod, ready when it answers."""
    name = pod_manifest["metadata"]["name"]
    probe = {
        "httpGet": {"path": ready_path, "port": port},
        "periodSeconds": 1,
        "failureThreshold": 120,
    }
    pod_manifest["spec"]["containers"][0] |= {
        "readinessProbe": probe,
        "ports": [{"containerPort": port}],
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_manifest,
        },
    }


def service(name: str, port: int) -> dict[str, Any]:
    """A Service NAME of the pods app=NAME: port 80 to their `port`."""
    return {
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": port}],
        },
    }
