"""A model under a gs:// prefix. Credentials are those of the machine (application default);
STORAGE_EMULATOR_HOST needs none.
"""

import base64
import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, Model
from greenlight.models.description import CHECKPOINT
from greenlight.models.file_selection import CONFIG
from greenlight.models.not_a_model import PIPELINE
from greenlight.models.source import Description, Kind, Source, SourceFile

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

log = logging.getLogger("greenlight.download")

CHUNK = 16 * 2**20  # bytes per request; a kill loses at most that
LISTING_SECONDS = 10.0
PARALLEL = 16  # listings at a time
MOST_CHECKPOINTS = 1000


@dataclass(frozen=True)
class Checkpoint:
    """The objects directly below a prefix that make a model."""

    prefix: str
    files: list[SourceFile]

    @property
    def commit(self) -> str:
        lines = [f"{file.path} {file.size} {file.version} {file.checksum}\n" for file in self.files]
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True)
class Listing:
    """What lies directly below a prefix: objects by what their names have beyond it, and the
    prefixes below.
    """

    prefix: str
    blobs: dict[str, "Blob"]
    below: list[str]

    @property
    def age(self) -> tuple[float, list[int], str]:
        """Sorts checkpoints: by when the last of the weights was written, then by the numbers in
        the name. Metadata that is changed later makes none newer.
        """
        times = {name: blob.time_created.timestamp() for name, blob in self.blobs.items()}
        weights = [time for name, time in times.items() if name.endswith(".safetensors")]
        return (
            max(weights or times.values(), default=0.0),
            [int(digits) for digits in re.findall(r"\d+", self.prefix)],
            self.prefix,
        )


class BucketSource(Source):
    """A prefix that is a checkpoint, with config.json directly below it; or one that holds several,
    of which the newest complete one is the model.

    Objects are read at the generation that was listed: an overwrite cannot mix in.
    """

    library = "google-cloud-storage"

    def __init__(self, name: str, kind: Kind = CHECKPOINT) -> None:
        self.name, self.kind = name, kind
        self.bucket, _, prefix = name.removeprefix("gs://").partition("/")
        self.prefix = prefix.rstrip("/") + "/" if prefix else ""
        self.place = self.prefix  # of the checkpoint that is fetched
        self._objects: dict[str, Blob] = {}  # directly below `place`

    def check(self) -> Description | None:
        return self.kind.check(self, self._newest(lambda *_: None).commit)

    def resolve(self) -> str:
        checkpoint = self._newest(log.warning)
        if checkpoint.prefix != self.prefix:
            self.found = f"gs://{self.bucket}/{checkpoint.prefix.rstrip('/')}"
            log.info("the newest complete checkpoint is %s", self.found)
        return checkpoint.commit

    def list_files(self, commit: str) -> list[SourceFile]:
        for listing in self._candidates():
            # one that is being written now is not what was resolved
            with contextlib.suppress(InputError):
                checkpoint = self._choose(listing)
                if checkpoint.commit == commit:
                    self._take(listing)
                    return checkpoint.files
        raise IntegrityError(
            f"{self.name} has changed since it was resolved to {commit[:12]}. Run again to take it"
            " as it is now."
        )

    def list_names(self, commit: str) -> dict[str, int]:
        if not self._objects:
            self.list_files(commit)
        return {name: blob.size for name, blob in self._objects.items()}

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        if not self._objects:
            self.list_files(commit)
        return self._read(self.place, self._objects, name, start, length)

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        blob = self._client.bucket(self.bucket).blob(
            self.place + file.name, generation=int(file.version)
        )
        with self._errors(), open(partial, "ab") as out:
            while (offset := out.tell()) < file.size:
                end = min(offset + CHUNK, file.size) - 1
                # Raw: as stored, so that compressed objects are what their checksum says. The
                # caller checks the whole.
                out.write(
                    blob.download_as_bytes(start=offset, end=end, raw_download=True, checksum=None)
                )
                out.flush()

    def _newest(self, report: Callable[..., None]) -> Checkpoint:
        """The newest checkpoint that is complete. `report` gets those that are newer and not
        complete, most likely because they are being written.
        """
        candidates = self._candidates()
        if candidates[0].prefix == self.prefix:
            self._take(candidates[0])
            return self._choose(candidates[0])
        problems = []
        for listing in candidates:
            try:
                checkpoint = self._choose(listing)
                self._take(listing)
                return checkpoint
            except InputError as error:
                problems.append(
                    f"{listing.prefix.removeprefix(self.prefix).rstrip('/')}: {error.fix}"
                )
                report(
                    "skipped gs://%s/%s, which is not complete (%s)",
                    self.bucket,
                    listing.prefix.rstrip("/"),
                    error.fix,
                )
        shown = "; ".join(problems[:3])
        raise InputError(
            "model",
            self.name,
            f"it holds no config.json, and no complete checkpoint directly below it ({shown}); give"
            " a checkpoint's own prefix",
        )

    def _candidates(self) -> list[Listing]:
        """The prefix itself, when it is a checkpoint or a pipeline of several models; else those
        below it, the newest first.
        """
        listing = self._listing(self.prefix)
        whole = listing.blobs.keys() & {CONFIG, PIPELINE} or self.kind is not CHECKPOINT
        if whole or not listing.below:
            return [listing]
        if len(listing.below) > MOST_CHECKPOINTS:
            raise InputError(
                "model",
                self.name,
                f"it holds {len(listing.below):,} prefixes, more than can be checkpoints; give a"
                " longer one",
            )
        with ThreadPoolExecutor(PARALLEL) as pool:
            return sorted(
                pool.map(self._listing, listing.below), key=lambda each: each.age, reverse=True
            )

    def _choose(self, listing: Listing) -> Checkpoint:
        """The files to take, sorted. Raises InputError when they are no model."""
        if not listing.blobs:
            raise InputError(
                "model",
                self.name,
                "there is no object directly below this prefix; give the one that holds"
                " config.json",
            )
        chosen = self.kind.choose(
            self.name,
            listing.blobs,
            lambda name: self._read(listing.prefix, listing.blobs, name),
        )
        files = [
            SourceFile(
                path,
                (blob := listing.blobs[name]).size,
                "crc32c",
                base64.b64decode(blob.crc32c).hex(),
                str(blob.generation),
                name,
            )
            for name, path in chosen.files.items()
        ]
        return Checkpoint(listing.prefix, files)

    def _take(self, listing: Listing) -> None:
        """From now on this checkpoint is read."""
        self.place, self._objects = listing.prefix, listing.blobs

    def _read(
        self,
        prefix: str,
        blobs: dict[str, "Blob"],
        name: str,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        if length == 0 or blobs[name].size == 0:
            return b""
        with self._errors():
            blob = self._client.bucket(self.bucket).blob(
                prefix + name, generation=blobs[name].generation
            )
            found: bytes = blob.download_as_bytes(
                start=start,
                end=None if length is None else start + length - 1,
                raw_download=True,
                checksum=None,
            )
            return found

    def _listing(self, prefix: str) -> Listing:
        with self._errors():
            pages = self._client.list_blobs(
                self.bucket,
                prefix=prefix,
                delimiter="/",
                fields="items(name,size,generation,crc32c,timeCreated),prefixes,nextPageToken",
                timeout=LISTING_SECONDS,
            )
            # a console's folder is an object of that name
            blobs = {blob.name.removeprefix(prefix): blob for blob in pages if blob.name != prefix}
            return Listing(prefix, blobs, sorted(pages.prefixes))

    @cached_property
    def _client(self) -> "Client":
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage

        try:
            return storage.Client()
        except DefaultCredentialsError:
            raise GreenlightError(
                f"No Google Cloud credentials to read {self.name}. Run `gcloud auth"
                " application-default login` and try again."
            ) from None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except NotFound:
            raise InputError(
                "model",
                self.name,
                "there is no such bucket, or an object was replaced meanwhile; check the name and"
                " run again",
            ) from None
        except (Forbidden, Unauthorized):
            raise GreenlightError(
                f"No permission to read {self.name}. Grant this identity roles/storage.objectViewer"
                f" on the bucket {self.bucket}."
            ) from None
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise GreenlightError(
                f"{self.name} could not be read: {error}. Check the network, and run again: it goes"
                " on where it stopped."
            ) from error


class ArtifactSource(BucketSource):
    """A Model artifact under a prefix: `record.json`, and in `model/` the files that it lists."""

    def __init__(self, name: str, record: Model) -> None:
        super().__init__(name)
        self.record = record
        self.place = self.prefix = f"{self.prefix}{MODEL_FOLDER}/"

    @classmethod
    def at(cls, name: str) -> Self | None:
        """The artifact at a gs:// prefix. None where no record says that there is one."""
        place = BucketSource(name)
        with place._errors():
            blob = place._client.bucket(place.bucket).get_blob(
                place.prefix + RECORD_FILE, timeout=LISTING_SECONDS
            )
            data = blob.download_as_bytes() if blob else None
        try:
            return cls(name, Model.model_validate_json(data)) if data is not None else None
        except ValidationError:
            raise IntegrityError(
                f"{name}/{RECORD_FILE} is not the record of a Model. Give the folder of one, or of"
                " a plain checkpoint."
            ) from None

    def list_files(self, commit: str) -> list[SourceFile]:
        blobs = self._listing(self.prefix).blobs
        if missing := sorted(self.record.files.keys() - blobs.keys()):
            raise IntegrityError(
                f"{self.name} lacks {len(missing)} files of its record, first {missing[0]}. Run the"
                " step that made it again."
            )
        return [
            SourceFile(name, entry.size, "sha256", entry.sha256, str(blobs[name].generation))
            for name, entry in sorted(self.record.files.items())
        ]
