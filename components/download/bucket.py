"""A model under a gs:// prefix. Credentials are those of the machine (application default); STORAGE_EMULATOR_HOST needs none."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from components.download.selection import choose
from components.download.sources import Source, SourceFile
from components.errors import GreenlightError, InputError, IntegrityError
from components.records import MODEL_FOLDER, RECORD_FILE, Model

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

CHUNK = 16 * 2**20  # bytes a request; what a kill loses at most
LISTING_SECONDS = 10.0


class BucketSource(Source):
    """The objects directly below a prefix. They are read at the generation that was listed: an overwrite cannot mix in."""

    library = "google-cloud-storage"

    def __init__(self, name: str) -> None:
        self.name = name
        self.bucket, _, prefix = name.removeprefix("gs://").partition("/")
        self.prefix = prefix.rstrip("/") + "/" if prefix else ""

    def check(self) -> None:
        self._chosen()

    def resolve(self) -> str:
        return _commit(self._chosen())

    def list_files(self, commit: str) -> list[SourceFile]:
        files = self._chosen()
        if _commit(files) != commit:
            raise IntegrityError(f"{self.name} has changed since it was resolved to {commit[:12]}. Run again to take it as it is now.")
        return files

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        blob = self._client.bucket(self.bucket).blob(self.prefix + file.path, generation=int(file.version))
        with self._errors(), open(partial, "ab") as out:
            while (offset := out.tell()) < file.size:
                end = min(offset + CHUNK, file.size) - 1
                # Raw: as stored, so that compressed objects are what their checksum says. The caller checks the whole.
                out.write(blob.download_as_bytes(start=offset, end=end, raw_download=True, checksum=None))
                out.flush()

    def _chosen(self) -> list[SourceFile]:
        """The files to take, sorted."""
        blobs = self._listing()
        return [
            SourceFile(name, blobs[name].size, "crc32c", base64.b64decode(blobs[name].crc32c).hex(), str(blobs[name].generation))
            for name in choose(self.name, blobs)
        ]

    def _listing(self) -> dict[str, "Blob"]:
        """The objects directly below the prefix, by what their names have beyond it."""
        with self._errors():
            listing = self._client.list_blobs(
                self.bucket,
                prefix=self.prefix,
                delimiter="/",
                fields="items(name,size,generation,crc32c),nextPageToken",
                timeout=LISTING_SECONDS,
            )
            blobs = {blob.name.removeprefix(self.prefix): blob for blob in listing}
        if not blobs:
            raise InputError("model", self.name, "there is no object directly below this prefix; give the one that holds config.json")
        return blobs

    @cached_property
    def _client(self) -> "Client":
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage

        try:
            return storage.Client()
        except DefaultCredentialsError:
            raise GreenlightError(f"No Google Cloud credentials to read {self.name}. Run `gcloud auth application-default login` and try again.") from None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except NotFound:
            raise InputError("model", self.name, "there is no such bucket, or an object was replaced meanwhile; check the name and run again") from None
        except (Forbidden, Unauthorized):
            raise GreenlightError(f"No permission to read {self.name}. Grant this identity roles/storage.objectViewer on the bucket {self.bucket}.") from None
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise GreenlightError(f"{self.name} could not be read: {error}. Check the network, and run again: it goes on where it stopped.") from error


class ArtifactSource(BucketSource):
    """A Model artifact under a prefix: `record.json`, and in `model/` the files that it lists."""

    def __init__(self, name: str, record: Model) -> None:
        super().__init__(name)
        self.record = record
        self.prefix += f"{MODEL_FOLDER}/"

    @classmethod
    def at(cls, name: str) -> Self | None:
        """The artifact at a gs:// prefix. None where no record says that there is one."""
        place = BucketSource(name)
        with place._errors():
            blob = place._client.bucket(place.bucket).get_blob(place.prefix + RECORD_FILE, timeout=LISTING_SECONDS)
            data = blob.download_as_bytes() if blob else None
        try:
            return cls(name, Model.model_validate_json(data)) if data is not None else None
        except ValidationError:
            raise IntegrityError(f"{name}/{RECORD_FILE} is not the record of a Model. Give the folder of one, or of a plain checkpoint.") from None

    def list_files(self, commit: str) -> list[SourceFile]:
        blobs = self._listing()
        if missing := sorted(self.record.files.keys() - blobs.keys()):
            raise IntegrityError(f"{self.name} lacks {len(missing)} files of its record, first {missing[0]}. Run the step that made it again.")
        return [SourceFile(name, entry.size, "sha256", entry.sha256, str(blobs[name].generation)) for name, entry in sorted(self.record.files.items())]


def _commit(files: list[SourceFile]) -> str:
    lines = [f"{file.path} {file.size} {file.version} {file.checksum}\n" for file in files]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
