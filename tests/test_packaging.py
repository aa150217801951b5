"""What `python -m build` makes holds all that the command needs, and nothing else; the version
stands in one place.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from greenlight.version import VERSION
from tests.wheel import ROOT, build, tracked_files

DATA = (
    "greenlight/models/builtin/prompts.jsonl",
    "greenlight/k8s/base/kustomization.yaml",
    "greenlight/k8s/monitoring/grafana-dashboard.json",
    "greenlight/models/builtin/heldout.jsonl",
    "greenlight/models/builtin/tiny/model.safetensors",
    "greenlight/pins/openvino-export.txt",
    "greenlight/pipelines/gates/quick.yaml",
    "greenlight/pipelines/prices.yaml",
    "greenlight/pipelines/resources.yaml",
    "greenlight/pipelines/workloads/short.yaml",
    "greenlight/report/page.css",
    "greenlight/report/page.html.j2",
    "greenlight/report/page.js",
)
IMAGE_TAG = re.compile(r"(?:greenlight-(?:serving|components)|/(?:serving|components)):(\d[\w.]*)")
NEW_TAG = re.compile(r"newTag: (\d[\w.]*)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


def packaged_files() -> set[str]:
    """The tracked files that belong into the package, by their names in it."""
    rooms = {link.resolve().name for link in (ROOT / "greenlight").iterdir() if link.is_symlink()}
    return {
        name if name.startswith("greenlight/") else f"greenlight/{name}"
        for name in tracked_files()
        if name.split("/")[0] in rooms | {"greenlight"}
        and not (ROOT / name).is_symlink()
        and Path(name).suffix != ".md"
    }


def test_the_wheel_built_from_the_sdist_holds_every_file(wheel: Path) -> None:
    assert set(DATA) <= packaged_files()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        links = [each.filename for each in archive.infolist() if each.external_attr >> 28 == 0xA]
    assert packaged_files() - names == set()
    assert not links
    assert {name.split("/")[0] for name in names} == {
        "greenlight",
        f"greenlight_llm-{VERSION}.dist-info",
    }
    assert f"greenlight_llm-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_sdist_holds_the_licence_and_no_more_than_is_tracked(wheel: Path) -> None:
    with tarfile.open(wheel.with_name(f"greenlight_llm-{VERSION}.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or ".git/" in name]


def test_the_metadata_says_what_is_needed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"greenlight_llm-{VERSION}.dist-info/METADATA").decode()
    metadata = Parser().parsestr(text)
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert {"local", "tasks", "vertex"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_version_stands_in_one_place() -> None:
    """What cannot read greenlight/version.py (manifests, pages) is named here when it differs."""
    differs = []
    for name in tracked_files():
        path = ROOT / name
        if path.is_symlink() or not path.is_file() or name.startswith(("tests/", "benchmarks/")):
            continue
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            pattern = NEW_TAG if name.startswith("k8s/") and "newTag" in line else IMAGE_TAG
            tags = pattern.findall(line)
            differs += [
                f"{name}:{number}: {tag}" for tag in tags if not re.match(rf"{VERSION}\b", tag)
            ]
    assert not differs
    for name in ("setup.cfg", "Makefile", "Dockerfile.components", "Dockerfile.serving"):
        assert VERSION not in (ROOT / name).read_text(), name
    made = subprocess.run(
        ["make", "--dry-run", "image-components"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"--build-arg VERSION={VERSION} " in made
    assert f"--tag greenlight-components:{VERSION} " in made


def test_nobody_is_sent_to_the_index_for_it() -> None:
    """The name is not published there: somebody else could take it."""
    sends = re.compile(
        r"(?:install|add|download)\s+(?:-\S+\s+)*[\"'`]*greenlight[-_]llm(?![\w.-]*\.whl)"
    )
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in tracked_files()
        if not name.startswith("tests/") and not (ROOT / name).is_symlink()
        for number, line in enumerate((ROOT / name).read_text(errors="ignore").splitlines(), 1)
        if sends.search(line)
    ]
    assert not found


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-P", "-m", "greenlight", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Exit codes: 0 promoted" in done.stdout
