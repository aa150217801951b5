"""The pages: built strictly, with a reference that has everything, and commands that are what the program takes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(greenlight [^#\n]*)", re.M)
OFFLINE = ("gate explain", "cost")


def commands() -> list[tuple[str, str]]:
    """Every line of a code block that calls greenlight, with its page. `a|b` stands for several."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), re.S):
            found += [(page.name, line.strip()) for line in COMMAND.findall(block.replace("\\\n", " "))]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_strictly_and_asks_nothing_of_other_hosts(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert "Ships a large language model to production" in page
    assert not re.findall(r'(?:src|href)="(https?://(?!squidfunk)[^"]+)"[^>]*(?:stylesheet|script)', page)


def test_the_reference_has_every_command_metric_and_record(site: Path) -> None:
    from components import records
    from components.gate.catalogue import METRICS
    from components.resolve.parameters import Parameters
    from serving.settings import Settings

    reference = {page.stem: page.read_text() for page in (site / "reference").glob("*.html")}
    for words in ("greenlight run", "greenlight gate calibrate", "greenlight schedule create", "greenlight cost"):
        assert f">{words}<" in reference["commands"], words
    for name in METRICS:
        assert f"<code>{name}</code>" in reference["gate-file"], name
    for name in Parameters.model_fields:
        assert f"<code>{name}</code>" in reference["parameters"], name
    for name in Settings.model_fields:
        assert f"<code>{name.upper()}</code>" in reference["environment"], name
    for record in (records.Decision, records.BenchmarkResult, records.Promotion):
        assert all(f"<code>{name}</code>" in reference["records"] for name in record.model_fields if name != "schema_version"), record
    for series in ("greenlight_requests_total", "greenlight_queued_requests", "greenlight_time_to_first_token_seconds"):
        assert series in reference["metrics"], series


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_the_commands_of_the_pages_take_these_options(page: str, line: str) -> None:
    from pipelines.cli import app

    for variant in variants(line):
        words = shlex.split(re.sub(r"\[[^\]]*\]|…", " ", variant))[1:]
        path = [word for word in words if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        shown = next((done for length in (2, 1) if (done := CliRunner().invoke(app, [*path[:length], "--help"], env=WIDE)).exit_code == 0), None)
        assert shown, f"{page}: {variant}"
        for option in (word.split("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown.output), f"{page}: {variant}: {option}"


def offline() -> list[str]:
    """Those that name no file or run, which only their reader has."""
    return sorted({line for _, line in commands() if line.removeprefix("greenlight ").startswith(OFFLINE) and not re.search("[A-Z]{3}", line)})


@pytest.mark.parametrize("line", offline())
def test_those_that_need_nothing_run(line: str) -> None:
    from pipelines.cli import app

    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}: {done.output} {done.exception}"


WIDE = {"COLUMNS": "300", "NO_COLOR": "1"}


def variants(line: str) -> list[str]:
    """`follow|cancel RUN` is two commands."""
    alternatives = next((word for word in line.split() if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word) and word != "blue|green"), "")
    return [line.replace(alternatives, one) for one in alternatives.split("|")] if alternatives else [line.replace("blue|green", "green")]
