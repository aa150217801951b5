"""Can the files of a tokenizer be read? Without transformers, which takes seconds to import, and
before any weight is fetched.
"""

import base64
import binascii
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.core.errors import InputError
from greenlight.models.json_files import json_object
from greenlight.models.safetensors_header import LFS_POINTER

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCABULARIES = ({"vocab.json", "merges.txt"}, {"vocab.txt"})
TOKENIZER_FILES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS_MAP,
    ADDED_TOKENS,
    *SENTENCEPIECE,
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
MODEL_TYPES = ("BPE", "WordPiece", "WordLevel", "Unigram")
SAVE_AS_FAST = (
    "save it as a fast one (AutoTokenizer, save_pretrained) into the same folder, which writes"
    " tokenizer.json"
)


def check_tokenizer_files(model: str, files: Mapping[str, bytes]) -> None:
    """Whether a model's tokenizer can be read, as far as the libraries installed here
    tell. Takes milliseconds: neither transformers nor weights are loaded.

    Args:
        model: the source as the user named it, for the error.
        files: the content of its tokenizer files by name (TOKENIZER_FILES), those that it has.

    Raises:
        InputError: none can be read; names the file and the fix.
    """
    for name in sorted(files.keys() & set(TOKENIZER_FILES)):
        _check_no_pointer(model, name, files[name])
        if name.endswith(".json"):
            read_object(model, files, name)
    if TOKENIZER in files:
        if importlib.util.find_spec("tokenizers"):
            read_tokenizer_json(model, files[TOKENIZER])
        return
    config = read_object(model, files, TOKENIZER_CONFIG)
    if isinstance(config.get("auto_map"), dict) and "AutoTokenizer" in config["auto_map"]:
        raise InputError(
            "model",
            model,
            "its tokenizer is code of its own (auto_map in tokenizer_config.json), which is not"
            f" run here; {SAVE_AS_FAST}",
        )
    for name in SENTENCEPIECE:
        if name in files:
            _check_sentencepiece(model, name, files[name])
            return
    if not any(kind <= files.keys() for kind in VOCABULARIES):
        raise InputError(
            "model", model, f"it holds no tokenizer that can be read here; {SAVE_AS_FAST}"
        )


def read_tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The tokenizer's files of a model folder by name, and its config.json."""
    return {
        name: (folder / name).read_bytes()
        for name in (*TOKENIZER_FILES, "config.json")
        if (folder / name).is_file()
    }


def read_tokenizer_json(model: str, data: bytes) -> "Tokenizer":
    """The tokenizer that a tokenizer.json describes. Raises InputError when it describes none."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(data.decode())
    # Rust raises a plain Exception.
    except Exception as error:
        version = importlib.metadata.version("tokenizers")
        kind = (read_object(model, {TOKENIZER: data}, TOKENIZER).get("model") or {}).get("type")
        problem = (
            f"has a model of type {kind!r}, where tokenizers {version} knows"
            f" {', '.join(MODEL_TYPES)}"
            if kind is not None and kind not in MODEL_TYPES
            else f"is none that tokenizers {version} can read ({error})"
        )
        raise InputError(
            "model",
            model,
            f"its {TOKENIZER} {problem}; save it again with tokenizers {version} or older",
        ) from None


def read_object(model: str, files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object in one of `files`; empty where there is no such file. Raises InputError when
    it is none.
    """
    return json_object(model, name, files[name]) if name in files else {}


def _check_no_pointer(model: str, name: str, data: bytes) -> None:
    if data.startswith(LFS_POINTER):
        raise InputError(
            "model", model, f"its {name} is a pointer of git LFS, not the file; run git lfs pull"
        )


def _check_sentencepiece(model: str, name: str, data: bytes) -> None:
    if _is_tiktoken(data):
        raise InputError(
            "model",
            model,
            f"its {name} is in the format of tiktoken, which does not say how text is split;"
            f" {SAVE_AS_FAST}",
        )
    try:
        from sentencepiece import SentencePieceProcessor
    except ModuleNotFoundError:
        return
    try:
        pieces = SentencePieceProcessor(model_proto=data).get_piece_size()
    except (RuntimeError, ValueError):
        pieces = 0
    if not pieces:
        raise InputError(
            "model",
            model,
            f"its {name} is no SentencePiece model; download it again, or {SAVE_AS_FAST}",
        )


def _is_tiktoken(data: bytes) -> bool:
    """A line for each token: its bytes in base64, and its rank."""
    token, _, rank = data.partition(b"\n")[0].partition(b" ")
    try:
        return bool(base64.b64decode(token, validate=True)) and rank.strip().isdigit()
    except binascii.Error:
        return False
