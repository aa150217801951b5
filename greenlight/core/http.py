"""HTTP to servers of this project: the inference servers, the stable endpoint, the local proxy.

They are on this machine or inside the cluster, never behind a proxy, so HTTP_PROXY and its kin are
not obeyed. Model hubs and cloud APIs are reached by their own libraries, which do obey them.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from greenlight.core.errors import NoAnswerError

if TYPE_CHECKING:
    import httpx


def client(**options: Any) -> "httpx.Client":
    """An HTTP client that ignores the proxies of the environment. `options` as of httpx.Client."""
    import httpx  # slow to import, and many commands ask no server

    return httpx.Client(trust_env=False, **options)


def call(
    method: str,
    url: str,
    seconds: float,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> "httpx.Response":
    """One request on a connection of its own, without redirects; returns whatever was answered.

    Args:
        seconds: for the connection, and for each read.
        body: sent as JSON, where it is not None.

    Raises:
        NoAnswerError: nothing was answered. Says what happened.
    """
    import httpx

    try:
        return _one_connection_per_request().request(
            method, url, json=body, headers=headers, timeout=seconds
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise NoAnswerError(f"{url} did not answer within {seconds:g} s: {reason}.") from None


@cache
def _one_connection_per_request() -> "httpx.Client":
    """Made once, because reading the certificates takes longer than most requests. A connection
    that was kept could be closed by the server just as a request is sent on it.
    """
    import httpx

    return client(limits=httpx.Limits(max_keepalive_connections=0))
