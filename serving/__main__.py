"""`python -m greenlight.serving`: check the settings, start the engine's process, and serve."""

import os
import socket
import sys

from greenlight.core.errors import GreenlightError, InputError
from greenlight.serving.artifact import Artifact
from greenlight.serving.engine_config import engine_config
from greenlight.serving.engine_process import EngineProcess
from greenlight.serving.fetch import end_on_sigterm, on_this_machine
from greenlight.serving.logs import start_logging
from greenlight.serving.settings import Settings, help_text


def main() -> int:
    if sys.argv[1:]:
        print(help_text())
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        settings = Settings.from_environment()
        start_logging(settings.log_level)
        listener = listen(settings.host, settings.port)
        artifact = Artifact.open(on_this_machine(settings))
        kind = artifact.choose_engine(settings.engine)
        config = engine_config(settings, artifact, kind)
    except GreenlightError as error:
        print(error, file=sys.stderr)
        return 2
    engine = EngineProcess(config)  # loads the model while the imports below go on
    try:
        from greenlight.serving.admission import Admission
        from greenlight.serving.server import Lifecycle

        return Lifecycle(Admission(settings, artifact, kind.name, engine), listener).run()
    except GreenlightError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        engine.stop()


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded. Raises InputError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except socket.gaierror:
        raise InputError(
            "HOST",
            host,
            "is no address of this machine; 127.0.0.1 is reached from this machine alone, 0.0.0.0"
            " from everywhere",
        ) from None
    except OSError as error:
        raise InputError(
            "PORT",
            port,
            f"cannot be listened on at {host} ({error.strerror}); choose a free port, or end what"
            " uses it",
        ) from None
    return listener


if __name__ == "__main__":
    end_on_sigterm()
    code = main()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do that could hold up the end
