"""The form of what is in the repository, as far as ruff does not look at it: the length of files
and of prose, the commands of `make lint`, and the targets of make that texts name.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import GROUPS

ROOT = Path(__file__).parents[1]
FILE_LINES, PROSE_COLUMNS = 400, 120
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.M | re.S)
# `make X` in code spans, after another command, and as the beginning of a line of commands
MADE = re.compile(
    r"(?:`|run: |&& )make\s+([a-z][a-z0-9-]*)\b(?!-?…)"
    r"|^[ \t]*(?:\$ )?make ([a-z][a-z0-9-]*)(?=[ \t]*$|[ \t]+(?:[A-Z_]+=|#|&&))",
    re.M,
)


def tracked(*patterns: str) -> list[Path]:
    """The repository's files, or those that git does not know yet and does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in sorted(set(done.stdout.split("\0"))) if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_python_file_is_long() -> None:
    long = {
        name(path): lines
        for path in tracked("*.py")
        if (lines := len(path.read_text().splitlines())) > FILE_LINES
    }
    assert not long, f"split these files, which have more than {FILE_LINES} lines: {long}"


def prose(page: str) -> list[tuple[int, str]]:
    """The lines of a Markdown page that are prose, with their numbers: no code, no table, and no
    line that a link or a picture makes long.
    """
    without_code = FENCE.sub(lambda block: "\n" * block[0].count("\n"), page)
    without_code = re.sub(r"`[^`\n]{60,}`", "`a command that cannot be broken`", without_code)
    return [
        (number, line)
        for number, line in enumerate(without_code.splitlines(), 1)
        if line and not line.lstrip().startswith("|") and not re.search(r"\]\(|https?://", line)
    ]


def test_prose_fits_into_its_columns() -> None:
    wide = [
        f"{name(page)}:{number} ({len(line)})"
        for page in tracked("*.md")
        for number, line in prose(page.read_text())
        if len(line) > PROSE_COLUMNS
    ]
    assert not wide, f"break these lines, which have more than {PROSE_COLUMNS} columns: {wide}"


def test_what_is_no_prose_may_be_wide() -> None:
    wide = "x" * 200
    page = f"{wide}\n```\n{wide}\n```\n| {wide} |\n[{wide}](a)\n`{wide}`\n{wide}\n"
    wide_lines = [number for number, line in prose(page) if len(line) > PROSE_COLUMNS]
    assert wide_lines == [1, 8]


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    return set(phony.split())


def test_every_target_is_declared_and_is_there() -> None:
    rules = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    assert rules == targets()


TEXTS = (".md", ".py", ".sh", ".yml", ".yaml", ".cfg", ".toml", ".txt", ".ipynb", ".tf", "")


def unbroken(text: str) -> str:
    """Python's adjacent string literals on two lines, as the one string that they are."""
    return re.sub(r'"\n\s*f?"', "", text)


def test_targets_of_make_that_texts_name_are_there() -> None:
    files = [path for path in tracked() if path.suffix in TEXTS]
    named = {
        (name(path), target)
        for path in files
        for found in MADE.findall(unbroken(path.read_text()))
        for target in found
        if target
    }
    assert len(named) > 50, "the pattern finds nothing any more"
    missing = sorted(
        f"{where}: make {target}" for where, target in named if target not in targets()
    )
    assert not missing, f"there are no such targets in the Makefile: {missing}"


def recipe(target: str) -> list[str]:
    """The commands of one rule of the Makefile."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    return [line.strip() for line in found.splitlines()]


def test_pre_commit_runs_what_make_lint_runs() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in configuration["repos"] for hook in repo["hooks"]]
    assert all(repo["repo"] == "local" for repo in configuration["repos"])
    assert [hook["entry"] for hook in hooks] == recipe("lint")
    for hook in hooks:
        assert hook["language"] == "system" and hook["pass_filenames"] is False, (
            "the same command on the same files"
        )


@pytest.mark.parametrize("group", GROUPS)
def test_groups_of_tests_are_there(group: str) -> None:
    """A path that no longer exists would scatter its tests over the workers, and nobody would
    see it.
    """
    assert all((ROOT / begins).exists() for begins in GROUPS[group])
