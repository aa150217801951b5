"""Text from tokens: equal to the tokenizer's own decode, never half a character, never a piece of a
stop string.
"""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from greenlight.core.errors import InputError
from greenlight.serving.detokenizer import TextStream, Vocabulary
from tests.serving.server_process import TINY

PIECES = [bytes([byte]) for byte in range(256)] + [
    "é".encode(),
    "語".encode(),
    "🙂".encode(),
    b"END",
    b"EN",
    b"D",
    b"</",
    b"s>",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TINY, 2048)


def stream(
    pieces: list[bytes], tokens: list[int], stops: tuple[str, ...] = ()
) -> tuple[list[str], TextStream]:
    text = TextStream(pieces, stops)
    parts = []
    for token in tokens:
        parts.append(text.push([token]))
        if text.stopped:
            break
    parts.append(text.finish())
    return parts, text


def test_streamed_text_equals_the_tokenizers_own_decode(vocabulary: Vocabulary) -> None:
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    draw = random.Random(7)
    for _ in range(300):
        tokens = [draw.randrange(2048) for _ in range(draw.randrange(1, 40))]
        parts, _ = stream(vocabulary.pieces, tokens)
        assert "".join(parts) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_a_text_survives_encoding_and_streaming(vocabulary: Vocabulary) -> None:
    text = "Grüße, 世界! 🙂🙃 café — naïve\t\0 end"
    parts, _ = stream(vocabulary.pieces, vocabulary.encode(text))
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)


@given(st.text(max_size=30))
def test_no_character_is_ever_split(text: str) -> None:
    """One byte a token, the hardest case."""
    parts, _ = stream(PIECES, list(text.encode("utf-8", "ignore")))
    assert "".join(parts) == text.encode("utf-8", "ignore").decode()
    assert not any("\ufffd" in part for part in parts if "\ufffd" not in text)


def test_an_unfinished_character_becomes_a_replacement_at_the_end() -> None:
    parts, _ = stream(PIECES, list("a語".encode())[:-1])
    assert parts == ["a", "", "", "\ufffd"]


@given(
    st.lists(st.integers(0, len(PIECES) - 1), max_size=40),
    st.lists(st.text("ENDsx</>é語", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_end_the_text_where_a_search_of_the_whole_text_would(
    tokens: list[int], stops: list[str]
) -> None:
    whole = b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    found = [whole.find(stop) for stop in stops if stop in whole]
    parts, text = stream(PIECES, tokens, tuple(stops))
    joined = "".join(parts)
    assert text.stopped == bool(found)
    assert not any(stop in joined for stop in stops)
    # the first stop string to be complete ends the text, which may be one that began later
    if found:
        assert whole.startswith(joined) and any(
            whole[len(joined) :].startswith(stop) for stop in stops
        )
    else:
        assert joined == whole


def test_a_stop_string_over_several_tokens_is_held_back_and_counts_no_token_after_it() -> None:
    text = TextStream(PIECES, ["</s>"])
    assert [
        text.push([ord("a"), 262]),
        text.push([ord("b"), 262]),
        text.push([263, ord("z"), ord("z")]),
    ] == ["a", "</b", ""]
    assert text.stopped and text.tokens == 5 and text.finish() == ""


def test_what_was_held_back_comes_out_at_the_end() -> None:
    parts, text = stream(PIECES, [ord("a"), ord("<"), ord("/")], ("</s>",))
    assert parts == ["a", "", "", "</"] and not text.stopped


def test_special_tokens_and_padded_ids_have_no_text(vocabulary: Vocabulary) -> None:
    assert Vocabulary(TINY, 2060).pieces[2059] == b""
    assert vocabulary.pieces[0] == b"" and vocabulary.pieces[2] == b""


def test_sentencepiece_with_byte_fallback(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<0xE8>": 1, "<0xAA>": 2, "<0x9E>": 3, "\u2581a": 4, "b": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    parts, _ = stream(Vocabulary(tmp_path, 6).pieces, [4, 1, 2, 3, 5])
    assert parts == [" a", "", "", "語", "b", ""]


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="WordPiece"):
        Vocabulary(tmp_path, 1)
