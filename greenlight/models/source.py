"""Where a model comes from: a hub id, a gs:// prefix, a local folder or the built-in model, behind
one small interface.
"""

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenlight.core.errors import InputError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s*?\[\]]*)?")
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:")


@dataclass(frozen=True)
class SourceFile:
    """One file of a model, and what its bytes must come to."""

    path: str  # relative; the files that are taken all lie at the top
    size: int
    algorithm: Literal["sha256", "git-sha1", "crc32c"]
    checksum: str  # hexadecimal
    version: str = ""  # generation of a bucket's object


class Source(ABC):
    """A model in one place. Nothing here imports torch or transformers, and local ones need no
    network.
    """

    name: str  # as the user gave it
    library: str = ""  # the distribution that fetches, for the record
    found: str = ""  # after `resolve`: which of several checkpoints below the name it is

    @abstractmethod
    def check(self) -> None:
        """One listing: is there a model that can be taken?

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


def parse_source(model: str, revision: str = "") -> Source:
    """Tell what kind of source a name is, without looking whether it holds a model.

    Args:
        model: `org/name` on the hub, `gs://bucket/prefix`, a local folder, or `builtin:tiny`. A
            folder that exists wins over a hub id.
        revision: branch, tag or commit of a hub model. Empty: the default branch. Other sources
            have none.

    Raises:
        InputError: it is none of these.
    """
    from greenlight.models.bucket import BucketSource
    from greenlight.models.builtin import TINY
    from greenlight.models.folder import FolderSource
    from greenlight.models.hub import HubSource

    if model and not SCHEME.match(model):
        local = Path(model).expanduser()
        if model[0] in "./~" or os.path.exists(local):
            return _unrevised(FolderSource(model, local), revision)
    if model.startswith("gs:"):
        if not BUCKET.fullmatch(model):
            raise InputError(
                "model",
                model,
                "write gs://bucket/prefix, the prefix being the model's folder or one that holds"
                " its checkpoints",
            )
        return _unrevised(BucketSource(model), revision)
    if model.startswith("builtin:"):
        if model != "builtin:tiny":
            raise InputError("model", model, "the only built-in model is builtin:tiny")
        return _unrevised(FolderSource(model, TINY), revision)
    if not HUB_ID.fullmatch(model) or ".." in model or "--" in model:
        raise InputError(
            "model",
            model,
            "give a hub id as org/name, gs://bucket/prefix, an existing folder, or builtin:tiny",
        )
    return HubSource(model, revision)


def check_source(model: str, revision: str = "") -> None:
    """Refuse a source that cannot work: at once for local ones, after one listing for remote ones.

    Raises:
        InputError: names the field (`model` or `revision`), the value and the fix.
        GreenlightError: a remote source cannot be reached.
    """
    parse_source(model, revision).check()


def _unrevised(source: Source, revision: str) -> Source:
    if revision:
        raise InputError(
            "revision",
            revision,
            f"leave it empty: only hub models have revisions, and {source.name} is none",
        )
    return source
