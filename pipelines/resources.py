"""What each step gets in a cloud: machine, time limit, retries and secrets, from one YAML file."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from greenlight.core.errors import InputError
from greenlight.core.history import STEPS
from greenlight.core.yaml_file import read_shipped

ALL_STEPS = (*STEPS, "report")
VERDICTS = ("gate",)
"""Steps that judge. They are never retried: to judge twice would be another test."""

_MEMORY = re.compile(r"([1-9]\d*)(Mi|Gi|M|G)")
_BYTES = {"Mi": 2**20, "Gi": 2**30, "M": 10**6, "G": 10**9}


def _check_memory(memory: str) -> str:
    if not _MEMORY.fullmatch(memory):
        raise ValueError("write a number and Mi, Gi, M or G, such as 16Gi")
    return memory


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Accelerator(_Part):
    """GPUs of one step."""

    type: Annotated[str, Field(pattern=r"^nvidia-[a-z0-9-]+$")]
    """As GKE names it: nvidia-l4, nvidia-tesla-t4, nvidia-a100-80gb, nvidia-h100-80gb."""
    count: Literal[1, 2, 4, 8] = 1

    @property
    def vertex_type(self) -> str:
        return self.type.upper().replace("-", "_")


class Retries(_Part):
    """How often a failed step is retried, and after how many seconds."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    longest_seconds: Annotated[int, Field(ge=1, le=3600)] = 600


class Secret(_Part):
    """An environment variable whose value comes from where secrets are kept."""

    env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    kubernetes_secret: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    key: Annotated[str, Field(min_length=1)]
    secret_manager: Annotated[
        str, Field(pattern=r"^(projects/[^/]+/secrets/)?[A-Za-z0-9_-]+(/versions/[a-z0-9]+)?$")
    ]
    """A name in the pipeline's own project, or projects/P/secrets/NAME; a version may follow, else
    it is the latest.
    """


class Toleration(_Part):
    """A taint that the step's pod can bear, as Kubernetes writes it."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class StepResources(_Part):
    """What one step gets."""

    cpu: Annotated[float, Field(gt=0, le=416)]
    memory: Annotated[str, AfterValidator(_check_memory)]
    timeout_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)]
    retries: Retries
    accelerator: Accelerator | None = None
    spot: bool = False
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @property
    def memory_gb(self) -> float:
        """In 10^9 bytes, as Vertex counts."""
        match = _MEMORY.fullmatch(self.memory)
        assert match
        return int(match[1]) * _BYTES[match[2]] / 1e9


class Resources(_Part):
    """The file. `defaults` hold for each step that does not set a key itself."""

    defaults: dict[str, Any]
    steps: dict[str, dict[str, Any]] = {}


def load_resources(path: str = "") -> dict[str, StepResources]:
    """The resources of every step.

    Args:
        path: of a YAML file. Empty: the shipped one.

    Raises:
        InputError: names the key, its value and the fix.
    """
    name = path or "resources.yaml"
    try:
        text = Path(path).read_text() if path else read_shipped(name)
        read = Resources.model_validate(yaml.safe_load(text) or {})
    except OSError as error:
        raise InputError(
            "resources",
            path,
            f"{error.strerror or error}; give the path of a YAML file like"
            " pipelines/resources.yaml",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            "resources", name, f"is not valid YAML; {' '.join(str(error).split())}"
        ) from None
    except ValidationError as error:
        raise InputError("resources", name, _explain("", error)) from None
    if unknown := sorted(set(read.steps) - set(ALL_STEPS)):
        raise InputError(
            "resources",
            name,
            f"steps.{unknown[0]}: there is no such step; the steps are {', '.join(ALL_STEPS)}",
        )
    found = {}
    # the defaults by themselves first, so that a mistake there is named there
    for step in (
        "",
        *ALL_STEPS,
    ):
        own = read.steps.get(step) or {}
        try:
            found[step] = StepResources.model_validate({**read.defaults, **own})
        except ValidationError as error:
            raise InputError(
                "resources", name, _explain(f"steps.{step}." if step else "defaults.", error)
            ) from None
    for step in VERDICTS:
        if attempts := found[step].retries.attempts:
            raise InputError(
                "resources",
                name,
                f"steps.{step}.retries.attempts is {attempts}: write 0; this step gives a verdict,"
                " which is asked for once",
            )
    del found[""]
    return found


def _explain(prefix: str, error: ValidationError) -> str:
    """The first problem: which key, its value, what to write."""
    first = error.errors()[0]
    where = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return (
            f"{where}: no such key; remove it, or see pipelines/resources.yaml for those there are"
        )
    if first["type"] == "missing":
        return f"{where}: is missing; add it"
    return f"{where} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
