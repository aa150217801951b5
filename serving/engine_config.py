"""What an engine gets at start, from the server's settings and the model's artifact."""

from greenlight.core.errors import InputError
from greenlight.serving.artifact import Artifact
from greenlight.serving.engines.base import EngineConfig
from greenlight.serving.engines.registry import HAS_GPU, EngineKind
from greenlight.serving.settings import Settings, available_cores, available_memory


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
