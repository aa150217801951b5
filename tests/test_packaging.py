"""The wheel holds all that the command needs, away from the source tree."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    source = folder / "source"  # a copy: setuptools leaves its build/ where it builds
    for name in filter(None, tracked):
        if not (ROOT / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(ROOT / name, source / name) if os.stat(ROOT).st_dev == os.stat(source).st_dev else (
            source / name
        ).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(source),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_data_files_are_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "greenlight/pipelines/resources.yaml" in names
    for folder in (
        "greenlight/models/builtin",
        "greenlight/pipelines/gates",
        "greenlight/report",
        "greenlight/k8s",
    ):
        data = [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix
            in (".jsonl", ".json", ".safetensors", ".jinja", ".yaml", ".html", ".j2", ".css")
        ]
        assert data, folder
        for path in data:
            assert str(path.relative_to(ROOT)) in names


def test_the_installed_command_works(wheel: Path, tmp_path: Path) -> None:
    """Installed in an environment of its own that borrows the dependencies of this one, run far
    from the sources.
    """
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--python",
            str(python),
            str(wheel),
        ],
        check=True,
    )
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(environment / "bin" / "greenlight"), "compile", "promotion.yaml"]
    result = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "pipelineInfo" in (tmp_path / "promotion.yaml").read_text()
