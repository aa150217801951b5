"""The typed records that pass from room to room.

A record is the payload of one artifact: `record.json` in the artifact's folder, written last, so
that a folder with a readable record is a complete one. Raw samples lie beside it as Parquet; the
files of a model lie in `model/`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from greenlight.core.errors import IntegrityError
from greenlight.core.files import write_file

RECORD_FILE = "record.json"
MODEL_FOLDER = "model"

Color = Literal["blue", "green"]
Format = Literal["safetensors", "bitsandbytes", "compressed-tensors", "openvino"]
Verdict = Literal["promote", "reject", "inconclusive"]
Action = Literal["promote", "hold", "retire"]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Part(BaseModel):
    """A piece of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Record(Part):
    """The payload of one artifact."""

    schema_version: Literal[1] = 1

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
            raise IntegrityError(
                f"{path} is not a {cls.__name__} record ({error.error_count()} problems, first:"
                f" {error.errors()[0]['msg']}). Run the step that makes it again."
            ) from None
