"""The engine's own process: drains commands, steps, and sends one packed message per step for all
requests.

Both directions of the socket carry lines of JSON, each a list that begins with its kind.

Commands: `["add", {Request}, hold]`, `["cancel", id]`, `["ping", n]`. With `hold` the tokens are
    sent together at the end.
Messages: `["ready", {facts}]`, `["step", [[id, tokens, finish or null], …]]`, `["refused", id,
    why]`, `["pong", n]`, `["fault", why, traceback]`.
"""

import contextlib
import ctypes
import io
import json
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any

import orjson

from greenlight.serving.engines.base import Engine, EngineConfig, Request, Update, load

FAULT_EXIT = 70


class Worker:
    def __init__(self, engine: Engine, link: socket.socket) -> None:
        self.engine, self.link = engine, link
        self._received = bytearray()
        self._held: dict[int, list[int]] = {}

    def run(self) -> None:
        """Serve until the HTTP process closes its end."""
        while self._obey(block=not self.engine.busy):
            if self.engine.busy and (updates := self._release(self.engine.step())):
                send(self.link, ["step", updates])

    def _obey(self, block: bool) -> bool:
        """Carry out the commands that have arrived. False when the HTTP process is gone."""
        while block or select.select([self.link], [], [], 0)[0]:
            data = self.link.recv(1 << 20)
            if not data:
                return False
            self._received += data
            *lines, rest = self._received.split(b"\n")
            self._received = bytearray(rest)
            for line in lines:
                self._command(*orjson.loads(line))
            block = block and not lines
        return True

    def _command(self, kind: str, subject: Any, hold: bool = False) -> None:
        if kind == "add":
            request = Request(**subject)
            try:
                self.engine.add(request)
            except ValueError as error:
                send(self.link, ["refused", request.id, str(error)])
                return
            if hold:
                self._held[request.id] = []
        elif kind == "cancel":
            self.engine.cancel(subject)
            self._held.pop(subject, None)
        else:
            send(self.link, ["pong", subject])

    def _release(self, updates: list[Update]) -> list[Update]:
        """What to send now: everything, but of held requests only those that have ended."""
        if not self._held:
            return updates
        ready = []
        for request_id, tokens, finish in updates:
            held = self._held.get(request_id)
            if held is not None:
                held += tokens
                if finish is None:
                    continue
                tokens = self._held.pop(request_id)
            ready.append((request_id, tokens, finish))
        return ready


def warm_up(engine: Engine) -> None:
    """Decode a few tokens, greedy and not: what a library puts off until its first batch must not
    delay the first request.
    """
    for temperature in (0.0, 1.0):
        engine.add(
            Request(
                id=0,
                tokens=[1, 1],
                max_new_tokens=2,
                temperature=temperature,
                top_p=1.0,
                top_k=0,
                seed=0,
                ignore_eos=True,
            )
        )
        while engine.busy:
            engine.step()


def send(link: socket.socket, message: list[Any]) -> None:
    link.sendall(orjson.dumps(message) + b"\n")


def die_with(parent: int) -> None:
    """Have the kernel end this process when the HTTP process ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before the call
        os._exit(FAULT_EXIT)


def main(fd: int, parent: int, config: EngineConfig) -> int:
    die_with(parent)
    # sent to the whole group by terminals; the HTTP process says when to end
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.dup2(2, 1)  # whatever a library prints belongs to stderr
    link = socket.socket(fileno=fd)
    try:
        started = time.monotonic()
        # progress bars; what a crash prints goes around it
        with contextlib.redirect_stderr(io.StringIO()):
            engine = load(config)
            warm_up(engine)
        send(link, ["ready", {"load_seconds": round(time.monotonic() - started, 3)}])
        Worker(engine, link).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:  # whatever it is, the requests in flight must get an error
        send(link, ["fault", f"{type(error).__name__}: {error}", traceback.format_exc()])
        return FAULT_EXIT
    return 0


if __name__ == "__mp_main__":
    # In a process that vLLM has started: multiprocessing imports there what its parent runs. It
    # must not outlive the worker, nor be stopped by a terminal's Ctrl-C while streams drain, nor
    # print.
    die_with(os.getppid())
    os.setsid()
    logging.disable(logging.WARNING)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]), EngineConfig(**json.loads(sys.argv[3])))
    sys.stderr.flush()
    os._exit(code)  # libraries' threads and destructors have nothing to add
