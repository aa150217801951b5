"""The typed records that pass from step to step.

A record is the payload of one artifact: `record.json` in the artifact's folder, written last, so
that a folder with a readable record is a complete one. Raw samples lie beside it as Parquet; the
files of a model lie in `model/`.
"""

import logging
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic import ValidationInfo as Info
from pydantic_core import PydanticCustomError

from greenlight.core.errors import IntegrityError
from greenlight.core.files import write_file

log = logging.getLogger("greenlight.core.records")

SCHEMA_VERSION: Final = 1
"""Of records that this version writes and reads. It moves when an old reader would misread one; a
field that is added does not move it.
"""
NEWER_SCHEMA = "newer_schema"
RECORD_FILE = "record.json"
MODEL_FOLDER = "model"

Color = Literal["blue", "green"]
Format = Literal["safetensors", "bitsandbytes", "compressed-tensors", "openvino"]
Verdict = Literal["promote", "reject", "inconclusive"]
Action = Literal["promote", "hold", "retire"]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Part(BaseModel):
    """A piece of a record. Made in code it refuses what it does not know. Read from JSON it leaves
    out fields that a newer version has added, and warns once of each; a wrong value fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    @model_validator(mode="wrap")
    @classmethod
    def _read_newer(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: Info) -> Self:
        if info.mode != "json" or not isinstance(data, dict):
            return handler(data)
        if (schema := data.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
            raise PydanticCustomError(
                NEWER_SCHEMA,
                "schema_version is {schema}, and this version of Greenlight reads {known}: use the"
                " version that wrote it, or a newer one",
                {"schema": schema, "known": SCHEMA_VERSION},
            )
        unknown = sorted(data.keys() - cls.model_fields.keys())
        read = handler({name: value for name, value in data.items() if name in cls.model_fields})
        if unknown:
            _warn_of_newer(cls.__name__, ", ".join(unknown))
        return read


@cache
def _warn_of_newer(kind: str, fields: str) -> None:
    """Once per kind and fields: a history holds many records."""
    log.warning(
        "%s: a newer version of Greenlight wrote fields that this one does not know and leaves"
        " out: %s",
        kind,
        fields,
    )


class Record(Part):
    """The payload of one artifact."""

    schema_version: Literal[1] = SCHEMA_VERSION

    def save(self, folder: Path | str) -> Path:
        """Write `record.json` into `folder`, atomically and durably. Call it after everything else
        in there is written.
        """
        path = Path(folder) / RECORD_FILE
        write_file(path, self.model_dump_json(indent=2) + "\n")
        return path

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the record of an artifact's folder.

        Raises:
            IntegrityError: there is no record (the artifact is incomplete) or it is not one of this
                kind.
        """
        path = Path(folder) / RECORD_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise IntegrityError(
                f"{folder} holds no {RECORD_FILE}: it is not a complete {cls.__name__} artifact."
                " Run the step that makes it again."
            ) from None
        except ValidationError as error:
            if error.errors()[0]["type"] == NEWER_SCHEMA:
                raise IntegrityError(f"{path}: {error.errors()[0]['msg']}.") from None
            raise IntegrityError(
                f"{path} is not a {cls.__name__} record ({error.error_count()} problems, first:"
                f" {error.errors()[0]['msg']}). Run the step that makes it again."
            ) from None
