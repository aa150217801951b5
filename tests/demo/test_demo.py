"""The demo in a real browser, beside two servers with known timing; and where it finds the colors
of a real service.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.colors import find_colors
from demo.stream import Times, answer
from greenlight.core.errors import GreenlightError
from tests.benchmark.conftest import StartStub, Stub, start_stub  # noqa: F401
from tests.browser import CHROMIUM, Typed, visit
from tests.rollout.stage import Stage, free_port

ROOT = Path(__file__).parents[2]
TEXT = "document.body.innerText"
METRICS = "[...document.querySelectorAll('[data-testid=stMetricValue]')].map(one => one.innerText)"
CHAT_TAB = (
    "[...document.querySelectorAll('[role=tab]')].find(one => one.innerText.includes('Chat'))"
)
CHAT_INPUT = "[data-testid=stChatInputTextArea]"
IDLE = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"


@pytest.fixture
def stubs(start_stub: StartStub) -> tuple[Stub, Stub]:
    return start_stub(ttft=0.4, itl=0.02), start_stub(ttft=0.1, itl=0.005)


@pytest.fixture
def demo(stubs: tuple[Stub, Stub], request: pytest.FixtureRequest) -> Iterator[str]:
    """Its URL. The second parameter of a test says which color has no server."""
    pytest.importorskip("streamlit", reason="streamlit is not installed: make demo")
    blue, green = stubs
    settings = {
        "BLUE": blue.url,
        "GREEN": getattr(request, "param", green.url),
        "LIVE": "green",
        "ENDPOINT": green.url,
    }
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "demo/app.py",
        "--server.headless",
        "true",
        "--server.port",
        str(port),
    ]
    command += [
        "--server.address",
        "127.0.0.1",
        "--browser.gatherUsageStats",
        "false",
        "--server.fileWatcherType",
        "none",
    ]
    environment = (
        os.environ
        | {f"GREENLIGHT_DEMO_{name}": value for name, value in settings.items()}
        | {"PYTHONPATH": str(ROOT)}
    )
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (
                    "the demo did not start"
                )
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)


@pytest.mark.alone
@needs_chromium
def test_both_colors_answer_side_by_side(demo: str) -> None:
    typed = Typed(
        "[data-testid=stTextInput] input",
        "What is a list?",
        f"({TEXT}.match(/TTFT/g) || []).length === 2 && {IDLE} && !{TEXT}.includes('…')",
    )
    seen = visit(demo, f"{TEXT}.includes('Ask both')", (TEXT, METRICS), typed=[typed])
    text, figures = seen.answers
    assert "Live is ● green" in text and "green (live)" in text and "● blue\n" in text
    assert text.count("a" * 96) == 2, "96 tokens of both"
    slow, fast = figures[:3], figures[3:]
    assert 400 <= int(slow[0]) < 900 and 100 <= int(fast[0]) < 390, figures
    assert 20 < int(slow[1]) < 60 < int(fast[1]) < 400
    assert slow[2] == fast[2] == "96"
    assert [line for line in seen.console if "third-party" not in line.lower()] == []
    assert seen.screenshot.startswith(b"\x89PNG")


@needs_chromium
def test_chat_streams_from_what_is_live(demo: str) -> None:
    typed = Typed(CHAT_INPUT, "Hello", f"{TEXT}.includes('tokens/s') && {IDLE}")
    ready = f"({CHAT_TAB}?.click(), document.querySelector('{CHAT_INPUT}')?.checkVisibility())"
    seen = visit(demo, ready, (TEXT,), typed=[typed])
    assert (
        "Hello" in seen.answers[0] and "a" * 96 in seen.answers[0] and "TTFT 1" in seen.answers[0]
    ), seen.answers[0]


@needs_chromium
@pytest.mark.parametrize("demo", ["http://127.0.0.1:9"], indirect=True)
def test_a_color_that_is_down_is_said_and_the_other_answers(demo: str) -> None:
    typed = Typed(
        "[data-testid=stTextInput] input",
        "Hi",
        f"{TEXT}.includes('cannot be reached') && {TEXT}.includes('TTFT') && {IDLE}",
    )
    seen = visit(demo, f"{TEXT}.includes('Ask both')", (TEXT,), typed=[typed])
    assert (
        "http://127.0.0.1:9 cannot be reached or broke off (ConnectError)" in seen.answers[0]
        and "a" * 96 in seen.answers[0]
    )


def test_an_answer_with_its_times(stubs: tuple[Stub, Stub]) -> None:
    times = Times()
    pieces = list(answer(stubs[1].url, [{"role": "user", "content": "Hi"}], 12, times))
    assert "".join(pieces) == "a" * 12 and len(pieces) == 12
    assert (
        times.tokens == 12
        and times.ttft
        and 0.1 <= times.ttft < 0.4
        and times.tokens_per_second
        and 50 < times.tokens_per_second < 400
    )


def test_what_a_server_refuses_is_shown(start_stub: StartStub) -> None:
    refusing, breaking = start_stub(fail_every=1), start_stub(cut_every=1)
    with pytest.raises(GreenlightError, match=r"answered 500: .*asked to fail"):
        list(answer(refusing.url, [{"role": "user", "content": "Hi"}], 4, Times()))
    with pytest.raises(GreenlightError, match="broke off"):
        list(answer(breaking.url, [{"role": "user", "content": "Hi"}], 12, Times()))


def test_the_colors_of_a_local_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLUE", "GREEN", "LIVE", "ENDPOINT"):
        monkeypatch.delenv(f"GREENLIGHT_DEMO_{name}", raising=False)
    stage = Stage(tmp_path)
    monkeypatch.setenv("GREENLIGHT_HOME", str(stage.home))
    monkeypatch.setenv("GREENLIGHT_SERVICE", "llm")
    try:
        empty = find_colors()
        assert (
            empty.live is None
            and not empty.endpoint
            and "`make run`" in empty.slots["blue"].problem
        )
        deployed = stage.deploy()
        found = find_colors()
        assert (
            found.live == "blue"
            and found.endpoint
            and found.slots["green"].url == deployed.candidate.instances[0].url
        )
        assert (
            deployed.candidate.release_id in found.slots["green"].title
            and not found.slots["green"].problem
        )
    finally:
        stage.close()
    monkeypatch.setenv("GREENLIGHT_TARGET", "kubernetes:nowhere")
    with pytest.raises(GreenlightError):
        find_colors()
