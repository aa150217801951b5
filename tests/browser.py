"""A real headless Chromium, driven through its DevTools protocol: opens one page and reports what the
page did.
"""

import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
START_SECONDS, PAGE_SECONDS = 60, 120


@dataclass
class Visit:
    """What came of opening a page.

    Attributes:
        console: warnings and errors, also those that the browser itself reports, and uncaught
            exceptions.
        requests: URLs that the page asked for.
        answers: of the expressions that were evaluated.
        screenshot: PNG of the whole page.
    """

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    screenshot: bytes = b""


@dataclass
class Typed:
    """Text that is typed into the element that `selector` finds, and Enter; then the expression
    `until` must become true.
    """

    selector: str
    text: str
    until: str


def visit(
    page: Path | str,
    ready: str,
    ask: tuple[str, ...] = (),
    width: int = 1200,
    dark: bool = False,
    scripts: bool = True,
    typed: Sequence[Typed] = (),
) -> Visit:
    """Open a file or a URL, wait until the expression `ready` is true, type, evaluate `ask`, take a
    picture.

    Raises:
        TimeoutError: the browser does not start, or the page does not become ready.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return asyncio.run(
                _visit(_port(Path(profile), process), page, ready, ask, width, dark, scripts, typed)
            )
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, ValueError, IndexError):
            return int((profile / "DevToolsActivePort").read_text().splitlines()[0])
        time.sleep(0.05)
    raise TimeoutError(
        f"{CHROMIUM} opened no DevTools port within {START_SECONDS} s (exit code {process.poll()})"
    )


async def _visit(
    port: int,
    page: Path | str,
    ready: str,
    ask: tuple[str, ...],
    width: int,
    dark: bool,
    scripts: bool,
    typed: Sequence[Typed],
) -> Visit:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
            target = next(tab for tab in await response.json() if tab["type"] == "page")
        async with (
            session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket,
            asyncio.timeout(PAGE_SECONDS),
        ):
            tab = _Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.call(f"{domain}.enable")
            screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            await tab.call("Emulation.setDeviceMetricsOverride", **screen)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await tab.call("Emulation.setEmulatedMedia", features=[scheme])
            await tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
            await tab.call(
                "Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri()
            )
            await tab.wait(ready)
            for each in typed:
                await tab.type(each)
            tab.visit.answers = [await tab.evaluate(expression) for expression in ask]
            size = (await tab.call("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
            picture = await tab.call(
                "Page.captureScreenshot", captureBeyondViewport=True, clip=clip
            )
            tab.visit.screenshot = base64.b64decode(picture["data"])
            return tab.visit


class _Tab:
    """One tab. Events that arrive while a call waits for its answer are kept in the visit."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.visit, self.numbers = socket, Visit(), itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self.socket.receive_json()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message.get("method", ""), message.get("params", {}))

    async def wait(self, expression: str) -> None:
        while not await self.evaluate(f"!!({expression})"):
            await asyncio.sleep(0.05)

    async def type(self, typed: Typed) -> None:
        await self.wait(f"document.querySelector({typed.selector!r})")
        await self.evaluate(
            "(one => { one.focus(); one.select && one.select()"
            f" }})(document.querySelector({typed.selector!r}))"
        )
        await self.call("Input.insertText", text=typed.text)
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                text="\r" if kind == "keyDown" else "",
            )
        await self.wait(typed.until)

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        return answer["result"].get("value")

    def _note(self, event: str, found: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.visit.console.append(
                " ".join(str(one.get("value", one.get("description", ""))) for one in found["args"])
            )
        elif event == "Runtime.exceptionThrown":
            self.visit.console.append(
                str(
                    found["exceptionDetails"]
                    .get("exception", {})
                    .get("description", found["exceptionDetails"]["text"])
                )
            )
        elif event == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.visit.console.append(found["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.visit.requests.append(found["request"]["url"])
