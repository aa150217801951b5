"""Dockerfile.components, built, and its root file system as a place where commands run: with what
the image has, and nothing else of this machine.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import inside_network
from tests.serving.test_image import BASE, ROOT, TAG, output

IMAGE = f"localhost/greenlight-components:{TAG}"
DOCKERFILE = ROOT / "Dockerfile.components"
# on uv's disk, for links; away from checkouts, which people copy
ENVIRONMENTS = Path.home() / ".cache/greenlight/components-image"
UNUSED_DAYS = 7
BYTECODE = "bytecode"
# The commands of the Dockerfile that fill an environment.
INSTALL = re.compile(
    r"uv pip install --compile-bytecode --python /opt/([\w-]+)/bin/python ((?:[^&\\]|\\\n)*)"
)
# reaps whom a step left
PROCESS_1 = (
    "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
)
START_SECONDS = 20


class ComponentsImage:
    """The image, mounted: read-only but for /tmp and /gcs, which are empty, as its user, and with
    no network but loopback.

    Attributes:
        root: of its file system, as seen from here.
        config: User, Env, Labels and so on.
        environments: what is mounted as /opt; None for an image that has its own.
        pid: of process 1 of the running root, as seen from here.
    """

    pid = 0

    def __init__(self, image: str) -> None:
        self.name = output("buildah", "from", "--pull-never", image)
        self.root = Path(output("buildah", "mount", self.name))
        self.config = json.loads(output("buildah", "inspect", self.name))["Docker"]["config"]
        self.environment = dict(variable.split("=", 1) for variable in self.config["Env"])
        self.environments: Path | None = None

    def use_environments(self, folder: Path) -> None:
        """Mount a folder as /opt. It comes without bytecode; what steps make of it is kept
        there.
        """
        self.environments = folder
        self.environment["PYTHONPYCACHEPREFIX"] = f"/opt/{BYTECODE}"

    @property
    def opt(self) -> Path:
        """The folder /opt of the running root, as seen from here."""
        return self.environments or self.root / "opt"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start process 1 of the root; when the block ends, everything that was started in it ends
        with it.
        """
        (self.root / "gcs").mkdir(exist_ok=True)
        script = f"""
            set -e
            ip link set lo up
            cd {shlex.quote(str(self.root))}
            mount --bind . . && cd "$PWD"
            {self._mount_environments()}
            mount -o remount,bind,ro .
            mount -t tmpfs tmpfs tmp
            mount -t tmpfs -o mode=1777 tmpfs gcs
            mount -t proc proc proc
            mount -t sysfs -o ro sysfs sys
            mount --rbind /dev dev
            exec chroot . python3 -c "$1"
        """
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", script, "-", PROCESS_1], env={"PATH": os.environ["PATH"]}
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not (self._find_process_1(holder.pid) and self.run("true").returncode == 0):
                assert holder.poll() is None and time.monotonic() < deadline, (
                    "the root did not start"
                )
                time.sleep(0.05)
            with inside_network(Path(f"/proc/{self.pid}/ns/net")):
                yield
        finally:
            holder.kill()
            holder.wait()

    def _mount_environments(self) -> str:
        if self.environments is None:
            return ""
        folder = shlex.quote(str(self.environments))
        return (
            f"mount --bind {folder} opt && mount -o remount,bind,ro opt && mount --bind"
            f" {folder}/{BYTECODE} opt/{BYTECODE}"
        )

    def _find_process_1(self, holder: int) -> bool:
        children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return bool(children) and Path(f"/proc/{self.pid}/comm").read_text().startswith("python")

    @property
    def gcs(self) -> Path:
        return Path(f"/proc/{self.pid}/root/gcs")

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the image's user, with the image's environment variables and these."""
        user, _, group = self.config["User"].partition(":")
        enter = [
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--pid",
            "--net",
            "--root",
            f"--wdns={self.config['WorkingDir']}",
        ]
        become = ["--setuid", user, "--setgid", group]
        given = [f"{name}={value}" for name, value in (self.environment | variables).items()]
        return subprocess.run(
            [*enter, *become, "env", "-i", *given, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@contextlib.contextmanager
def built_image() -> Iterator[ComponentsImage]:
    """Built from Dockerfile.components (5 s) up to its environments: those are linked from uv's
    cache (10 s), and kept. Skips where that cannot be.

    GREENLIGHT_TEST_COMPONENTS_IMAGE names a whole image that is tested instead.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "unshare", "nsenter", "ip"))):
        pytest.skip("no image is built: that needs root, buildah, iproute2 and util-linux")
    if given := os.environ.get("GREENLIGHT_TEST_COMPONENTS_IMAGE"):
        image = ComponentsImage(given)
    else:
        if subprocess.run(
            ["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False
        ).returncode:
            pytest.skip(
                f"no image is built: there is no {BASE} (tests/serving/stand_in_base.sh makes it)"
            )
        offline = "--isolation chroot --network host --pull-never --build-arg PYTHON_IMAGE=" + BASE
        output(
            *f"buildah build --layers --format docker --file {DOCKERFILE} --target bare --tag"
            f" {IMAGE} {offline} .".split(),
            cwd=ROOT,
        )
        image = ComponentsImage(IMAGE)
        image.use_environments(environments_for(image.root))
    yield image
    output("buildah", "rm", image.name)


def environments_for(root: Path) -> Path:
    """A folder with what the Dockerfile's own commands make, for the interpreter of an image. A new
    one when anything changes that they depend on.
    """
    version, python = output(
        "chroot",
        root,
        "python3",
        "-c",
        "import os, sys; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))",
    ).split()
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(
            f"{BASE} has Python {version}, for which this machine's {sys.version.split()[0]} can"
            " make no environment"
        )
    commands = {
        name: arguments.replace("\\\n", " ").split()
        for name, arguments in INSTALL.findall(DOCKERFILE.read_text())
    }
    read = [
        ROOT / "setup.cfg",
        *sorted(ROOT.glob("requirements-*.txt")),
        *sorted(ROOT.glob("constraints*.txt")),
    ]
    key = hashlib.sha256(
        f"{commands} {python} {sys.version}".encode() + b"".join(path.read_bytes() for path in read)
    ).hexdigest()[:12]
    folder = ENVIRONMENTS / key
    if not folder.is_dir():
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        for path in ENVIRONMENTS.iterdir():
            if time.time() - path.stat().st_mtime > UNUSED_DAYS * 86400:
                shutil.rmtree(path, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(dir=ENVIRONMENTS))
        for name, arguments in commands.items():
            make_environment(partial / name, arguments, Path(python))
        (partial / BYTECODE).mkdir()
        (partial / BYTECODE).chmod(0o1777)
        partial.chmod(0o755)
        with contextlib.suppress(OSError):  # another session was faster
            partial.rename(folder)
    os.utime(folder)
    return folder


def make_environment(folder: Path, arguments: list[str], python: Path) -> None:
    """What `uv venv` and `uv pip install` with these arguments make in the image, whose interpreter
    lies at `python` there.
    """
    uv = [sys.executable, "-m", "uv"]
    output(*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, folder, cwd=ROOT)
    output(
        *uv, "pip", "install", "--quiet", "--python", folder / "bin/python", *arguments, cwd=ROOT
    )
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to(python)
    config = folder / "pyvenv.cfg"
    config.write_text(re.sub(r"(?m)^home = .*", f"home = {python.parent}", config.read_text()))
