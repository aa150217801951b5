"""A page that names a file of the repository names one that exists."""

import re
from pathlib import Path

import pytest

from tests.test_form import tracked

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "k8s/*.md", "tests/cluster/*.md", "terraform/*.md")
    for path in ROOT.glob(pattern)
)
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
MADE = ("build/", "dist/")
"""Folders that a command makes."""

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
QUOTED = re.compile(r"`([\w./*-]+/[\w./*-]*)`")
BARE = re.compile(r"`([\w*-][\w.*-]*\.(?:py|txt|cfg|yaml|css|j2))`")
"""A file without its folder, as CONTRIBUTING names those that lie beside one that has it."""


def linked_files(page: Path) -> set[str]:
    """What the page links to, from the root. The reference is made when the site is built."""
    targets = {(page.parent / name).resolve() for name in LINK.findall(page.read_text())}
    found = {str(path.relative_to(ROOT)) for path in targets if path.is_relative_to(ROOT)}
    return {name for name in found if not name.startswith(("docs/reference/", "docs/index.md"))}


def quoted_files(page: Path) -> set[str]:
    """What the page quotes as `folder/file`, where the folder is one of the repository's."""
    names = set(QUOTED.findall(page.read_text()))
    return {name for name in names if name.split("/")[0] in TOP and not name.startswith(MADE)}


def exists(name: str, page: Path = ROOT / "README.md") -> bool:
    """Whether the name is that of a file or folder, from the root or from beside the page."""
    return any(any(folder.glob(name.rstrip("/"))) for folder in (ROOT, page.parent))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = {name for name in linked_files(page) | quoted_files(page) if "NAME" not in name}
    assert not sorted(name for name in named if not exists(name, page))


def test_every_file_that_contributing_names_without_its_folder_exists() -> None:
    named = BARE.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert {"section_*.py", "setup.cfg"} <= set(named)
    files = tracked()
    assert not sorted(name for name in named if not any(path.match(name) for path in files))


def test_files_are_found_in_the_pages() -> None:
    contributing = quoted_files(ROOT / "CONTRIBUTING.md")
    assert {"greenlight/gate/verdict.py", "pipelines/resources.yaml"} <= contributing
    assert "docs/report.png" in linked_files(ROOT / "README.md")
    assert not exists("greenlight/gate/no_such_file.py")
