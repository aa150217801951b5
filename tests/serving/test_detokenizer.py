"""Text from tokens: equal to the tokenizer's own decode, never half a character, never a piece of a
stop string.
"""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from greenlight.serving.detokenizer import TextStream, Vocabulary
from tests.serving.server_process import TINY

PIECES = [bytes([byte]) for byte in range(256)] + [
    "é".encode(),
    "語".encode(),
    "🙂".encode(),
    b"END",
    b"EN",
    b"ND",
    b"</",
    b"s>",
]


def byte_level() -> Tokenizer:
    """A tokenizer with a token for each of PIECES, in this order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    shown = {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + n) for n, byte in enumerate(rest)
    }
    words = ["".join(shown[byte] for byte in piece) for piece in PIECES]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = byte_level()


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TINY, 2048)


def saved(tokenizer: Tokenizer, folder: Path) -> Vocabulary:
    tokenizer.save(str(folder / "tokenizer.json"))
    return Vocabulary(folder, 0)


def read(text: TextStream, tokens: list[int]) -> list[str]:
    """The pieces of a text, token by token, and what comes at the end."""
    parts = []
    for token in tokens:
        parts.append(text.push([token]))
        if text.stopped:
            break
    return [*parts, text.finish()]


def test_streamed_text_equals_the_tokenizers_own_decode(vocabulary: Vocabulary) -> None:
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    draw = random.Random(7)
    for _ in range(300):
        tokens = [draw.randrange(2048) for _ in range(draw.randrange(1, 40))]
        parts = read(vocabulary.stream(), tokens)
        assert "".join(parts) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_a_text_survives_encoding_and_streaming(vocabulary: Vocabulary) -> None:
    text = "Grüße, 世界! 🙂🙃 café — naïve\t\0 end"
    tokens = vocabulary.encode(text)
    parts = read(vocabulary.stream(), tokens)
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert vocabulary.stream().push(tokens) == text


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=60))
def test_any_bytes_become_the_text_that_they_are(tokens: list[int]) -> None:
    whole = b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    assert "".join(read(TextStream(TOKENIZER), tokens)) == whole


@given(st.text(max_size=30))
def test_no_character_is_ever_split(text: str) -> None:
    """One byte per token, the hardest case."""
    parts = read(TextStream(TOKENIZER), list(text.encode("utf-8", "ignore")))
    assert "".join(parts) == text.encode("utf-8", "ignore").decode()
    assert not any("\ufffd" in part for part in parts if "\ufffd" not in text)


def test_an_unfinished_character_becomes_a_replacement_at_the_end() -> None:
    parts = read(TextStream(TOKENIZER), list("a語".encode())[:-1])
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
    text = TextStream(TOKENIZER, stops=stops)
    joined = "".join(read(text, tokens))
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
    text = TextStream(TOKENIZER, stops=["</s>"])
    assert [
        text.push([ord("a"), 262]),
        text.push([ord("b"), 262]),
        text.push([263, ord("z"), ord("z")]),
    ] == ["a", "</b", ""]
    assert text.stopped and text.tokens == 5 and text.finish() == ""


def test_what_was_held_back_comes_out_at_the_end() -> None:
    text = TextStream(TOKENIZER, stops=("</s>",))
    assert read(text, [ord("a"), ord("<"), ord("/")]) == ["a", "", "", "</"] and not text.stopped


def test_special_tokens_and_padded_ids_have_no_text(vocabulary: Vocabulary) -> None:
    word = vocabulary.encode("word")
    assert Vocabulary(TINY, 2060).size == 2060
    assert "".join(read(vocabulary.stream(), [0, *word, 2, 2059, *word])) == "wordword"


def sentencepiece() -> Tokenizer:
    words = ["<unk>", "<0xE8>", "<0xAA>", "<0x9E>", "\u2581a", "b"]
    tokenizer = Tokenizer(
        models.BPE({word: number for number, word in enumerate(words)}, [], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def test_sentencepiece_with_byte_fallback(tmp_path: Path) -> None:
    vocabulary = saved(sentencepiece(), tmp_path)
    tokens = [4, 1, 2, 3, 5, 4]
    assert read(vocabulary.stream(), tokens) == ["a", "", "", "語", "b", " a", ""]
    assert read(vocabulary.stream(before=[5]), tokens)[0] == " a", "a text that goes on has a space"


def test_bytes_that_are_no_character_end_no_stream(tmp_path: Path) -> None:
    """SentencePiece's decoder takes a whole character back when a stray byte follows it."""
    vocabulary = saved(sentencepiece(), tmp_path)
    parts = read(vocabulary.stream(), [4, 1, 2, 3, 2, 5, 4, 1])
    assert "".join(parts) == "a語\ufffdb a\ufffd"


def test_wordpiece(tmp_path: Path) -> None:
    words = ["[UNK]", "[CLS]", "the", "play", "##ing", "!"]
    tokenizer = Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[CLS]"])
    vocabulary = saved(tokenizer, tmp_path)
    tokens = vocabulary.encode("the playing!")
    assert read(vocabulary.stream(before=[1]), tokens) == ["the", " play", "ing", "!", ""]
    assert read(vocabulary.stream(before=[2]), tokens)[0] == " the"


def test_metaspace(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0), ("\u2581a", -1), ("b", -2)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    vocabulary = saved(tokenizer, tmp_path)
    tokens = vocabulary.encode("a ab")
    assert read(vocabulary.stream(), tokens) == ["a", " a", "b", ""]
    assert read(vocabulary.stream(before=tokens), tokens)[0] == " a"
