"""A model folder to read from: an artifact with its record, or any plain full-precision
checkpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.core.errors import InputError
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, Model
from greenlight.models.checkpoint_checks import check_checkpoint, weight_bits
from greenlight.models.file_selection import names_in_folder
from greenlight.models.integrity import content_digest, describe_file, verify_model
from greenlight.models.tokenizer_checks import check_tokenizer_files, read_tokenizer_files


@dataclass(frozen=True)
class Checkpoint:
    """A complete, verified model. `folder` holds its files."""

    record: Model
    folder: Path

    def config(self) -> dict[str, Any]:
        """config.json."""
        found: dict[str, Any] = json.loads((self.folder / "config.json").read_bytes())
        return found


def open_checkpoint(field: str, folder: Path) -> Checkpoint:
    """Open and verify a Model artifact or a plain checkpoint folder.

    Args:
        field: the parameter that named it, for the error.

    Raises:
        InputError: it is neither, or has no tokenizer that can be read.
        IntegrityError: files of the artifact are missing or changed.
    """
    if (folder / RECORD_FILE).is_file() or (folder / MODEL_FOLDER).is_dir():
        checkpoint = Checkpoint(verify_model(folder), folder / MODEL_FOLDER)
    elif folder.is_dir():
        checkpoint = _plain(folder)
    else:
        raise InputError(
            field,
            str(folder),
            "there is no such folder; give a Model artifact or a checkpoint folder",
        )
    try:
        check_tokenizer_files(str(folder), read_tokenizer_files(checkpoint.folder))
    except InputError as error:
        raise InputError(field, str(folder), error.fix) from None
    return checkpoint


def _plain(folder: Path) -> Checkpoint:
    check_checkpoint(str(folder), folder)
    files = {name: describe_file(folder / name) for name in names_in_folder(str(folder), folder)}
    digest = content_digest(files)
    record = Model(
        role="baseline",
        source=folder.name,
        commit=digest,
        format="safetensors",
        bits=weight_bits(folder),
        digest=digest,
        files=files,
        bytes=sum(entry.size for entry in files.values()),
    )
    return Checkpoint(record, folder)
