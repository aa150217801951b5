"""The image of Dockerfile.serving, built for real, in pods made from the shipped manifests. Other
tests here mount this checkout into an empty one.
"""

import subprocess
from pathlib import Path
from typing import Any

from greenlight.rollout import by_hand
from greenlight.rollout.releases import Source
from tests.cluster.cluster import Cluster
from tests.cluster.stage import PROMPTS, Stage
from tests.serving.conftest import openvino_model  # noqa: F401
from tests.serving.test_image import IMAGE, Container, container  # noqa: F401

BUILT = "localhost/greenlight-serving:built"


def test_it_fetches_and_serves(
    container: Container,
    inside: Cluster,
    namespace: str,
    bucket: Any,
    openvino_model: Path,
    tmp_path: Path,
) -> None:
    archive = tmp_path / "image.tar"
    subprocess.run(
        ["buildah", "push", "--quiet", IMAGE, f"docker-archive:{archive}:{BUILT}"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    inside.load_image(archive)
    archive.unlink()
    stage = Stage(inside, namespace, bucket, BUILT, {"volumes": [], "volumeMounts": []})
    stage.install()
    uri = stage.artifact(openvino_model, "one")
    release = by_hand.deploy(
        stage.target, Source(uri, uri), run_id="r", engine="auto", replicas=1, prompts=PROMPTS
    )
    assert (release.engine, stage.target.ask_stable("Hello", 4).color) == ("openvino", "blue")
