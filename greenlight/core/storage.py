"""Small objects on a local folder or a gs:// prefix. Big files have their own ways: see
download/.
"""

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import Any


def is_remote(uri: str) -> bool:
    return uri.startswith("gs://")


def join(uri: str, *parts: str) -> str:
    return "/".join([uri.rstrip("/"), *parts])


def read_bytes(uri: str) -> bytes:
    """Raises FileNotFoundError when there is nothing at `uri`."""
    if not is_remote(uri):
        return Path(uri).read_bytes()
    from google.api_core.exceptions import NotFound

    try:
        return bytes(_blob(uri).download_as_bytes())
    except NotFound:
        raise FileNotFoundError(uri) from None


def write_bytes(uri: str, data: bytes) -> None:
    """Write the object whole or not at all."""
    if is_remote(uri):
        _blob(uri).upload_from_string(data)
        return
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def upload_file(path: Path, uri: str) -> None:
    """A local file as an object of a bucket, whole or not at all, its crc32c compared."""
    _blob(uri).upload_from_filename(str(path), checksum="crc32c")


def download_file(uri: str, path: Path) -> None:
    """An object of a bucket as a local file, its checksum compared. Raises FileNotFoundError when
    there is none.
    """
    from google.api_core.exceptions import NotFound

    try:
        _blob(uri).download_to_filename(str(path))
    except NotFound:
        path.unlink(missing_ok=True)
        raise FileNotFoundError(uri) from None


def delete(uri: str) -> None:
    """Remove one object. Nothing there is no error."""
    if not is_remote(uri):
        Path(uri).unlink(missing_ok=True)
        return
    from google.api_core.exceptions import NotFound

    with contextlib.suppress(NotFound):
        _blob(uri).delete()


def list_names(uri: str) -> list[str]:
    """Names directly below a prefix, sorted. Empty when there is nothing."""
    if not is_remote(uri):
        folder = Path(uri)
        return (
            sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
            if folder.is_dir()
            else []
        )
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    listing = _client().list_blobs(bucket, prefix=prefix, delimiter="/")
    names = {blob.name.removeprefix(prefix) for blob in listing}
    names |= {folder.removeprefix(prefix).rstrip("/") for folder in listing.prefixes}
    return sorted(names - {""})


@cache
def _client() -> Any:
    from google.cloud import storage  # slow to import, and a client finds its credentials once

    return storage.Client()


def _blob(uri: str) -> Any:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return _client().bucket(bucket).blob(name)
