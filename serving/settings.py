"""The server's settings: read from the environment once, validated at start, listed by `python -m
greenlight.serving --help`.
"""

import math
import os
import textwrap
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from greenlight.core.errors import InputError
from greenlight.serving.engines.precision import Precision


class Settings(BaseSettings):
    """Every field that is not given is read from the environment variable of the same name in
    capitals. An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    model_id: str = Field(
        min_length=1,
        description=(
            "Hub id, gs:// prefix, or path of a model folder or a Model artifact (record.json and"
            " model/)."
        ),
    )
    model_revision: str = Field("", description="Branch, tag or commit of a hub model.")
    model_cache: str = Field(
        "~/.cache/greenlight/models",
        description=(
            "Folder that models of the hub or of a bucket are downloaded to. Complete downloads "
            "are kept."
        ),
    )
    hf_token: SecretStr = Field(
        SecretStr(""), description=("Token of the Hugging Face hub, for private and gated models.")
    )
    use_4bit: bool = Field(
        False,
        description=(
            "Whether to load a plain checkpoint with bitsandbytes in 4 bits (nf4). For the "
            "transformers engine."
        ),
    )
    engine: Literal["auto", "openvino", "transformers", "vllm"] = Field(
        "auto", description=("Engine that decodes. auto takes the one that suits the artifact.")
    )
    precision: Precision = Field(
        "fast",
        description=(
            "fast computes in the data type that is fastest on this CPU; where two tokens are"
            " almost equally likely, a greedy text may depend on the requests beside it. exact"
            " computes in 32 bits, so that it does not, at about half the tokens/s under load and"
            " 3.6 times the KV cache."
        ),
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port to listen on. 0 takes a free one, which the log names.",
    )
    default_max_length: int = Field(
        128,
        ge=1,
        le=1_000_000,
        description=(
            "Maximum number of new tokens of a request that names none. Shortened to what the "
            "context leaves."
        ),
    )
    default_temperature: float = Field(
        0.7,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="Temperature of a request that names none. 0 is greedy.",
    )
    streaming_mode: bool = Field(
        False, description="Whether /generate streams when a request does not say."
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description=(
            "Keys separated by commas. Each request must bear one (Authorization: Bearer KEY). "
            "Empty: open to all."
        ),
    )
    cors_origins: str = Field(
        "",
        description=(
            "Origins separated by commas whose web pages may read answers. * stands for any."
        ),
    )
    release_id: str = Field(
        "",
        pattern=r"^[!-~]{0,200}$",
        description=("Release that /version, the metrics and the header X-Release-Id report."),
    )
    stable_url: str = Field(
        "",
        pattern=r"^(http://[!-~]+)?$",
        description=(
            "URL of the stable endpoint. A server that lost the traffic to another release there "
            "ends kept-alive connections."
        ),
    )
    model_digest: str = Field(
        "", description=("Digest that /version reports when the artifact has no record.json.")
    )
    max_running: int = Field(
        64,
        ge=1,
        le=4096,
        description=("Maximum number of requests that the engine decodes together."),
    )
    max_queue: int = Field(
        256,
        ge=0,
        le=100_000,
        description=("Maximum number of requests that wait for a place. One more is answered 429."),
    )
    max_prompt_tokens: int = Field(
        0,
        ge=0,
        description=(
            "Maximum length of a prompt in tokens. 0: as long as the model's context allows."
        ),
    )
    max_new_tokens: int = Field(
        0,
        ge=0,
        description=(
            "Maximum number of new tokens that a request may ask for. 0: as many as the model's "
            "context leaves."
        ),
    )
    request_timeout: float = Field(
        600,
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description=(
            "Maximum duration of a request in seconds, waiting included. After it the request "
            "ends with 408."
        ),
    )
    max_body_bytes: int = Field(
        4 << 20,
        ge=1024,
        description=("Maximum length of a request's body in bytes. A longer one is answered 413."),
    )
    grace_seconds: float = Field(
        30,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds that streams in flight may go on after SIGTERM.",
    )
    num_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description=("Number of threads of the engine. 0: as many as this process may use cores."),
    )
    kv_cache_mb: int = Field(
        0,
        ge=0,
        description=(
            "Memory for the KV cache in MB. 0: what MAX_RUNNING full contexts need, at most a "
            "quarter of the memory."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description=(
            "Lowest level of the lines that are logged. debug adds a line per request. Prompts "
            "and outputs are never logged."
        ),
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Raises InputError that names the variable, its value and what to write instead."""
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0])
            value = "" if problem["type"] == "missing" else problem["input"]
            field = cls.model_fields[name]
            raise InputError(
                name.upper(),
                "(hidden)" if name in SECRETS else value,
                f"set it to {_expected(field)}. {field.description}".rstrip("."),
            ) from None


SECRETS = tuple(
    name for name, field in Settings.model_fields.items() if field.annotation is SecretStr
)


def _expected(field: FieldInfo) -> str:
    """What a value must look like, for people."""
    if choices := get_args(field.annotation):
        return " or ".join(choices)
    if field.annotation is bool:
        return "true or false"
    if field.annotation in (str, SecretStr):
        if field.description and field.description.startswith("URL"):
            return "a URL that starts with http://"
        return (
            "a text without spaces"
            if any(hasattr(item, "pattern") for item in field.metadata)
            else "a text"
        )
    bounds = {type(item).__name__.lower(): item for item in field.metadata}
    low = getattr(bounds.get("ge"), "ge", getattr(bounds.get("gt"), "gt", None))
    high = getattr(bounds.get("le"), "le", None)
    kind = "a whole number" if field.annotation is int else "a number"
    return f"{kind} from {low} to {high}" if high is not None else f"{kind} of at least {low}"


def help_text() -> str:
    def default(field: FieldInfo) -> str:
        return "required" if field.is_required() else f"default {str(field.default) or 'empty'}"

    lines = [
        "Usage: MODEL_ID=<folder> python -m greenlight.serving",
        "",
        "Serves one model over HTTP. Settings come from the environment:",
        "",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"  {name.upper():<20} {_expected(field)}, {default(field)}")
        lines += textwrap.wrap(
            str(field.description), 100, initial_indent=" " * 23, subsequent_indent=" " * 23
        )
    lines += [
        "",
        (
            "SIGTERM drains: not ready at once, streams in flight finish within GRACE_SECONDS, then"
            " exit 0. A second one exits at once."
        ),
        (
            "Exit codes: 0 drained, 1 the engine failed, 2 a setting is unusable, 143 ended by a"
            " second SIGTERM, or by one before it served."
        ),
    ]
    return "\n".join(lines)


def available_cores() -> int:
    """Cores that this process may use: its affinity, and below that the CPU limit of its
    container.
    """
    cores = len(os.sched_getaffinity(0))
    quota, period = _cgroup_numbers("cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    return max(1, min(cores, math.ceil(quota / period))) if quota and period else cores


def available_memory() -> int:
    """Bytes that this process and its children may use: the machine's memory, and below that the
    limit of its container.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, _ = _cgroup_numbers("memory.max", "memory/memory.limit_in_bytes")
    return min(memory, limit) if limit else memory


def _cgroup_numbers(v2: str, *v1: str) -> tuple[int, int]:
    """The numbers of a limit, of cgroups v2 (one file) or v1 (one file per number). (0, 0) where
    there is no limit.
    """
    root = Path("/sys/fs/cgroup")
    for files in ((v2,), v1):
        try:
            words: list[Any] = [
                word for file in files for word in (root / file).read_text().split()
            ]
        except OSError:
            continue
        if not all(word.isdigit() for word in words):  # `max` in v2, -1 in v1
            return 0, 0
        return int(words[0]), int(words[1]) if len(words) > 1 else 0
    return 0, 0
