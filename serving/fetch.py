"""MODEL_ID on this machine: models of the hub and of buckets are fetched once, verified, and kept."""

import hashlib
import os
from pathlib import Path

from components.errors import InputError
from serving.logs import log
from serving.settings import Settings


def on_this_machine(settings: Settings) -> str:
    """The folder of the model that MODEL_ID names. A folder is taken where it lies; what was fetched before is verified and kept.

    Raises:
        InputError: MODEL_ID names nothing that can be fetched.
        IntegrityError: its bytes are not what they should be.
        GreenlightError: the hub or the bucket cannot be reached, or the disk is full.
    """
    model, revision = settings.model_id, settings.model_revision
    remote = model.startswith("gs:") or (not os.path.exists(model) and model[0] not in "/.~" and model.count("/") == 1)
    if not remote:
        return model
    from components.download.bucket import ArtifactSource  # half a second, that a folder need not wait for
    from components.download.sources import parse_source
    from components.download.work import download_artifact, download_model

    folder = Path(settings.model_cache).expanduser() / hashlib.sha256(f"{model}@{revision}".encode()).hexdigest()[:16]
    log.info("fetching", extra={"fields": {"model": model, "folder": str(folder)}})
    try:
        source = parse_source(model, revision)
        artifact = ArtifactSource.at(model) if model.startswith("gs:") else None
        record = download_artifact(artifact, folder) if artifact else download_model(source, source.resolve(), folder, quantized_too=True)
    except InputError as error:
        raise InputError("MODEL_REVISION" if error.field == "revision" else "MODEL_ID", error.value, error.fix) from None
    except OSError as error:
        raise InputError("MODEL_CACHE", settings.model_cache, f"cannot be written to ({error.strerror}); name a folder that can") from None
    record.save(folder)
    log.info("fetched", extra={"fields": {"model": model, "bytes": record.bytes, "seconds": round(record.seconds, 3)}})
    return str(folder)
