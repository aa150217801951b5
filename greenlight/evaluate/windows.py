"""From text to the token ids that models are scored on."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.models.checkpoint import Checkpoint
from greenlight.models.context import context_length, text_config
from greenlight.models.tokenizer import check_ids, load_tokenizer

log = logging.getLogger("greenlight.evaluate")

PROGRESS_SECONDS = 1.0
WINDOW = 512
"""Most tokens that are read at once: bounds the memory for logits. A model with a shorter context
is read in pieces of that.
"""


@dataclass(frozen=True)
class Document:
    """A text as token ids, without special tokens."""

    ids: list[int]
    bytes: int


class Reader:
    """The tokenizer of a checkpoint, and how it starts a text.

    Attributes:
        context: tokens that the model can read.
        window: that are read at once of a long text.
        start: the token before a text.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config = config = checkpoint.config()
        self._tokenizer = load_tokenizer(checkpoint.folder)
        self.context = context_length(config) or WINDOW
        self.window = min(WINDOW, self.context)
        self.start = self._first_token({**config, **text_config(config)})

    def read(self, text: str) -> Document:
        return Document(self.encode(text, special=False), len(text.encode()))

    def encode(self, text: str, special: bool = True) -> list[int]:
        """With special tokens, as a prompt is read. Raises GreenlightError when the model has no
        weights for one of them.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        check_ids(self._tokenizer, ids, self._config)
        return ids

    def decode(self, ids: list[int]) -> str:
        """With special tokens as text."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _first_token(self, config: dict[str, Any]) -> int:
        """What the tokenizer puts before a text, or else the token that ends one: it stands between
        texts.
        """
        put_before = self._tokenizer.encode("").ids
        end = config.get("eos_token_id")
        for candidate in (
            put_before,
            [config.get("bos_token_id")],
            end if isinstance(end, list) else [end],
        ):
            if candidate and candidate[0] is not None:
                return candidate[0]
        raise GreenlightError(
            "The model's config.json names neither bos_token_id nor eos_token_id, so texts have no"
            " start. Add the one it was trained with."
        )


def windows(ids: list[int], start: int, size: int) -> list[tuple[list[int], list[int]]]:
    """Pieces of a document as (inputs, targets), of equal lengths. Each token is the target of
    exactly one piece.

    Each piece starts with the token that starts a text, so that its first target has a context too
    (as lm-eval's rolling likelihood does).
    """
    pieces = [ids[at : at + size] for at in range(0, len(ids), size)]
    return [([start, *piece[:-1]], piece) for piece in pieces]


def each_window(
    documents: list[Document], start: int, size: int
) -> Iterator[tuple[int, list[int], list[int]]]:
    """The windows of all documents in order, each with the number of its document."""
    log.info(
        "scoring %d documents of %d tokens",
        len(documents),
        sum(len(document.ids) for document in documents),
    )
    for number, document in enumerate(documents):
        for inputs, targets in windows(document.ids, start, size):
            yield number, inputs, targets


def check_tokenizer(folder: Path, encoded: dict[str, list[int]]) -> None:
    """Raises IntegrityError when the tokenizer in `folder` reads a text otherwise than the
    baseline's, or starts it otherwise.
    """
    tokenizer = load_tokenizer(folder)
    for text, ids in encoded.items():
        if tokenizer.encode(text).ids != ids:
            raise IntegrityError(
                f"The candidate's tokenizer gives other ids than the baseline's for {text[:40]!r}:"
                f" {folder} is not made from this baseline."
            )
