"""The pages: built strictly, with a reference that has everything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(folder),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_strictly_and_asks_nothing_of_other_hosts(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert "Ships a large language model to production" in page
    assert not re.findall(
        r'(?:src|href)="(https?://(?!squidfunk)[^"]+)"[^>]*(?:stylesheet|script)', page
    )


def test_the_reference_has_every_command_metric_and_record(site: Path) -> None:
    from greenlight.core import records
    from greenlight.gate.catalogue import METRICS
    from greenlight.quantize.methods import methods
    from greenlight.resolve.parameters import Parameters
    from greenlight.serving.settings import Settings

    reference = {page.stem: page.read_text() for page in (site / "reference").glob("*.html")}
    for words in (
        "greenlight run",
        "greenlight gate calibrate",
        "greenlight schedule create",
        "greenlight cost",
    ):
        assert f">{words}<" in reference["commands"], words
    for name, method in methods().items():
        assert f"<code>{name}</code>" in reference["methods"], name
        assert method.library in reference["methods"], name
    for name in METRICS:
        assert f"<code>{name}</code>" in reference["gate-file"], name
    for name in Parameters.model_fields:
        assert f"<code>{name}</code>" in reference["parameters"], name
    for name in Settings.model_fields:
        assert f"<code>{name.upper()}</code>" in reference["environment"], name
    for record in (records.Decision, records.BenchmarkResult, records.Promotion):
        assert all(
            f"<code>{name}</code>" in reference["records"]
            for name in record.model_fields
            if name != "schema_version"
        ), record
    for series in (
        "greenlight_requests_total",
        "greenlight_queued_requests",
        "greenlight_time_to_first_token_seconds",
    ):
        assert series in reference["metrics"], series
