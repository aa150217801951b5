"""A model on the Hugging Face Hub, or on whatever speaks its protocol at HF_ENDPOINT."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.file_selection import choose_files
from greenlight.models.source import Source, SourceFile

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

    def __init__(self, name: str, revision: str = "") -> None:
        self.name, self.revision = name, revision

    def check(self) -> None:
        info = self._info(self.revision)
        choose_files(self.name, _names(info))
        if (getattr(info, "config", None) or {}).get("quantization_config"):
            raise InputError(
                "model",
                self.name,
                "it is already quantized; give the full-precision model that it was made from",
            )
        if info.gated and not _token():
            raise InputError(
                "model",
                self.name,
                "it is gated; accept its terms on its page and set HF_TOKEN to a token of that"
                " account",
            )

    def resolve(self) -> str:
        sha = self._info(self.revision).sha
        if not sha:
            raise GreenlightError(
                f"The hub names no commit for {self.name}. Give one as the revision."
            )
        return sha

    def list_files(self, commit: str) -> list[SourceFile]:
        info = self._info(commit)
        chosen = set(choose_files(self.name, _names(info)))
        files = []
        for entry in info.siblings or []:
            if entry.rfilename not in chosen:
                continue
            if entry.lfs:
                files.append(
                    SourceFile(entry.rfilename, entry.lfs.size, "sha256", entry.lfs.sha256)
                )
            elif entry.size is not None and entry.blob_id:
                files.append(SourceFile(entry.rfilename, entry.size, "git-sha1", entry.blob_id))
            else:
                raise GreenlightError(
                    f"The hub gives no size and hash for {entry.rfilename} of {self.name}, so it"
                    " could not be verified. Try again later."
                )
        return files

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        # hf_hub_download would be the usual way, but since 1.x it starts anew in a killed process;
        # its http_get underneath goes on.
        import httpx
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            disable_progress_bars,
        )

        disable_progress_bars()
        url = hf_hub_url(self.name, file.path, revision=commit, endpoint=_endpoint())
        headers = {**build_hf_headers(token=_token() or False), "Accept-Encoding": "identity"}
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


def _names(info: "ModelInfo") -> list[str]:
    return [entry.rfilename for entry in info.siblings or []]


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _token() -> str | None:
    return os.environ.get("HF_TOKEN")
