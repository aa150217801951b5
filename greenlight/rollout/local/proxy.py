"""The stable endpoint: a reverse proxy that asks the state file, at each request, where the traffic
goes.

A request in flight stays with the color it began on; the next one, on the same connection too, goes
to what is live then. Run as `python -m greenlight.rollout.local.proxy FOLDER SERVICE`, on HOST and
PORT.
"""

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from aiohttp import (
    ClientConnectionResetError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    TCPConnector,
    web,
)
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from greenlight.core.errors import IntegrityError
from greenlight.core.records import Release
from greenlight.rollout.local.ports import SELF_PATH
from greenlight.rollout.local.store import Store
from greenlight.rollout.server_client import COLOR_HEADER, RELEASE_HEADER

log = logging.getLogger("greenlight.proxy")

LARGEST_BODY = 32 << 20
CONNECT_S = 5.0
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""RFC 9110, 7.6.1: they belong to one connection and are not passed on."""


class Follower:
    """What is live now. Costs one stat per request, and a read after a change.

    The file that was read stays open, so no new file can have its inode number: another inode is
    another state, whatever the clock says.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.file: int | None = None
        self.release: Release | None = None
        self.turn: Iterator[int] = itertools.count()

    def live(self) -> Release | None:
        if self._changed():
            self._read()
        return self.release

    def _changed(self) -> bool:
        try:
            now = os.stat(self.store.path)
        except FileNotFoundError:
            return False
        if self.file is None:
            return True
        then = os.fstat(self.file)
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)

    def _read(self) -> None:
        # Opened before it is read: a state written in between is another inode, and is read at the
        # next request.
        latest = os.open(self.store.path, os.O_RDONLY)
        if self.file is not None:
            os.close(self.file)
        self.file = latest
        try:
            release = self.store.read().live_release
        except IntegrityError as error:
            log.error(
                "%s Traffic stays with %s.",
                error,
                self.release.release_id if self.release else "nothing",
            )
            return
        if release != self.release:
            log.info(
                "traffic goes to %s",
                f"{release.color}, release {release.release_id}" if release else "nothing",
            )
        self.release = release

    def upstreams(self, release: Release) -> list[str]:
        """The release's instances, each request beginning with the next one."""
        urls = release.endpoints
        first = next(self.turn) % len(urls) if urls else 0
        return urls[first:] + urls[:first]


class Proxy:
    def __init__(self, store: Store) -> None:
        self.store, self.follower = store, Follower(store)
        self.session: ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_get(SELF_PATH, self.about)
        app.router.add_route("*", "/{path:.*}", self.forward)
        app.cleanup_ctx.append(self._client)
        return app

    async def _client(self, app: web.Application) -> AsyncIterator[None]:
        # One connection per request: one that was kept could be closed by the server just as a
        # request is sent on it, and a request that was sent must not be repeated. On one machine
        # a connection costs 0.1 ms.
        connector = TCPConnector(limit=0, force_close=True)
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, trust_env=False
        ) as self.session:
            yield

    async def about(self, request: web.Request) -> web.Response:
        live = self.follower.live()
        return web.json_response(
            {
                "service": self.store.service,
                "folder": str(self.store.folder),
                "pid": os.getpid(),
                "live": live.color if live else None,
                "release_id": live.release_id if live else None,
            }
        )

    async def forward(self, request: web.Request) -> web.StreamResponse:
        # it is put behind the instance's address, and must not become a part of that
        if not request.raw_path.startswith("/"):
            return _error(400, "bad_target", "The request names no path.")
        # before the color is chosen, so that a slow client does not hold on to an old one
        body = await request.read()
        upstream, release = await self._send(request, body)
        if upstream is None:
            return _refusal(release)
        async with upstream:
            response = web.StreamResponse(
                status=upstream.status,
                reason=upstream.reason,
                headers=_end_to_end(upstream.headers),
            )
            response.headers.update(_names(release))
            if upstream.content_length is not None:
                response.content_length = upstream.content_length
            await response.prepare(request)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            except ClientConnectionResetError:
                raise  # the client went away, and with this the upstream's answer ends too
            except ClientError as error:
                # The client must not take half an answer for a whole one: no last chunk, the
                # connection breaks off.
                log.error(
                    "%s %s: %s cut the answer: %s",
                    request.method,
                    request.path,
                    upstream.url.origin(),
                    error,
                )
                if request.transport:
                    request.transport.abort()
                return response
            await response.write_eof()
            return response

    async def _send(
        self, request: web.Request, body: bytes
    ) -> tuple[ClientResponse | None, Release | None]:
        """Send the request to one instance of what is live. The next one is tried only when nothing
        of the request was sent yet.
        """
        assert self.session is not None
        release = None
        # once more, for a color that was switched away and ended between the look and the
        # connection
        for _ in range(2):
            release = self.follower.live()
            for url in self.follower.upstreams(release) if release else []:
                headers = _end_to_end(request.headers)
                headers["X-Forwarded-For"] = request.remote or ""
                try:
                    upstream = URL(url + request.raw_path, encoded=True)
                    return (
                        await self.session.request(
                            request.method,
                            upstream,
                            headers=headers,
                            data=body or None,
                            allow_redirects=False,
                        ),
                        release,
                    )
                except (ClientConnectorError, ConnectionTimeoutError) as error:
                    log.warning("%s refuses connections: %s", url, error)
                except (ClientError, TimeoutError) as error:
                    log.error(
                        "%s %s: %s broke off before answering: %r",
                        request.method,
                        request.path,
                        url,
                        error,
                    )
                    return None, release
            if release == self.follower.live():
                break
        return None, release


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {
        name.strip().lower()
        for value in headers.getall("Connection", ())
        for name in value.split(",")
    }
    dropped = HOP_BY_HOP | named | {"content-length"}
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in dropped
    )


def _names(release: Release | None) -> dict[str, str]:
    return {COLOR_HEADER: release.color, RELEASE_HEADER: release.release_id} if release else {}


def _refusal(release: Release | None) -> web.Response:
    """502 when what is live does not answer, 503 when nothing is live."""
    if release is None:
        status, kind, message = (
            503,
            "nothing_live",
            "No color is live yet. Run `greenlight run`, or look at `greenlight status`.",
        )
    else:
        status, kind = 502, "live_color_down"
        message = (
            f"The live color, {release.color} with release {release.release_id}, does not answer."
            " Look at `greenlight status`; `greenlight rollback` goes back."
        )
    return _error(status, kind, message, {**_names(release), "Retry-After": "1"})


def _error(
    status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(
        {"error": {"type": kind, "message": message}}, status=status, headers=headers
    )


async def serve(proxy: Proxy, host: str, port: int, drain_s: float) -> None:
    """Serve until SIGTERM; then take no new connection, and let the requests in flight finish."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    # handler_cancellation: a client that goes away ends its generation too.
    runner = web.AppRunner(
        proxy.app(), handler_cancellation=True, access_log=None, shutdown_timeout=drain_s
    )
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True, backlog=1024).start()
    log.info("http://%s:%d is the stable endpoint of service %s", host, port, proxy.store.service)
    await ended.wait()
    await runner.cleanup()


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    folder, service = sys.argv[1:]
    drain_s = float(os.environ.get("GRACE_SECONDS", "120"))
    asyncio.run(
        serve(
            Proxy(Store(Path(folder), service)),
            os.environ["HOST"],
            int(os.environ["PORT"]),
            drain_s,
        )
    )


if __name__ == "__main__":
    main()
