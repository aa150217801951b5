"""A model on the Hugging Face Hub, or on whatever speaks its protocol at HF_ENDPOINT."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.description import CHECKPOINT
from greenlight.models.source import Description, Kind, Source, SourceFile

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

log = logging.getLogger("greenlight.download")

LISTING_SECONDS = 10.0
ATTEMPTS = 5  # in a row without a new byte


class HubSource(Source):
    """`org/name` at a branch, tag or commit. Uses HF_TOKEN when it is set, and no other
    credential.
    """

    library = "huggingface-hub"

    def __init__(self, name: str, revision: str = "", kind: Kind = CHECKPOINT) -> None:
        self.name, self.revision, self.kind = name, revision, kind
        self._commits: dict[str, ModelInfo] = {}  # listings by their commit, which never change

    def check(self) -> Description | None:
        info = self._info(self.revision)
        if info.gated and not _token():
            raise InputError(
                "model",
                self.name,
                "it is gated; accept its terms on its page and set HF_TOKEN to a token of that"
                " account",
            )
        return self.kind.check(self, self._commit(info))

    def resolve(self) -> str:
        return self._commit(self._info(self.revision))

    def _commit(self, info: "ModelInfo") -> str:
        if not info.sha:
            raise GreenlightError(
                f"The hub names no commit for {self.name}. Give one as the revision."
            )
        self._commits[info.sha] = info
        return info.sha

    def list_files(self, commit: str) -> list[SourceFile]:
        names = self.list_names(commit)
        chosen = self.kind.choose(
            self.name, names, lambda name: self.read(name, commit, 0, names[name])
        ).files
        files = []
        for entry in self._listing(commit).siblings or []:
            if (path := chosen.get(origin := entry.rfilename)) is None:
                continue
            if entry.lfs:
                files.append(
                    SourceFile(path, entry.lfs.size, "sha256", entry.lfs.sha256, origin=origin)
                )
            elif entry.size is not None and entry.blob_id:
                files.append(SourceFile(path, entry.size, "git-sha1", entry.blob_id, origin=origin))
            else:
                raise GreenlightError(
                    f"The hub gives no size and hash for {entry.rfilename} of {self.name}, so it"
                    " could not be verified. Try again later."
                )
        return files

    def list_names(self, commit: str) -> dict[str, int]:
        return {entry.rfilename: entry.size or 0 for entry in self._listing(commit).siblings or []}

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            hf_raise_for_status,
            http_stream_backoff,
        )

        if length == 0:
            return b""
        url, headers = self._request(name, commit)
        if start or length is not None:
            end = "" if length is None else start + length - 1
            headers["Range"] = f"bytes={start}-{end}"
        with (
            self._errors(commit),
            http_stream_backoff("GET", url, headers=headers, follow_redirects=True) as response,
        ):
            hf_raise_for_status(response)
            skipped = 0 if response.status_code == HTTPStatus.PARTIAL_CONTENT else start
            wanted = None if length is None else skipped + length
            found = bytearray()
            for piece in response.iter_raw():  # no further than needed, whatever is sent
                found += piece
                if wanted is not None and len(found) >= wanted:
                    break
            return bytes(found[skipped:wanted])

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        # hf_hub_download would be the usual way, but since 1.x it starts anew in a killed process;
        # its http_get underneath goes on.
        import httpx
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()
        url, headers = self._request(file.name, commit)
        failures = 0
        with self._errors(commit), open(partial, "ab") as out:
            while (offset := out.tell()) < file.size:
                try:
                    http_get(
                        url,
                        out,
                        resume_size=offset,
                        headers=headers,
                        expected_size=file.size,
                        displayed_filename=file.path,
                    )
                except HfHubHTTPError:
                    raise
                except (
                    httpx.NetworkError,
                    httpx.RemoteProtocolError,
                    OSError,
                ) as error:  # http_get goes on after most cuts itself, not after all
                    if isinstance(error, OSError) and error.errno is not None:
                        raise  # of this machine, such as a full disk
                    out.flush()
                    failures = failures + 1 if out.tell() == offset else 1
                    if failures == ATTEMPTS:
                        raise GreenlightError(
                            f"{file.path} of {self.name} does not come further than {out.tell()} of"
                            f" {file.size} bytes ({error}). Check the network, and run again: it"
                            " goes on from there."
                        ) from error
                    log.warning(
                        "%s was cut at %d of %d bytes (%s), going on",
                        file.path,
                        out.tell(),
                        file.size,
                        type(error).__name__,
                    )
                    time.sleep(failures)

    def _request(self, name: str, commit: str) -> tuple[str, dict[str, str]]:
        """Address and headers of a request for one file."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = build_hf_headers(token=_token() or False)
        return (
            hf_hub_url(self.name, name, revision=commit, endpoint=_endpoint()),
            {**headers, "Accept-Encoding": "identity"},
        )

    def _listing(self, commit: str) -> "ModelInfo":
        if commit not in self._commits:
            self._commits[commit] = self._info(commit)
        return self._commits[commit]

    def _info(self, revision: str) -> "ModelInfo":
        from huggingface_hub import HfApi

        with self._errors(revision):
            api = HfApi(endpoint=_endpoint(), token=_token() or False)
            return api.model_info(
                self.name, revision=revision or None, files_metadata=True, timeout=LISTING_SECONDS
            )

    @contextmanager
    def _errors(self, revision: str) -> Iterator[None]:
        import httpx
        from huggingface_hub import errors

        token = (
            "the token in HF_TOKEN does not reach it"
            if _token()
            else "if it is private or gated, set HF_TOKEN"
        )
        try:
            yield
        except errors.GatedRepoError:
            raise InputError(
                "model", self.name, f"it is gated; accept its terms on its page ({token})"
            ) from None
        except errors.RepositoryNotFoundError:
            raise InputError(
                "model",
                self.name,
                "there is neither such a folder here nor such a model on the hub; check the"
                f" spelling ({token})",
            ) from None
        except errors.RevisionNotFoundError:
            raise InputError(
                "revision",
                revision,
                f"{self.name} has no such branch, tag or commit; leave it empty for the default"
                " branch",
            ) from None
        except errors.HFValidationError:
            raise InputError("model", self.name, "it is no valid hub id; write org/name") from None
        except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, httpx.HTTPError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GreenlightError(
                f"The hub did not give {self.name}: {reason}. Check the network and HF_ENDPOINT,"
                " and run again: it goes on where it stopped."
            ) from error


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _token() -> str | None:
    return os.environ.get("HF_TOKEN")
