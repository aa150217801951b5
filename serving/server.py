"""The life of the HTTP process: listens at once, ready when the engine is, drains on SIGTERM, fails
when the engine does.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import uvicorn
import uvloop

from greenlight.serving.admission import Admission
from greenlight.serving.app import create_app
from greenlight.serving.logs import log
from greenlight.serving.text_response import ClosesConnections
from greenlight.serving.traffic_watch import watch_traffic

# longer than any load balancer keeps an idle connection (Google's: 600 s), so that only they close
# first
KEEP_ALIVE_SECONDS = 620
# a drain ends when nothing was in flight for so long: clients on kept-alive connections get one
# last answer
QUIET_SECONDS = 0.5
LAST_ERRORS_SECONDS = 1  # for errors to reach the clients of a failed engine


class WebServer(uvicorn.Server):
    """uvicorn without its signal handlers: Lifecycle has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Lifecycle:
    """Ties admission, the web server and the signals together."""

    def __init__(self, admission: Admission, listener: socket.socket) -> None:
        self.admission, self.listener = admission, listener
        self.exit_code = 0
        self._drain: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            ClosesConnections(create_app(admission), admission),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=LAST_ERRORS_SECONDS,
        )
        self.web = WebServer(config)

    def run(self) -> int:
        """Serve until SIGTERM or a fault of the engine. Returns the exit code."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())
        return self.exit_code

    async def _serve(self) -> None:
        admission = self.admission
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        address = self.listener.getsockname()
        log.info(
            "listening",
            extra={"fields": {"host": address[0], "port": address[1], "pid": os.getpid()}},
        )
        admission.engine.on_ready = self._engine_ready
        admission.engine.on_fault = self._engine_failed
        await admission.engine.connect()
        watching = (
            asyncio.ensure_future(watch_traffic(admission, admission.settings.stable_url))
            if admission.settings.stable_url
            else None
        )
        try:
            await self.web.serve(sockets=[self.listener])
        finally:
            admission.engine.stop()
            if watching:
                watching.cancel()
        log.info("ended", extra={"fields": {"exit_code": self.exit_code}})

    def _engine_ready(self) -> None:
        admission = self.admission
        fields = {
            "engine": admission.engine_name,
            "precision": admission.settings.precision,
            "model": admission.model,
            "context": admission.artifact.context,
            **admission.engine.facts,
        }
        log.info(
            "ready",
            extra={"fields": fields | {"seconds": round(time.time() - admission.started, 3)}},
        )

    def _engine_failed(self, reason: str) -> None:
        self.exit_code = 1
        # the answers of the requests in flight are being written
        asyncio.get_running_loop().call_later(0.1, self._end)

    def _terminate(self) -> None:
        if self._drain is not None:
            log.warning(
                "ended_by_second_signal",
                extra={"fields": {"requests_lost": len(self.admission.running)}},
            )
            self.admission.engine.stop()
            os._exit(128 + signal.SIGTERM)
        self._drain = asyncio.ensure_future(self._drain_and_end())

    async def _drain_and_end(self) -> None:
        """End the streams and the connections. For half of the grace period new requests are still
        taken: traffic only stops coming a moment after SIGTERM.
        """
        admission, grace = self.admission, self.admission.settings.grace_seconds
        started = time.monotonic()
        admission.draining = True
        log.info(
            "draining",
            extra={"fields": {"in_flight": len(admission.running), "grace_seconds": grace}},
        )
        quiet_since = started
        while (now := time.monotonic()) < started + grace:
            admission.refusing = now > started + grace / 2
            if admission.running or admission.taken > quiet_since:
                quiet_since = now
            elif now - quiet_since >= QUIET_SECONDS:
                break
            await asyncio.sleep(0.05)
        for request in list(admission.running):
            request.cut(
                f"The server ends; this text was not done within GRACE_SECONDS ({grace:g})."
            )
        log.info(
            "drained",
            extra={
                "fields": {
                    "cut": len(admission.running),
                    "seconds": round(time.monotonic() - started, 3),
                }
            },
        )
        self._end()

    def _end(self) -> None:
        self.admission.refusing = True
        self.web.should_exit = True
