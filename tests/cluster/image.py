"""An OCI image archive without a container engine: a few files and empty folders in one layer. The
same input gives the same digest.

Standard library only, because up.sh runs it before any environment is needed: `python3 image.py
OUT.tar localhost/app:1 --file ./app:/app --entrypoint /app`
"""

import argparse
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MEDIA = "application/vnd.oci.image."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(
    out: Path,
    name: str,
    files: Mapping[str, bytes],
    folders: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write the archive `out` with the image `name`, a whole reference such as localhost/app:1.

    Args:
        files: content by path in the image; all are executable.
        folders: empty folders; `/tmp` may be written by every user.
        config: Entrypoint, Env, User and the like, as the OCI image specification has them.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in sorted(
            {
                str(parent)
                for path in [*files, *(f"{folder}/x" for folder in folders)]
                for parent in Path(path).parents
            }
            - {"/", "."}
        ):
            entry = tarfile.TarInfo(folder.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "/tmp" else 0o755
            tar.addfile(entry)
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path.strip("/"))
            entry.mode, entry.size = 0o755, len(content)
            tar.addfile(entry, io.BytesIO(content))

    blobs: dict[str, bytes] = {}

    def blob(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": MEDIA + kind, "digest": f"sha256:{digest}", "size": len(content)}

    def document(value: object) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    machine = {
        "os": "linux",
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
    }
    layers = [blob(layer.getvalue(), "layer.v1.tar")]
    # the layer is not compressed, so its digest is its diff id
    rootfs = {
        "type": "layers",
        "diff_ids": [layers[0]["digest"]],
    }
    configuration = blob(
        document({**machine, "config": config or {}, "rootfs": rootfs}), "config.v1+json"
    )
    manifest = blob(
        document(
            {
                "schemaVersion": 2,
                "mediaType": MEDIA + "manifest.v1+json",
                "config": configuration,
                "layers": layers,
            }
        ),
        "manifest.v1+json",
    )
    # containerd names the image by the first annotation, others by the second.
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = document(
        {
            "schemaVersion": 2,
            "manifests": [{**manifest, "platform": machine, "annotations": annotations}],
        }
    )

    with tarfile.open(out, "w") as tar:
        for path, content in {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": index,
            **blobs,
        }.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("name", help="whole reference, e.g. localhost/app:1")
    parser.add_argument("--file", action="append", default=[], metavar="SOURCE:PATH")
    parser.add_argument("--entrypoint", nargs="+", default=[])
    given = parser.parse_args()
    files = {
        path: Path(source).read_bytes() for source, path in (pair.split(":") for pair in given.file)
    }
    write_image(given.out, given.name, files, config={"Entrypoint": given.entrypoint})


if __name__ == "__main__":
    main()
