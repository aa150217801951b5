"""Where a model comes from: a hub id, a gs:// prefix, a local folder or the built-in model, behind
one small interface.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from greenlight.models.safetensors_header import Tensor

if TYPE_CHECKING:
    from greenlight.models.file_selection import Selection


@dataclass(frozen=True)
class SourceFile:
    """One file of a model, and what its bytes must come to."""

    path: str  # relative; the files that are taken all lie at the top
    size: int
    algorithm: Literal["sha256", "git-sha1", "crc32c"]
    checksum: str  # hexadecimal
    version: str = ""  # generation of a bucket's object
    origin: str = ""  # its name in the source, where that is another

    @property
    def name(self) -> str:
        """Its name in the source."""
        return self.origin or self.path


@dataclass(frozen=True)
class Description:
    """A model as its small files and headers describe it."""

    source: str  # as the user named it, for errors
    config: dict[str, Any]
    files: dict[str, int]  # sizes in bytes of all files at the top, by name
    chosen: dict[str, str]  # the files to take: name in the source -> name in the artifact
    tensors: dict[str, Tensor]
    texts: dict[str, bytes]  # of tokenizer, chat template and settings, by name
    notes: tuple[str, ...] = ()  # what was decided, for people
    licence: str = ""  # as the model says it; empty: it does not


class FileReader(Protocol):
    """Reads bytes of one file of a model: from `start`, to its end without `length`."""

    def __call__(self, name: str, start: int = 0, length: int | None = None) -> bytes: ...


@dataclass(frozen=True)
class Kind:
    """What is taken of a place: a checkpoint, or something that a checkpoint is made of.

    Attributes:
        choose: the files to take; its arguments are those of `choose_files`.
        check: describes a source at a commit; nothing where only a conversion shows what it is.
            Raises InputError where it holds nothing that can be used.
    """

    choose: Callable[[str, Collection[str], Callable[[str], bytes]], "Selection"]
    check: Callable[["Source", str], "Description | None"]


@dataclass(frozen=True)
class Made:
    """A checkpoint that was made here.

    Attributes:
        folder: holds its files.
        how: for the record, such as `dequantized from GGUF Q4_1 (model.gguf)`.
    """

    folder: Path
    how: str
    peak_memory_bytes: int = 0
    libraries: dict[str, str] = field(default_factory=dict)


class Source(ABC):
    """A model in one place. Nothing here imports torch or transformers, and local ones need no
    network.
    """

    name: str  # as the user gave it
    library: str = ""  # the distribution that fetches, for the record
    found: str = ""  # after `resolve`: which of several checkpoints below the name it is

    @abstractmethod
    def check(self) -> Description | None:
        """Read what the place holds, but no weights: is there a model that can be taken? None:
        what it is shows only when it has been fetched.

        Raises:
            InputError: no, and what to give instead.
            GreenlightError: the place cannot be reached.
        """

    @abstractmethod
    def resolve(self) -> str:
        """The exact commit that the name stands for now, without a download.

        A hub model: its commit. A bucket: sha256 of the names, sizes, generations and checksums of
        its files, of the newest complete checkpoint where there are several. A folder: its content
        digest, which is that of the Model made from it.
        """

    @abstractmethod
    def list_files(self, commit: str) -> list[SourceFile]:
        """The files to take at this commit.

        Raises:
            IntegrityError: the source has changed since it was resolved.
        """

    @abstractmethod
    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        """Make `partial` whole, going on from the bytes that it already holds. The caller verifies
        them.
        """

    @abstractmethod
    def list_names(self, commit: str) -> dict[str, int]:
        """Sizes in bytes of everything at this commit, by path: also of what is not taken."""

    @abstractmethod
    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of one file at this commit, from `start`; to its end without `length`. Fewer come
        where the file ends earlier.
        """

    def make(self, commit: str, folder: Path) -> Made | None:
        """Make the checkpoint below `folder`, where the source holds only what it is made of. None:
        its files are taken as they are.
        """
        return None
