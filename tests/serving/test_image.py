"""Dockerfile.serving: clean by hadolint, enough to serve without torch, and really built where
buildah and a base image are at hand.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.hub_server import HubServer
from tests.serving.server_process import ROOT, TINY, Server

BASE = "localhost/stand-in-python:bookworm"
# of this checkout: images are the machine's, and another checkout may be tested beside it
TAG = f"test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
IMAGE = f"localhost/greenlight-serving:{TAG}"
LIMIT_MB = 900
WITHOUT_BYTECODE = """
import os, sys
import greenlight.serving.server, greenlight.serving.admission, greenlight.serving.engine_worker
import greenlight.models.hub, google.cloud.storage
cached = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print([name for name, path in cached.items() if path and not os.path.exists(path)])
"""
# the image's folders of our code, and where they lie in it
COPIED = re.compile(r"^COPY (\S+) /(app/\S+)$", re.M)
GREEDY = {"prompt": "The import statement", "max_length": 16, "temperature": 0}


def output(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def megabytes(folder: Path) -> float:
    return (
        sum(
            path.lstat().st_size
            for path in folder.rglob("*")
            if path.is_symlink() or path.is_file()
        )
        / 1e6
    )


@pytest.mark.parametrize("dockerfile", ["Dockerfile.components", "Dockerfile.serving"])
def test_hadolint(dockerfile: str) -> None:
    assert output(Path(sys.executable).with_name("hadolint"), ROOT / dockerfile) == ""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cpu image holds: bin/python with its requirements and no other, and its folders of
    our code in app/.
    """
    folder = tmp_path_factory.mktemp("environment")
    requirements = [
        f"--requirement={ROOT}/requirements-{name}.txt" for name in ("serving", "openvino")
    ]
    install = [
        "install",
        "--compile-bytecode",
        f"--python={folder}/bin/python",
        f"--constraint={ROOT}/greenlight/pins/main.txt",
    ]
    output(
        sys.executable,
        "-m",
        "uv",
        "venv",
        "--quiet",
        "--allow-existing",
        "--python",
        sys.executable,
        folder,
    )
    output(sys.executable, "-m", "uv", "pip", *install, *requirements)
    for source, target in COPIED.findall((ROOT / "Dockerfile.serving").read_text()):
        target = folder / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
    return folder


def test_the_requirements_of_the_cpu_image_serve(environment: Path, openvino_model: Path) -> None:
    server = Server(
        environment / "bin/python",
        model_id=openvino_model,
        pythonsafepath=1,
        pythonpath=environment / "app",
    ).wait_ready()
    try:
        assert server.post(GREEDY).json["usage"]["completion_tokens"] == 16
        assert server.get("/version").json["engine"] == "openvino"
    finally:
        server.stop()


def test_the_requirements_of_the_cpu_image_fetch(environment: Path, tmp_path: Path) -> None:
    """What an init container does, from a hub; and what a bucket needs can be imported."""
    with HubServer({path.name: path.read_bytes() for path in TINY.iterdir()}) as hub:
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "MODEL_URI": "org/name",
            "PYTHONPATH": str(environment / "app"),
        }
        output(
            environment / "bin/python",
            "-m",
            "greenlight.serving.fetch",
            tmp_path / "model",
            cwd=tmp_path,
            env=os.environ | variables,
        )
    assert (tmp_path / "model/model/model.safetensors").stat().st_size == (
        TINY / "model.safetensors"
    ).stat().st_size
    output(
        environment / "bin/python", "-c", "import google.cloud.storage, google_crc32c", cwd=tmp_path
    )


def test_the_requirements_of_the_cpu_image_are_small_and_without_torch(environment: Path) -> None:
    listed = output(
        sys.executable,
        "-m",
        "uv",
        "pip",
        "list",
        "--quiet",
        "--format",
        "freeze",
        "--python",
        environment / "bin/python",
    )
    names = {line.partition("==")[0] for line in listed.splitlines()}
    assert "openvino-genai" in names and not names & {
        "torch",
        "transformers",
        "optimum-intel",
        "kfp",
        "pandas",
    }
    assert megabytes(environment) < 500


class Container:
    """The built cpu image, and a way to run it as Docker would with `--read-only --tmpfs /tmp`: as
    process 1, as its user, without capabilities.
    """

    def __init__(self, scratch: Path) -> None:
        self.name = output("buildah", "from", "--pull-never", IMAGE)
        self.root = Path(output("buildah", "mount", self.name))
        self.config = json.loads(output("buildah", "inspect", self.name))["Docker"]["config"]
        self.environment = dict(variable.split("=", 1) for variable in self.config["Env"])
        self.enter = scratch / "enter"

    def start(self, model: Path) -> Server:
        mounts_and_server = f"""
            set -e
            cd {shlex.quote(str(self.root))}
            mount --bind . . && cd "$PWD" && mount -o remount,bind,ro .
            mount -t tmpfs tmpfs tmp
            mount -t proc proc proc
            mount -t sysfs -o ro sysfs sys
            mount --rbind /dev dev
            mount --bind {shlex.quote(str(model))} mnt
            exec chroot --userspec={self.config["User"]} . python "$@"
        """
        self.enter.write_text(
            "#!/bin/sh\nexec unshare --mount --pid --fork --kill-child sh -c"
            f' {shlex.quote(mounts_and_server)} - "$@"\n'
        )
        self.enter.chmod(0o755)
        settings: dict[str, object] = {
            name.lower(): value for name, value in self.environment.items()
        }
        return Server(self.enter, **settings | {"model_id": "/mnt", "port": 0})


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("no image is built: that needs root and buildah")
    if subprocess.run(
        ["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False
    ).returncode:
        pytest.skip(
            f"no image is built: there is no {BASE} (tests/serving/stand_in_base.sh makes it)"
        )
    offline = "--isolation chroot --network host --pull-never --build-arg PYTHON_IMAGE=" + BASE
    command = (
        "buildah build --layers --format docker --file Dockerfile.serving --target cpu --tag"
        f" {IMAGE} {offline} ."
    )
    output(*command.split(), cwd=ROOT)
    container = Container(tmp_path_factory.mktemp("container"))
    yield container
    output("buildah", "rm", container.name)


def test_the_image_is_described(container: Container) -> None:
    config = container.config
    assert (
        config["User"] == "10001:10001"
        and config["Entrypoint"] == ["python", "-m", "greenlight.serving"]
        and not config["Cmd"]
    )
    assert config["Labels"]["org.opencontainers.image.title"] == "greenlight-serving"


def test_the_image_holds_what_it_needs_and_no_more(container: Container) -> None:
    assert megabytes(container.root) < LIMIT_MB
    found = {
        path.name
        for folder in ("bin", "usr/bin", "usr/local/bin", "opt/greenlight/bin")
        for path in (container.root / folder).iterdir()
    }
    assert not found & {"cc", "gcc", "g++", "clang", "make", "ld", "uv"}
    assert not (container.root / "root/.cache").exists() and not list(
        (container.root / "tmp").iterdir()
    )
    packages = next((container.root / "opt/greenlight/lib").glob("python3*/site-packages"))
    assert (
        (packages / "openvino_genai").is_dir()
        and not (packages / "torch").exists()
        and not (packages / "pip").exists()
    )
    assert sorted(path.name for path in (container.root / "app").iterdir()) == ["greenlight"]
    assert (container.root / "models").stat().st_uid == 10001, (
        "a volume that Docker makes there takes its owner"
    )


def test_the_image_serves_on_a_read_only_root(container: Container, openvino_model: Path) -> None:
    server = container.start(openvino_model).wait_ready()
    try:
        inside = server.engine_pid  # the only child of `unshare`
        status = Path(f"/proc/{inside}/status").read_text()
        assert "Uid:\t10001\t10001" in status and "CapEff:\t0000000000000000" in status

        def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
            enter = [
                "nsenter",
                "--target",
                str(inside),
                "--mount",
                "--pid",
                "--root",
                "--wdns=/",
                "--setuid",
                "10001",
                "--setgid",
                "10001",
            ]
            return subprocess.run(
                [*enter, *command],
                env=container.environment | variables,
                capture_output=True,
                text=True,
                check=False,
            )

        kind, *health = container.config["Healthcheck"]["Test"]
        assert (
            kind == "CMD"
            and run(*health, PORT=str(server.port)).returncode == 0
            and run(*health, PORT="1").returncode != 0
        )
        assert (
            run("touch", "/tmp/file").returncode == 0 and run("touch", "/app/file").returncode != 0
        )
        assert run("python", "-c", WITHOUT_BYTECODE).stdout == "[]\n"
        assert server.post(GREEDY).json["usage"]["completion_tokens"] == 16
        os.kill(inside, signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.stop()
