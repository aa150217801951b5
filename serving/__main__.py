"""`python -m greenlight.serving`: check the settings, start the engine's process, and serve."""

import os
import socket
import sys

from greenlight.core.errors import GreenlightError, InputError
from greenlight.serving.artifact import Artifact
from greenlight.serving.engine_process import EngineProcess
from greenlight.serving.engines.base import EngineConfig
from greenlight.serving.engines.registry import HAS_GPU, EngineKind
from greenlight.serving.fetch import end_on_sigterm, on_this_machine
from greenlight.serving.logs import start_logging
from greenlight.serving.settings import Settings, available_cores, available_memory, help_text


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


def engine_config(settings: Settings, artifact: Artifact, kind: EngineKind) -> EngineConfig:
    """What the engine gets at start.

    Raises:
        InputError: a setting does not suit the artifact, or the KV cache would not hold a single
            context.
    """
    if settings.use_4bit and (artifact.format, kind.name) != ("safetensors", "transformers"):
        raise InputError(
            "USE_4BIT",
            settings.use_4bit,
            f"is for plain checkpoints on the transformers engine, and this is a {artifact.format}"
            " model; unset it",
        )
    on_gpu = HAS_GPU and kind.name != "openvino"
    if settings.precision == "exact" and (
        on_gpu or settings.use_4bit or artifact.format not in kind.exact_formats
    ):
        raise InputError(
            "PRECISION",
            settings.precision,
            "is for OpenVINO models and for plain checkpoints on a CPU, and this is a"
            f" {artifact.format} model on the {kind.name} engine{' on a GPU' if on_gpu else ''};"
            " set it to fast, or serve an OpenVINO model",
        )
    kv_bytes = kind.kv_bytes[settings.precision]
    wanted = settings.max_running * artifact.context
    limit = settings.kv_cache_mb * 1_000_000 or available_memory() // 4
    fits = int(limit / (max(1, artifact.kv_numbers) * kv_bytes))
    if fits < artifact.context:
        needed = artifact.context * artifact.kv_numbers * kv_bytes / 1e6
        raise InputError(
            "KV_CACHE_MB",
            settings.kv_cache_mb,
            f"a context of {artifact.context} tokens needs {needed:.0f}; raise it, or the memory of"
            " this machine",
        )
    return EngineConfig(
        engine=kind.name,
        folder=str(artifact.folder),
        context=artifact.context,
        eos=artifact.eos,
        max_running=settings.max_running,
        kv_tokens=min(wanted, fits),
        threads=settings.num_threads or available_cores(),
        four_bit=settings.use_4bit,
        precision=settings.precision,
    )


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
