"""MODEL_ID on this machine: models of the hub and of buckets are fetched once, verified, and
kept.
"""

import hashlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Model
from greenlight.serving.logs import log, start_logging
from greenlight.serving.settings import Settings


def on_this_machine(settings: Settings) -> str:
    """The folder of the model that MODEL_ID names. A folder is taken where it lies; what was
    fetched before is verified and kept.

    Raises:
        InputError: MODEL_ID names nothing that can be fetched.
        IntegrityError: its bytes are not what they should be.
        GreenlightError: the hub or the bucket cannot be reached, or the disk is full.
    """
    model, revision = settings.model_id, settings.model_revision
    remote = model.startswith("gs:") or (
        not os.path.exists(model) and model[0] not in "/.~" and model.count("/") == 1
    )
    if not remote:
        return model
    folder = (
        Path(settings.model_cache).expanduser()
        / hashlib.sha256(f"{model}@{revision}".encode()).hexdigest()[:16]
    )
    try:
        fetch(model, revision, folder)
    except InputError as error:
        raise InputError(
            "MODEL_REVISION" if error.field == "revision" else "MODEL_ID", error.value, error.fix
        ) from None
    except OSError as error:
        raise InputError(
            "MODEL_CACHE",
            settings.model_cache,
            f"cannot be written to ({error.strerror}); name a folder that can",
        ) from None
    return str(folder)


def fetch(model: str, revision: str, folder: Path) -> Model:
    """Bring a model of the hub or a bucket to a folder, as a Model artifact. Goes on where it was
    stopped. Raises: as `on_this_machine`.
    """
    from greenlight.models.bucket import (
        ArtifactSource,  # half a second, that a folder need not wait for
    )
    from greenlight.models.download import download_artifact, download_model
    from greenlight.models.open_source import parse_source

    log.info("fetching", extra={"fields": {"model": model, "folder": str(folder)}})
    source = parse_source(model, revision)
    artifact = ArtifactSource.at(model) if model.startswith("gs:") else None
    record = (
        download_artifact(artifact, folder)
        if artifact
        else download_model(source, source.resolve(), folder, quantized_too=True)
    )
    record.save(folder)
    log.info(
        "fetched",
        extra={
            "fields": {
                "model": model,
                "digest": record.digest,
                "bytes": record.bytes,
                "seconds": round(record.seconds, 3),
            }
        },
    )
    return record


def link(uri: str, mount: Path, folder: Path) -> Model:
    """Make a folder a link to a model in the bucket that is mounted at `mount`. Reads every byte
    once: the server then loads from the mount's cache.

    Raises:
        InputError: the URI is of no bucket.
        IntegrityError: what lies there is not what its record says, or nothing is.
    """
    from greenlight.models.integrity import verify_model

    if not uri.startswith("gs://"):
        raise InputError(
            "MODEL_URI",
            uri,
            "MODEL_MOUNT is set: give a gs:// prefix in the bucket that is mounted there",
        )
    there = mount / uri.removeprefix("gs://").partition("/")[2]
    record = verify_model(there)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.unlink(missing_ok=True)
    folder.symlink_to(there, target_is_directory=True)
    log.info(
        "linked",
        extra={
            "fields": {
                "model": uri,
                "digest": record.digest,
                "bytes": record.bytes,
                "folder": str(there),
            }
        },
    )
    return record


def end_on_sigterm() -> None:
    """While nothing is served yet. Without a handler, a process that is the first of its container
    ignores the signal.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))


def main(folder: str, environment: Mapping[str, str] = os.environ) -> int:
    """What an init container runs: MODEL_URI, whose digest must be MODEL_DIGEST, is brought to a
    folder before the server starts.

    Where MODEL_MOUNT names the folder at which its bucket is mounted, the model is linked to
    instead.
    """
    start_logging("info")
    mount = environment.get("MODEL_MOUNT", "")
    uri, digest = environment.get("MODEL_URI", ""), environment.get("MODEL_DIGEST", "")
    try:
        if not uri:
            raise InputError(
                "MODEL_URI", uri, "set it to the gs:// prefix of a Model artifact, or to a hub id"
            )
        found = (
            link(uri, Path(mount), Path(folder))
            if mount
            else fetch(uri, environment.get("MODEL_REVISION", ""), Path(folder))
        )
        if digest and found.digest != digest:
            raise IntegrityError(
                f"{uri} holds a model with digest {found.digest[:12]}, not {digest[:12]}. Deploy it"
                " again."
            )
    except (GreenlightError, OSError) as error:
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, GreenlightError) else 1
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "/models/model"))
