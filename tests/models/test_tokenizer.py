"""What is read as tokens is what transformers' AutoTokenizer gives, in every step."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.builtin import TINY
from greenlight.models.tokenizer import (
    SETTLED,
    load_model_tokenizer,
    load_special_tokens,
    load_tokenizer,
    write_tokenizer,
)
from tests.models.cases import cases_tokens as cases

TEXTS = [
    *cases.texts()[:5],
    "",
    " ",
    "  two  spaces ",
    "\n\n new\tline\r\n",
    "naïve café — 日本語 🙂 \u200b",
    "<s>a</s> b <|endoftext|>c <pad><unk> [CLS] [MASK]",
    "a <tool> b<tool> <tool>",
    "<|im_start|>user\nHi<|im_end|>\n",
    "don't I'LL 12345 3.14 'the' THE",
]


def auto(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def assert_as_auto(folder: Path, wanted: Any) -> None:
    found = load_model_tokenizer(folder)
    for text in TEXTS:
        for special in (True, False):
            ids = wanted(text, add_special_tokens=special).input_ids
            assert found.tokenizer.encode(text, add_special_tokens=special).ids == ids, text
        assert found.tokenizer.decode(ids, skip_special_tokens=True) == wanted.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    assert found.special == load_special_tokens(folder) == dict(wanted.special_tokens_map)


def assert_written_as_auto(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate's tokenizer.json says all, without transformers."""
    wanted, target = auto(folder), folder.parent / "candidate"
    assert_as_auto(folder, wanted)
    shutil.copytree(folder, target)
    write_tokenizer(folder, target)
    assert [auto(target)(text).input_ids for text in TEXTS] == [
        wanted(text).input_ids for text in TEXTS
    ]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "transformers", None)
        assert_as_auto(target, wanted)


@pytest.mark.parametrize("kind", cases.DISAGREEING)
def test_what_stands_in_other_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cases.tiny(tmp_path / "model")
    cases.DISAGREEING[kind](folder)
    assert_written_as_auto(folder, monkeypatch)


BYTE_LEVEL = (
    ("GPT2Tokenizer", "gpt2"),
    ("GPT2TokenizerFast", "bloom"),
    ("BloomTokenizerFast", "bloom"),
    ("Qwen2Tokenizer", "qwen2"),
    ("Qwen2Tokenizer", "qwen3"),
    ("GPTNeoXTokenizerFast", "gpt_neox"),
    ("GPTNeoXTokenizerFast", "olmo2"),
    ("CodeGenTokenizer", "phi"),
    ("CohereTokenizerFast", "cohere"),
    ("PreTrainedTokenizerFast", "llama"),
    ("PreTrainedTokenizerFast", "falcon"),
    ("TokenizersBackend", "gpt_oss"),
    ("LlamaTokenizerFast", "llama"),
    ("LlamaTokenizerFast", "deepseek_v2"),
    ("LlamaTokenizer", "mistral"),
    ("GemmaTokenizerFast", "gemma2"),
)


@pytest.mark.parametrize(("tokenizer_class", "model_type"), BYTE_LEVEL)
def test_families_with_tokenizer_json(
    tokenizer_class: str, model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"tokenizer_class": tokenizer_class}
    folder = cases.write(tmp_path / "model", model_type, config, tokenizer__json=cases.byte_level())
    assert_written_as_auto(folder, monkeypatch)


@pytest.mark.parametrize("tokenizer_class", ["BertTokenizer", "PreTrainedTokenizerFast", None])
def test_word_piece(
    tokenizer_class: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"tokenizer_class": tokenizer_class} if tokenizer_class else None
    folder = cases.write(tmp_path / "model", "bert", config, tokenizer__json=cases.word_piece())
    assert_written_as_auto(folder, monkeypatch)


@pytest.mark.parametrize(
    ("tokenizer_class", "model_type"),
    [
        ("GPT2Tokenizer", "gpt2"),
        ("Qwen2Tokenizer", "qwen2"),
        ("GPTNeoXTokenizer", "gpt_neox"),
        ("CodeGenTokenizer", "phi"),
    ],
)
def test_vocabulary_and_merges_are_converted(
    tokenizer_class: str, model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cases.write(tmp_path / "model", model_type, {"tokenizer_class": tokenizer_class})
    for name, content in cases.merges_and_vocabulary().items():
        (folder / name).write_text(content)
    assert_written_as_auto(folder, monkeypatch)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sentencepiece")
    return {kind: cases.train_sentencepiece(folder, kind) for kind in ("bpe", "unigram")}


@pytest.mark.parametrize("flags", [{}, {"add_eos_token": True}, {"legacy": False}])
@pytest.mark.parametrize(
    ("tokenizer_class", "model_type", "kind"),
    [
        ("LlamaTokenizer", "llama", "bpe"),
        ("LlamaTokenizer", "mistral", "bpe"),
        ("LlamaTokenizerFast", "phi3", "bpe"),
        ("GemmaTokenizer", "gemma", "bpe"),
        ("GemmaTokenizer", "gemma3_text", "bpe"),
        ("CodeLlamaTokenizer", "llama", "bpe"),
        ("XGLMTokenizer", "xglm", "unigram"),
        ("T5Tokenizer", "t5", "unigram"),
    ],
)
def test_sentencepiece_is_converted(
    tokenizer_class: str,
    model_type: str,
    kind: str,
    flags: dict,
    sentencepiece: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"tokenizer_class": tokenizer_class} | flags
    folder = cases.write(
        tmp_path / "model", model_type, config, tokenizer__model=sentencepiece[kind]
    )
    assert_written_as_auto(folder, monkeypatch)


def test_a_tokenizer_that_says_all_stays_as_it_is(tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    target = Path(shutil.copytree(folder, tmp_path / "candidate"))
    write_tokenizer(folder, target)
    for name in cases.TOKENIZER_FILES:
        assert (target / name).read_bytes() == (TINY / name).read_bytes()


def test_a_changed_candidate_is_read_by_transformers(tmp_path: Path) -> None:
    """The digest that was written no longer holds."""
    folder = cases.tiny(tmp_path / "model")
    cases.edit(folder / cases.CONFIG, eos_token="<tool>")
    target = Path(shutil.copytree(folder, tmp_path / "candidate"))
    write_tokenizer(folder, target)
    assert SETTLED in json.loads((target / cases.CONFIG).read_text())
    cases.edit(target / "tokenizer.json", post_processor=None)
    assert load_tokenizer(target).encode("a").ids == auto(target)("a").input_ids


def test_without_transformers_it_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = cases.tiny(tmp_path / "model")
    cases.edit(folder / cases.CONFIG, tokenizer_class="LlamaTokenizer")
    with caplog.at_level(logging.WARNING, logger="greenlight"):
        load_tokenizer(folder)
    assert "taken from tokenizer.json alone" in caplog.text
    (folder / "tokenizer.json").unlink()
    for name, content in cases.merges_and_vocabulary().items():
        (folder / name).write_text(content)
    with pytest.raises(GreenlightError, match="cannot be read without transformers"):
        load_tokenizer(folder)


def test_the_server_does_not_import_transformers() -> None:
    code = (
        "import sys; from pathlib import Path; from greenlight.serving.detokenizer import"
        " Vocabulary; from greenlight.serving.chat import ChatTemplate; from"
        " greenlight.models.builtin import TINY; Vocabulary(TINY, 0);"
        " assert ChatTemplate.open(TINY); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_code_of_a_models_own_is_not_run(tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    config: dict[str, Any] = {
        "tokenizer_class": "Mine",
        "auto_map": {"AutoTokenizer": [None, "a.B"]},
    }
    cases.edit(folder / cases.CONFIG, **config)
    cases.edit(folder / "config.json", model_type="mine")
    (folder / "a.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(InputError, match="transformers cannot read its tokenizer"):
        load_tokenizer(folder)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown model": (
        lambda folder: cases.edit(folder / "tokenizer.json", model={"type": "BPE2"}),
        "model of type 'BPE2', where tokenizers",
    ),
    "unknown pre-tokenizer": (
        lambda folder: cases.edit(folder / "tokenizer.json", pre_tokenizer={"type": "New"}),
        "is none that tokenizers",
    ),
    "no JSON": (
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        "tokenizer.json is not JSON",
    ),
    "no object": (
        lambda folder: (folder / cases.CONFIG).write_text("[]"),
        "tokenizer_config.json is not a JSON object",
    ),
    "byte-order mark": (
        lambda folder: (folder / cases.CONFIG).write_bytes(b"\xef\xbb\xbf{}"),
        "begins with a byte-order mark",
    ),
    "LFS pointer": (
        lambda folder: (folder / "tokenizer.json").write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
        "pointer of git LFS",
    ),
    "sentencepiece that is none": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"),
        "tokenizer.model is no SentencePiece model",
    ),
    "tiktoken": (
        cases.without_tokenizer("tokenizer.model", "IQ== 0\nIg== 1\n"),
        "in the format of tiktoken",
    ),
    "code alone": (
        cases.both(
            cases.without_tokenizer("tokenization_mine.py", ""),
            cases.with_config(auto_map={"AutoTokenizer": ["a.B", None]}),
        ),
        "is code of its own",
    ),
    "nothing": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "holds no tokenizer that can be read here",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_cannot_be_read_is_refused(kind: str, tmp_path: Path) -> None:
    change, says = CHANGES[kind]
    folder = cases.tiny(tmp_path / "model")
    change(folder)
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
