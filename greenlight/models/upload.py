"""Models of local runs, brought to where a cluster can load them from."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from greenlight.core import storage
from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.history import BUILDS
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, Model

log = logging.getLogger("greenlight.deploy_green")

PARALLEL = 8


def upload_to_bucket(folder: Path, uri: str, history: str) -> str:
    """The gs:// prefix of a Model artifact: its own, or where it was uploaded to, by its digest.
    What lies there already is not sent again.

    The record goes last, so that an upload that was killed is no artifact. Each object's crc32c is
    compared by the client.

    Raises:
        InputError: the history is no bucket.
        IntegrityError: the bucket holds something else under that digest.
        GreenlightError: the bucket cannot be written.
    """
    if uri.startswith("gs://"):
        return uri
    if not history.startswith("gs://"):
        raise InputError(
            "history",
            history,
            "a cluster loads models from a bucket; give a gs:// prefix, beside which this run's"
            " models are uploaded",
        )
    model = Model.load(folder)
    place = storage.join(history, BUILDS, "models", model.digest)
    try:
        there = storage.read_bytes(storage.join(place, RECORD_FILE))
        if Model.model_validate_json(there).digest != model.digest:
            raise IntegrityError(
                f"{place} holds another model than its name says. Remove it, then run this again."
            )
        return place
    except FileNotFoundError:
        pass
    log.info(
        "uploading %d files, %.1f MB, to %s",
        len(model.files),
        model.bytes / 1e6,
        place,
        extra={"figure": f"uploading {model.bytes / 1e6:.0f} MB"},
    )
    try:
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(
                pool.map(
                    lambda name: storage.upload_file(
                        folder / MODEL_FOLDER / name, storage.join(place, MODEL_FOLDER, name)
                    ),
                    model.files,
                )
            )
        storage.write_bytes(storage.join(place, RECORD_FILE), (folder / RECORD_FILE).read_bytes())
    except GreenlightError:
        raise
    except Exception as error:
        raise GreenlightError(
            f"{place} could not be written: {error}. Check the bucket and its permissions, then run"
            " this again."
        ) from error
    return place
