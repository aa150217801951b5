"""The export environment, with its libraries imported: forks a process for each line of JSON that
is sent to a socket. Runs there, and imports nothing of ours.
"""

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

LIBRARIES = ("torch", "transformers", "nncf", "optimum.exporters.openvino.__main__")


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def silence(output: str | os.PathLike[str]) -> None:
    """Write what is printed to a file."""
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def import_libraries() -> None:
    """optimum takes `openvino.save_model` by name, which our export replaces before it imports
    optimum: here what it takes looks up what stands there when it is called.
    """
    import openvino

    save = openvino.save_model
    inside: list[bool] = []

    def save_model(*arguments: Any, **named: Any) -> None:
        if inside or openvino.save_model is save_model:
            save(*arguments, **named)
            return
        inside.append(True)
        openvino.save_model(*arguments, **named)
        inside.clear()

    openvino.save_model = save_model
    for name in LIBRARIES:
        importlib.import_module(name)


def serve(address: str) -> None:
    import_libraries()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            link, _ = listener.accept()
            with link:
                answer(link)


def answer(link: socket.socket) -> None:
    """Run one call, and send its exit code. It ends when who asked is gone."""
    received = b""
    while not received.endswith(b"\n"):
        if not (part := link.recv(1 << 16)):
            return
        received += part
    request = json.loads(received)
    process = os.fork()
    if not process:
        os._exit(run(request))
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            link.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            return
        if select.select([link], [], [], 0.05)[0]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return


def run(request: dict[str, Any]) -> int:
    die_with_parent()
    silence(request["output"])
    os.environ.update(request["environment"])
    sys.argv = ["-c", *request["arguments"]]
    try:
        exec(request["code"], {"sys": sys})
    except SystemExit as end:
        return int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    die_with_parent()
    serve(sys.argv[1])
