"""Ports of this machine: which are free, and whether it is this service's own proxy that listens on
one.
"""

import random
import socket
from collections.abc import Collection
from pathlib import Path

from greenlight.core.errors import DeployError, InputError, NoAnswerError
from greenlight.core.http import call
from greenlight.rollout.local.store import Store

HOST = "127.0.0.1"
SELF_PATH = "/-/greenlight"
"""Where the proxy of a service speaks for itself. Every other path is passed on."""
SERVING_PORTS = range(20_000, 30_000)
"""Below those that Linux gives to outgoing connections (from 32768): one of them could take the
port while a model still loads.
"""
ANSWER_S = 2.0


def check_port(store: Store, port: int) -> None:
    """Can the stable endpoint of this service be on `port`? Its own proxy being there already is
    fine.

    Raises:
        InputError: the port is no port, is taken by something else, or the endpoint is open on
            another one.
    """
    if not 1 <= port <= 65535:
        raise InputError("port", port, "use a number from 1 to 65535")
    opened = store.read().port
    if opened not in (0, port) and is_own_proxy(store.folder, opened):
        raise InputError(
            "port",
            port,
            f"the endpoint of service {store.service} is open on {opened}; use that, or `greenlight"
            " down` first",
        )
    if not is_free(port) and not is_own_proxy(store.folder, port):
        raise InputError(
            "port", port, "something else listens there; use another port, or end what has it"
        )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as the servers do: connections that linger do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int]) -> int:
    """A free port for a server, none of `taken`: a server that is still loading does not listen
    yet.
    """
    for port in random.sample(SERVING_PORTS, 200):
        if port not in taken and is_free(port):
            return port
    raise DeployError(
        f"found no free port between {SERVING_PORTS.start} and {SERVING_PORTS.stop}. End servers"
        " that are not needed, then run this again."
    )


def is_own_proxy(folder: Path, port: int) -> bool:
    """Does the proxy of the service in `folder` answer on `port`?"""
    try:
        about = call("GET", f"http://{HOST}:{port}{SELF_PATH}", ANSWER_S).json()
        return bool(about.get("folder") == str(folder))
    except (NoAnswerError, ValueError, AttributeError):
        return False
