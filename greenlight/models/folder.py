"""A model in a local folder, named by its content."""

import errno
import logging
import os
from pathlib import Path

from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.records import FileEntry
from greenlight.models.description import CHECKPOINT
from greenlight.models.digest_cache import remembered_digests
from greenlight.models.file_selection import list_folder
from greenlight.models.integrity import content_digest
from greenlight.models.source import Description, Kind, Source, SourceFile

log = logging.getLogger("greenlight.download")

CHUNK = 64 * 2**20
NO_CLONE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


class FolderSource(Source):
    """A folder as `save_pretrained` writes it. It is copied, never linked: it may be edited in
    place while a run uses the copy.
    """

    def __init__(self, name: str, folder: Path, kind: Kind = CHECKPOINT) -> None:
        self.name, self.folder, self.kind = name, folder, kind

    def check(self) -> Description | None:
        if not self.folder.exists():
            raise InputError(
                "model",
                self.name,
                "there is no such folder; give one that holds config.json, *.safetensors and a"
                " tokenizer",
            )
        if not self.folder.is_dir():
            raise InputError(
                "model",
                self.name,
                "it is a file; give the folder that holds config.json, *.safetensors and a"
                " tokenizer",
            )
        try:
            return self.kind.check(self, "")
        except OSError as error:
            raise InputError(
                "model",
                self.name,
                f"the folder cannot be read ({error.strerror}); make it readable",
            ) from None

    def resolve(self) -> str:
        self.check()
        return content_digest(self._describe()[0])

    def list_files(self, commit: str) -> list[SourceFile]:
        self.check()
        files, origins = self._describe()
        if content_digest(files) != commit:
            raise IntegrityError(
                f"{self.name} has changed since it was resolved to {commit[:12]}. Run again to take"
                " it as it is now."
            )
        return [
            SourceFile(path, entry.size, "sha256", entry.sha256, origin=origins[path])
            for path, entry in files.items()
        ]

    def list_names(self, commit: str) -> dict[str, int]:
        return list_folder(self.folder)

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        with open(self.folder / name, "rb") as file:
            file.seek(start)
            return file.read(length)

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        with open(self.folder / file.name, "rb") as source, open(partial, "ab") as target:
            offset = target.tell()
            source.seek(offset)
            while offset < file.size:
                written = _copy(source.fileno(), target.fileno(), offset)
                if written == 0:
                    return  # it is shorter than it was; the caller sees that the bytes are wrong
                offset += written

    def _describe(self) -> tuple[dict[str, FileEntry], dict[str, str]]:
        """The files of the Model that would be made, and the name of each here."""
        chosen = self.kind.choose(
            self.name, list_folder(self.folder), lambda name: self.read(name, "")
        ).files
        found = remembered_digests([self.folder / name for name in chosen])
        entries = {path: found[name] for name, path in chosen.items()}
        return dict(sorted(entries.items())), {path: name for name, path in chosen.items()}


def _copy(source: int, target: int, offset: int) -> int:
    """Copy up to CHUNK bytes at `offset` of both; without moving bytes where the file system can
    share them.
    """
    try:
        return os.copy_file_range(source, target, CHUNK, offset, offset)
    except OSError as error:
        if error.errno not in NO_CLONE:
            raise
    return os.write(target, os.pread(source, CHUNK, offset))
