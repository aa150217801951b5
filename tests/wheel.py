"""Builds the package as a release is built, and installs it in an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = (sys.executable, "-m", "uv")


def tracked_files() -> list[str]:
    """Every file that git knows or would add, links included, as paths below the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def build(folder: Path) -> Path:
    """Build the sdist, and the wheel from it, of a copy: setuptools leaves its build/ where it
    builds. Returns the wheel's path; the sdist lies beside it.
    """
    source = folder / "source"
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
    run(*command)
    (path,) = folder.glob("*.whl")
    return path


def install(wheel: Path, extra: str, environment: Path) -> Path:
    """Install the wheel with what it requires, at the versions of the pins. Returns the folder of
    the environment's programs.
    """
    run(*UV, "venv", "--quiet", "--python", sys.executable, environment)
    target = ("--python", environment / "bin/python")
    pins = ("--constraint", ROOT / "greenlight/pins/main.txt")
    run(*UV, "pip", "install", "--quiet", *target, *pins, f"{wheel}{extra}")
    return environment / "bin"


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command prints. Fails the test with all of it when the command fails."""
    done = attempt(*command, cwd=cwd, env=env)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def attempt(
    *command: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    arguments = [str(word) for word in command]
    return subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, check=False)
