"""Text to tokens and back: whole UTF-8 characters only, and nothing of a stop string."""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from greenlight.core.errors import InputError


class Vocabulary:
    """A model's tokenizer.

    Attributes:
        size: ids that the model knows are below this.
        pieces: the bytes of each token id; empty for special tokens, which are no part of a text.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Read `tokenizer.json`. `size` is the model's vocabulary, which may be padded beyond the
        tokenizer's. Raises InputError.
        """
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.pieces = _pieces(self._tokenizer, size)
        self.size = size or len(self.pieces)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids; with the tokens that the model wants around a text unless `special` is off."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids


class TextStream:
    """Turns the tokens of one request into text as they come.

    A piece is held back while it ends inside a UTF-8 character, or with what may become a stop
    string.

    Attributes:
        stopped: a stop string was found; the text ended before it, and no more tokens are wanted.
        tokens: tokens taken so far, up to the one that completed the stop string.
    """

    __slots__ = ("_decoder", "_held", "_pieces", "_stops", "stopped", "tokens")

    def __init__(self, pieces: Sequence[bytes], stops: Sequence[str] = ()) -> None:
        self._pieces, self._stops = pieces, tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False
        self.tokens = 0

    def push(self, tokens: Sequence[int]) -> str:
        """The text that is safe to send now."""
        if not self._stops:
            self.tokens += len(tokens)
            pieces = self._pieces
            return self._decoder.decode(b"".join([pieces[token] for token in tokens]))
        text = ""
        for token in tokens:  # one by one, so that nothing after the stop string is counted
            self.tokens += 1
            text += self._search(self._decoder.decode(self._pieces[token]))
            if self.stopped:
                break
        return text

    def finish(self) -> str:
        """What was held back and turned out to be text. A character that the model left unfinished
        becomes U+FFFD, as in the tokenizer's own decode.
        """
        if self.stopped:
            return ""
        rest = self._decoder.decode(b"", True)
        return self._search(rest) + self._held if self._stops else rest

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


def _pieces(tokenizer: Tokenizer, size: int) -> list[bytes]:
    """The table from id to bytes. Two families cover the models served: byte-level BPE, and
    SentencePiece with byte fallback.
    """
    spec = json.loads(tokenizer.to_str())
    decoder = spec.get("decoder") or {}
    kinds = {part["type"] for part in [decoder, *decoder.get("decoders", [])] if part}
    added = tokenizer.get_added_tokens_decoder()
    pieces = [b""] * max(
        size, tokenizer.get_vocab_size(with_added_tokens=True), max(added, default=0) + 1
    )
    if "ByteLevel" in kinds:
        alphabet = _byte_alphabet()

        def piece(token: str) -> bytes:
            return (
                bytes(alphabet[char] for char in token)
                if all(char in alphabet for char in token)
                else token.encode()
            )

    elif kinds & {"ByteFallback", "Metaspace"}:

        def piece(token: str) -> bytes:
            is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
            return (
                bytes([int(token[3:5], 16)]) if is_byte else token.replace("\u2581", " ").encode()
            )

    else:
        raise InputError(
            "MODEL_ID",
            "tokenizer.json",
            f"has the decoder {decoder.get('type')!r}; byte-level and SentencePiece tokenizers are"
            " served",
        )
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        pieces[number] = piece(token)
    for number, addition in added.items():
        pieces[number] = b"" if addition.special else addition.content.encode()
    return pieces


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }
