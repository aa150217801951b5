"""Whether this server has the traffic, learned where its clients learn it: from the stable
endpoint.

A Kubernetes Service routes new connections only. Clients that keep theirs alive would stay with a
color that lost the traffic for as long as it is kept warm. So each server asks the stable endpoint,
on a connection of its own, which release answers there. One that had the traffic and sees another
release in its place ends every connection after the response in flight, until it has the traffic
again. It needs no message from whoever switched, who may have died.
"""

import asyncio
import json
from urllib.parse import urlsplit

from greenlight.serving.admission import Admission
from greenlight.serving.logs import log

# Between two requests: a live server must notice fast, one that was never live may take longer.
LIVE_SECONDS, IDLE_SECONDS = 0.1, 0.5
ANSWER_SECONDS = 2.0


async def watch_traffic(admission: Admission, url: str) -> None:
    """Keep `admission.demoted` true to what the stable endpoint says, for as long as the process
    lives.
    """
    own = admission.settings.release_id
    was_live = False
    while True:
        release = await _read_live_release(url)
        if release == own:
            was_live = True
        demoted = was_live and release not in (own, "") if release else admission.demoted
        if demoted != admission.demoted:
            admission.demoted = demoted
            log.info(
                "demoted" if demoted else "live_again",
                extra={"fields": {"release": own, "live": release}},
            )
        await asyncio.sleep(LIVE_SECONDS if was_live else IDLE_SECONDS)


async def _read_live_release(url: str) -> str:
    """The release that answers at `url`; empty when none does, which says nothing."""
    parts = urlsplit(url)
    writer = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            head = f"GET /version HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
            status = answer.split(b"\r\n", 1)[0]
            return str(json.loads(body)["release_id"]) if b" 200 " in status else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    finally:
        if writer is not None:
            writer.close()
