"""The tokenizer of a model folder, as evaluation, calibration and serving read it: what
transformers' AutoTokenizer gives for the same folder.

A folder's tokenizer.json is not all of it: tokens stand in other files too or are defaults of a
class, and some classes build another tokenizer from the same vocabulary. So transformers builds
the tokenizer, which takes seconds to import, unless tokenizer.json is known to be what it would
build: a model that Greenlight quantized says so by the digest of its tokenizer.json, and a folder
as transformers 5 saves it names nothing that tokenizer.json lacks.
"""

import contextlib
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.extras import MissingExtraError, how_to_install
from greenlight.models.context import text_config
from greenlight.models.tokenizer_checks import (
    ADDED_TOKENS,
    SAVE_AS_FAST,
    SENTENCEPIECE,
    SPECIAL_TOKENS_MAP,
    TOKENIZER,
    TOKENIZER_CONFIG,
    check_tokenizer_files,
    read_object,
    read_tokenizer_files,
    read_tokenizer_json,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger("greenlight.models")

SETTLED = "greenlight_tokenizer_sha256"
"""Key of a tokenizer_config.json: the digest of the tokenizer.json that AutoTokenizer was asked
about when the model was quantized.
"""
GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
GENERIC_MODELS = ("llama", "mistral", "qwen3", "gpt_neox", "olmo2", "smollm3", "granite")
"""Types of models for which AutoTokenizer follows a tokenizer_config.json that names one of
GENERIC_CLASSES; for some others it takes a class of its own.
"""
PATCHED_FROM = 100_000
"""Words of a vocabulary from which on transformers may change how a text is split."""


@dataclass(frozen=True)
class ModelTokenizer:
    """A tokenizer, and what chat templates are given of it.

    Attributes:
        special: the special tokens by name, such as `bos_token`.
    """

    tokenizer: "Tokenizer"
    special: dict[str, str]


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer of a model folder, as it reads one text of any length.

    Raises:
        InputError: there is none that can be read; names the file and the fix.
    """
    return load_model_tokenizer(folder).tokenizer


def load_model_tokenizer(folder: Path) -> ModelTokenizer:
    """As `load_tokenizer`, with its special tokens."""
    files = read_tokenizer_files(folder)
    if not _is_settled(str(folder), files):
        check_tokenizer_files(str(folder), files)
        try:
            return _build(folder)
        except ModuleNotFoundError as error:
            if error.name != "transformers" or TOKENIZER not in files:
                raise MissingExtraError(
                    f"The tokenizer of {folder} cannot be read without {error.name}."
                    f" {how_to_install('quantize')} Or give a model that Greenlight quantized."
                ) from None
            log.warning(
                "transformers is not installed: the tokenizer is taken from tokenizer.json alone"
            )
    tokenizer = read_tokenizer_json(str(folder), files[TOKENIZER])
    config = read_object(str(folder), files, TOKENIZER_CONFIG)
    tokenizer.encode_special_tokens = bool(config.get("split_special_tokens"))
    return ModelTokenizer(_unbounded(tokenizer), named_tokens(str(folder), files))


def check_ids(tokenizer: "Tokenizer", ids: Sequence[int], config: Mapping[str, Any]) -> None:
    """Raises GreenlightError when a text has a token that the model has no weights for: one that
    was added to the tokenizer alone.
    """
    size = text_config(config).get("vocab_size")
    if ids and isinstance(size, int) and (highest := max(ids)) >= size:
        raise GreenlightError(
            f"A text has the token {tokenizer.id_to_token(highest)!r} (id {highest}), and the model"
            f" has weights for {size} tokens. Leave out that text, or give a model whose embeddings"
            " were resized to its tokenizer (resize_token_embeddings, save_pretrained)."
        )


def load_special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens of a model folder by name, such as `bos_token`, as chat templates are
    given them. Empty where there is no tokenizer.
    """
    files = read_tokenizer_files(folder)
    has_tokenizer = files.keys() & {TOKENIZER, *SENTENCEPIECE, "vocab.json", "vocab.txt"}
    if has_tokenizer and not _is_settled(str(folder), files):
        return load_model_tokenizer(folder).special
    return named_tokens(str(folder), files)


def write_tokenizer(source: Path, target: Path) -> None:
    """Give the model folder `target` the tokenizer of `source`, so that its tokenizer.json alone is
    what AutoTokenizer gives for `source`. Files that say so already stay as they are. Needs
    transformers.

    Args:
        target: holds config.json and copies of the tokenizer files of `source`.

    Raises:
        InputError: it has none, or one that tokenizer.json cannot say.
    """
    files = read_tokenizer_files(source)
    if _is_settled(str(source), files):
        return
    check_tokenizer_files(str(source), files)
    built = _build(source)
    if TOKENIZER not in files or not _same(
        _unbounded(read_tokenizer_json(str(source), files[TOKENIZER])), built.tokenizer
    ):
        built.tokenizer.save(str(target / TOKENIZER))
    config = read_object(str(source), files, TOKENIZER_CONFIG) | built.special
    config[SETTLED] = hashlib.sha256((target / TOKENIZER).read_bytes()).hexdigest()
    # A class may build another tokenizer from the tokenizer.json than from what it was made from.
    for tokenizer_class in (config.get("tokenizer_class"), GENERIC_CLASSES[1]):
        if tokenizer_class:
            config["tokenizer_class"] = tokenizer_class
        (target / TOKENIZER_CONFIG).write_text(
            json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        )
        if all(
            _same(each.tokenizer, built.tokenizer)
            and each.tokenizer.encode_special_tokens == built.tokenizer.encode_special_tokens
            and each.special == built.special
            for each in (_build_beside(target, source), load_model_tokenizer(target))
        ):
            return
    raise InputError(
        "model",
        str(source),
        "its tokenizer cannot be written as a tokenizer.json that reads texts the same;"
        f" {SAVE_AS_FAST}",
    )


def _build_beside(target: Path, source: Path) -> ModelTokenizer:
    """By transformers, from the tokenizer files of `target` and the config.json of `source`: that
    of `target` may be written by another version of transformers, which this one cannot read.
    """
    with tempfile.TemporaryDirectory() as name:
        files = read_tokenizer_files(target)
        if (source / "config.json").is_file():
            files["config.json"] = (source / "config.json").read_bytes()
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        return _build(Path(name))


def _is_settled(model: str, files: Mapping[str, bytes]) -> bool:
    """Whether tokenizer.json is known to be what AutoTokenizer would build."""
    if TOKENIZER not in files:
        return False
    config = read_object(model, files, TOKENIZER_CONFIG)
    if SETTLED in config:
        return bool(config[SETTLED] == hashlib.sha256(files[TOKENIZER]).hexdigest())
    if (
        config.get("tokenizer_class") not in GENERIC_CLASSES
        or read_object(model, files, "config.json").get("model_type") not in GENERIC_MODELS
        or files.keys() & {ADDED_TOKENS, SPECIAL_TOKENS_MAP}
        or config.keys() & {"added_tokens_decoder", "additional_special_tokens", "auto_map"}
    ):
        return False
    content = read_object(model, files, TOKENIZER)
    added = {each.get("content"): each for each in content.get("added_tokens") or ()}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    extra = config.get("extra_special_tokens") or []
    named = [
        value for name, value in config.items() if name.endswith("_token") and value is not None
    ]
    return (
        content.get("post_processor") is not None
        and len(content.get("model", {}).get("vocab") or ()) < PATCHED_FROM
        and isinstance(extra, list)
        and all(
            isinstance(token, str)
            and token in added
            and added[token] | flags | {"special": True} == added[token]
            for token in [*named, *extra]
        )
    )


def _build(folder: Path) -> ModelTokenizer:
    """By transformers, from the files of the folder alone."""
    with _quiet():
        from transformers import AutoTokenizer

        try:
            found = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        # Anything may come of files that people bring, and Rust raises a plain Exception.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(
                "model",
                str(folder),
                f"transformers cannot read its tokenizer ({reason}); {SAVE_AS_FAST}",
            ) from None
    tokenizer = getattr(found, "backend_tokenizer", None)
    if tokenizer is None:
        raise InputError(
            "model",
            str(folder),
            f"its {type(found).__name__} has no fast form; give a model with a tokenizer.json",
        )
    tokenizer.encode_special_tokens = found.split_special_tokens
    return ModelTokenizer(_unbounded(tokenizer), _special_tokens(found.special_tokens_map))


def _unbounded(tokenizer: "Tokenizer") -> "Tokenizer":
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _same(one: "Tokenizer", other: "Tokenizer") -> bool:
    """Whether two tokenizers read any text the same."""
    mine, theirs = json.loads(one.to_str()), json.loads(other.to_str())
    scores = [each["model"].pop("vocab") for each in (mine, theirs)]
    return mine == theirs and _same_vocabulary(*scores)


def _same_vocabulary(one: Any, other: Any) -> bool:
    """Reading the scores of a Unigram model from JSON moves their last bit."""
    if isinstance(one, dict) or isinstance(other, dict) or len(one) != len(other):
        return bool(one == other)
    return all(
        piece == text and math.isclose(score, close, rel_tol=1e-12)
        for (piece, score), (text, close) in zip(one, other, strict=True)
    )


def named_tokens(model: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """What the files of a tokenizer say."""
    config = read_object(model, files, TOKENIZER_CONFIG)
    if SETTLED not in config and "added_tokens_decoder" not in config:
        config |= read_object(model, files, SPECIAL_TOKENS_MAP)
    return _special_tokens(config)


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The named ones of a tokenizer_config.json or of what transformers says."""
    texts = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in config.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers logs about files that are not there."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
