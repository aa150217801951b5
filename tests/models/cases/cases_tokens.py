"""Folders with tokenizers and chat templates as people publish them. No weights: tokens are read
without any.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from greenlight.models.builtin import CALIBRATION, TINY

TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; `...` takes one away."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


def tiny(folder: Path) -> Path:
    """The built-in model without its weights."""
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(TINY / name, folder / name)
    return folder


def texts() -> list[str]:
    lines = CALIBRATION.read_text().splitlines()[:100]
    return [json.loads(line)["text"] for line in lines]


@cache
def byte_level() -> str:
    """A tokenizer.json as GPT-2's family has them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return str(tokenizer.to_str())


@cache
def word_piece() -> str:
    """A tokenizer.json as BERT's family has them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts(),
        trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(tokenizer.to_str())


def train_sentencepiece(folder: Path, kind: str) -> bytes:
    """A tokenizer.model as Llama's (`bpe`) and T5's (`unigram`) families have them."""
    (folder / "texts.txt").write_text("\n".join(texts()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"),
        model_prefix=str(folder / kind),
        vocab_size=450,
        model_type=kind,
        byte_fallback=True,
        minloglevel=2,
    )
    return (folder / f"{kind}.model").read_bytes()


def merges_and_vocabulary() -> dict[str, str]:
    """The two files that GPT-2's family had before tokenizer.json."""
    model = json.loads(byte_level())["model"]
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    return {
        "vocab.json": json.dumps(model["vocab"]),
        "merges.txt": "\n".join(["#version: 0.2", *merges]),
    }


def write(folder: Path, model_type: str, config: Any = None, **files: str | bytes) -> Path:
    """A folder with these files (`tokenizer__json` for tokenizer.json)."""
    folder.mkdir(parents=True)
    edit(folder / "config.json", model_type=model_type)
    if config is not None:
        edit(folder / "tokenizer_config.json", **config)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


ADDED = {
    "content": "<tool>",
    "lstrip": False,
    "normalized": False,
    "rstrip": False,
    "single_word": False,
    "special": True,
}
CONFIG = "tokenizer_config.json"
GENERIC: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "backend": ...,
    "extra_special_tokens": ...,
}


def with_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / CONFIG, **changes)


def with_tokenizer(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "tokenizer.json", **changes)


def with_files(**files: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))

    return change


def without_tokenizer(instead: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / instead).write_text(content)

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


NO_TOKENS = {"bos_token": ..., "eos_token": ..., "pad_token": ...}
DISAGREEING: dict[str, Callable[[Path], None]] = {
    # 27 and its kind: tokens that tokenizer.json does not name
    "added token only in tokenizer_config": with_config(
        **GENERIC, added_tokens_decoder={2048: ADDED}
    ),
    "added token of another kind": with_config(
        **GENERIC, added_tokens_decoder={2048: ADDED | {"special": False, "rstrip": True}}
    ),
    "added_tokens.json": both(with_config(**GENERIC), with_files(added_tokens={"<tool>": 2048})),
    "additional_special_tokens": with_config(**GENERIC, additional_special_tokens=["<tool>"]),
    "extra_special_tokens": with_config(extra_special_tokens=["<|im_start|>", "<tool>"]),
    "named extra token": with_config(extra_special_tokens={"image_token": "<tool>"}),
    "token of the model's own": with_config(tool_token="<tool>"),
    "special token that is no token": with_config(eos_token="<tool>"),
    "special token as an object": with_config(
        eos_token=ADDED | {"__type": "AddedToken", "lstrip": True}
    ),
    "a word made special": with_config(pad_token="the"),
    # 23 and its kind: which tokens are special
    "special_tokens_map alone": both(
        with_config(**NO_TOKENS),
        with_files(special_tokens_map={"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}),
    ),
    "special_tokens_map against the config": with_files(
        special_tokens_map={"eos_token": {"content": "<|endoftext|>", "lstrip": True}}
    ),
    "special_tokens_map with more": with_files(
        special_tokens_map={"additional_special_tokens": ["<tool>"]}
    ),
    "no tokenizer_config": lambda folder: (folder / CONFIG).unlink(),
    "defaults of a class": with_config(
        **NO_TOKENS, **(GENERIC | {"tokenizer_class": "GPT2Tokenizer"})
    ),
    # what is put around a text, and how it is split
    "no post-processor": with_tokenizer(post_processor=None),
    "add_eos_token without a post-processor": both(
        with_tokenizer(post_processor=None), with_config(add_bos_token=True, add_eos_token=True)
    ),
    "add_eos_token": with_config(add_eos_token=True),
    "add_prefix_space": with_config(add_prefix_space=True, tokenizer_class="GPT2TokenizerFast"),
    "split_special_tokens": with_config(split_special_tokens=True),
    "a class that splits otherwise": with_config(tokenizer_class="Qwen2TokenizerFast"),
    "a class of sentencepiece": with_config(tokenizer_class="LlamaTokenizerFast", legacy=False),
    "a class that is not there": with_config(tokenizer_class="MyOwnTokenizer"),
    "another family": lambda folder: edit(folder / "config.json", model_type="qwen2"),
    "no model type": lambda folder: edit(folder / "config.json", model_type="brand_new"),
    "truncated and padded": with_tokenizer(
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 16},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<|endoftext|>",
        },
    ),
    "as it is": lambda folder: None,
    "clean_up_tokenization_spaces": with_config(clean_up_tokenization_spaces=True),
}
"""Changes of the built-in model's tokenizer after which tokenizer.json alone may say something else
than AutoTokenizer.
"""
