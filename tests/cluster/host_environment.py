"""The image `localhost/greenlight-serving:test`, made in no time: almost empty, with this machine's
interpreter, environment and checkout mounted into it.

The mounts are read-only and are persistent volumes, because the restricted pod security standard,
which serving keeps to, admits no hostPath in a pod.
"""

import copy
import sys
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.image import write_image

IMAGE = "localhost/greenlight-serving:test"
ROOT = Path(__file__).parents[2]
USER = 10001
PYTHON = Path(sys.prefix).resolve() / "bin/python"


def load_host_image(cluster: Cluster, folder: Path) -> str:
    """Import the image into the node; `folder` holds its archive for a moment. Returns its name."""
    environment = {
        "PATH": f"{PYTHON.parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "HOST": "0.0.0.0",
        "HOME": "/tmp",
    }
    config = {
        "Entrypoint": [str(PYTHON), "-m", "greenlight.serving"],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": str(USER),
        "WorkingDir": "/tmp",
    }
    archive = folder / "greenlight-serving.tar"
    write_image(
        archive,
        IMAGE,
        {"/etc/passwd": f"greenlight:x:{USER}:{USER}::/tmp:/sbin/nologin\n".encode()},
        ["/tmp"],
        config,
    )
    cluster.load_image(archive)
    archive.unlink()
    return IMAGE


def mounted_paths() -> list[Path]:
    """What a Python of this environment reads, each at its own path; none lies below another."""
    system = [path for path in map(Path, ("/usr", "/lib", "/lib64")) if path.exists()]
    wanted = {
        *system,
        Path(sys.base_prefix),
        Path(sys.base_prefix).resolve(),
        Path(sys.prefix).resolve(),
        ROOT,
    }
    return sorted(path for path in wanted if not any(other in wanted for other in path.parents))


def host_volumes(cluster: Cluster, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """Make the persistent volumes and claims of a namespace. Returns `volumes` and `volumeMounts`,
    for `with_host_environment`.
    """
    names = {f"host-{index}": path for index, path in enumerate(mounted_paths())}
    with cluster.inside():
        core = cluster.core()
        for name, path in names.items():
            size, modes = {"storage": "1Gi"}, ["ReadOnlyMany"]
            core.create_persistent_volume(
                {
                    "metadata": {"name": f"{namespace}-{name}", "labels": {"namespace": namespace}},
                    "spec": {
                        "capacity": size,
                        "accessModes": modes,
                        "storageClassName": "",
                        "hostPath": {"path": str(path), "type": "Directory"},
                        "claimRef": {"namespace": namespace, "name": name},
                    },
                }
            )
            core.create_namespaced_persistent_volume_claim(
                namespace,
                {
                    "metadata": {"name": name},
                    "spec": {
                        "accessModes": modes,
                        "storageClassName": "",
                        "volumeName": f"{namespace}-{name}",
                        "resources": {"requests": size},
                    },
                },
            )
        wait_until(
            lambda: all(
                claim.status.phase == "Bound"
                for claim in core.list_namespaced_persistent_volume_claim(namespace).items
            ),
            "the volumes of the host",
        )
    return {
        "volumes": [
            {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
            for name in names
        ],
        "volumeMounts": [
            {"name": name, "mountPath": str(path), "readOnly": True} for name, path in names.items()
        ],
    }


def with_host_environment(
    manifest: dict[str, Any], volumes: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """A copy of a Deployment, Job or Pod in which every container has the mounts of `host_volumes`.
    Its images stay as they are.
    """
    changed = copy.deepcopy(manifest)
    pod = changed["spec"]["template"]["spec"] if "template" in changed["spec"] else changed["spec"]
    pod["volumes"] = [*pod.get("volumes", []), *volumes["volumes"]]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        container["volumeMounts"] = [*container.get("volumeMounts", []), *volumes["volumeMounts"]]
    return changed
