"""Text to tokens and back: whole UTF-8 characters only, and nothing of a stop string."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from greenlight.models.tokenizer import load_tokenizer

CONTEXT_TOKENS = 4
"""Tokens before a text that its first token is decoded after: whether a word begins with a space
depends on what stands before it.
"""


class Vocabulary:
    """A model's tokenizer.

    Attributes:
        size: ids that the model knows are below this.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Read the tokenizer of a model folder. `size` is the model's vocabulary, which may be
        padded beyond the tokenizer's; 0 stands for the tokenizer's.
        """
        self._tokenizer = load_tokenizer(folder)
        self.size = size or self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids; with the tokens that the model wants around a text unless `special` is off."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens that stand alone. Special tokens are no part of it."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)

    def stream(self, before: Sequence[int] = (), stops: Sequence[str] = ()) -> "TextStream":
        """A new text that follows the tokens `before` and ends at the first of `stops`."""
        return TextStream(self._tokenizer, before, stops)


class TextStream:
    """Turns the tokens of one request into text as they come.

    A piece is held back while it ends inside a UTF-8 character, or with what may become a stop
    string.

    Attributes:
        stopped: a stop string was found; the text ended before it, and no more tokens are wanted.
        tokens: tokens taken so far, up to the one that completed the stop string.
    """

    __slots__ = ("_decoder", "_held", "_pending", "_stops", "_tokenizer", "stopped", "tokens")

    def __init__(
        self, tokenizer: Tokenizer, before: Sequence[int] = (), stops: Sequence[str] = ()
    ) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._decoder = _decoder_after(before[-CONTEXT_TOKENS:])
        self._pending: list[int] = []  # tokens that have given no text yet
        self._held = ""
        self.stopped = False
        self.tokens = 0

    def push(self, tokens: Sequence[int]) -> str:
        """The text that is safe to send now."""
        text = ""
        for token in tokens:  # one by one, so that nothing after the stop string is counted
            self.tokens += 1
            new = self._decode(token)
            text += self._search(new) if self._stops else new
            if self.stopped:
                break
        return text

    def finish(self) -> str:
        """What was held back and turned out to be text. A character that the model left unfinished
        becomes U+FFFD, as in the tokenizer's own decode.
        """
        if self.stopped:
            return ""
        rest = self._tokenizer.decode(self._pending, skip_special_tokens=True)
        return self._search(rest) + self._held if self._stops else rest

    def _decode(self, token: int) -> str:
        try:
            text = self._decoder.step(self._tokenizer, token)
        except Exception:  # tokenizers raises nothing narrower
            # A byte that is no UTF-8 came after a character that was whole, and the tokenizer's
            # decoder takes back what it gave before: go on from here.
            tokens = [*self._pending, token]
            text = self._tokenizer.decode(tokens, skip_special_tokens=True)
            self._decoder = _decoder_after(tokens)
        if text is None:
            self._pending.append(token)
            return ""
        self._pending.clear()
        return text

    def _search(self, new: str) -> str:
        text = self._held + new
        found = [at for at in map(text.find, self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        longest = min(len(text), max(map(len, self._stops)) - 1)
        keep = next(
            (
                size
                for size in range(longest, 0, -1)
                if any(stop.startswith(text[-size:]) for stop in self._stops)
            ),
            0,
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _decoder_after(tokens: Sequence[int]) -> DecodeStream:
    return DecodeStream(ids=list(tokens), skip_special_tokens=True)
