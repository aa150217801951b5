"""The report in a real browser: drawn, quiet, offline, in light and dark, on a phone, and without
scripts.
"""

from pathlib import Path

import pytest

from greenlight.report.write import write_report
from tests.browser import CHROMIUM, Visit, visit
from tests.report.run_factory import RunFactory

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)

DRAWN = "document.documentElement.classList.contains('drawn')"
LOADED = "document.readyState === 'complete'"
PLOTS = "document.querySelectorAll('.chart .main-svg:first-child').length"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
CURVE = "document.querySelector('#chart-ttft .js-line').style.stroke"
WIDTH = "document.documentElement.scrollWidth"
NO_CHART = "[...document.querySelectorAll('.no-chart')].filter(one => one.checkVisibility()).length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = tmp_path_factory.mktemp("history")
    factory = (
        RunFactory(history, source="<b>bold</b> & co", pairs=2400)
        .through("benchmark")
        .gate(looks=5)
        .moved()
    )
    output = history / "report.html"
    write_report(str(history), factory.run_id, output, None)
    return output


def quiet(found: Visit, page: Path) -> Visit:
    assert found.console == []
    assert found.requests == [page.as_uri()]  # the file itself, and nothing else
    assert found.screenshot.startswith(b"\x89PNG")
    return found


def test_light_and_dark(page: Path) -> None:
    light = quiet(visit(page, DRAWN, (PLOTS, BACKGROUND, CURVE, NO_CHART)), page)
    dark = quiet(visit(page, DRAWN, (PLOTS, BACKGROUND, CURVE, NO_CHART), dark=True), page)
    assert light.answers == [6, "rgb(246, 247, 248)", "rgb(21, 128, 61)", 0]
    assert dark.answers == [6, "rgb(14, 17, 22)", "rgb(79, 208, 138)", 0]


def test_on_a_phone_nothing_sticks_out(page: Path) -> None:
    found = quiet(visit(page, DRAWN, (WIDTH, PLOTS), width=360), page)
    assert found.answers == [360, 6]


def test_without_scripts_the_tables_are_there_and_say_so(page: Path) -> None:
    found = quiet(
        visit(page, LOADED, ("document.querySelectorAll('table').length", NO_CHART), scripts=False),
        page,
    )
    tables, notes = found.answers
    assert (tables, notes) == (6, 6)


def test_an_up_to_date_run(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).resolve("up_to_date")
    output = tmp_path / "report.html"
    write_report(str(tmp_path), factory.run_id, output, None)
    found = quiet(visit(output, LOADED, ("document.querySelector('h1').innerText",)), output)
    assert found.answers == ["=Up to date"]
