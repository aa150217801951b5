"""Which files of a listing make the model. Pickles, code and other formats are never among them."""

import re
from collections.abc import Iterable

from greenlight.core.errors import InputError

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
PICKLE = re.compile(r".*\.(bin|pt|pth|ckpt|pkl|pickle)")
OTHER_FORMAT = re.compile(r".*\.(gguf|ggml|onnx|h5|msgpack|tflite|mlmodel)")
COMPANION = re.compile(
    r"generation_config\.json|tokenizer\.json|tokenizer\.model|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|vocab\.txt"
    r"|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|chat_template\.(jinja|json)|(LICENSE|LICENCE|NOTICE|COPYING|USE_POLICY)[\w.-]*|README\.md",
    re.IGNORECASE,
)
TOKENIZERS = (
    {"tokenizer.json"},
    {"tokenizer.model"},
    {"spiece.model"},
    {"sentencepiece.bpe.model"},
    {"vocab.json", "merges.txt"},
    {"vocab.txt"},
)


def choose_files(model: str, listing: Iterable[str]) -> list[str]:
    """The names to take from the names at the top of a source, sorted: config, weights, tokenizer,
    chat template, license.

    Args:
        model: the source as the user named it, for the error.

    Raises:
        InputError: the names cannot make a model.
    """
    names = set(listing)
    if CONFIG not in names:
        raise InputError(
            "model", model, "it holds no config.json; give a folder as save_pretrained writes it"
        )
    weights = _weights(model, names)
    if not any(kind <= names for kind in TOKENIZERS):
        raise InputError(
            "model",
            model,
            "it holds no tokenizer (such as tokenizer.json); save the tokenizer into the same"
            " folder",
        )
    return sorted({CONFIG, *weights, *(name for name in names if COMPANION.fullmatch(name))})


def _weights(model: str, names: set[str]) -> set[str]:
    if SINGLE in names:
        return {SINGLE}
    shards = {name: match for name in names if (match := SHARD.fullmatch(name))}
    if not shards:
        raise InputError("model", model, _no_weights(names))
    total = int(next(iter(shards.values())).group(2))
    wanted = {f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)}
    if missing := sorted(wanted - names):
        raise InputError(
            "model",
            model,
            f"it lacks {len(missing)} of {total} weight files, first {missing[0]}; complete it",
        )
    if INDEX not in names:
        raise InputError(
            "model", model, f"its weights are in {total} files but {INDEX} is missing; complete it"
        )
    return wanted | {INDEX}


def _no_weights(names: set[str]) -> str:
    if "adapter_model.safetensors" in names:
        return (
            "it is an adapter; merge it into its base model (merge_and_unload of peft), save that"
            " and give its folder"
        )
    if pickles := sorted(name for name in names if PICKLE.fullmatch(name)):
        return (
            f"its weights are pickled ({pickles[0]}), and loading a pickle runs code; convert them"
            " to safetensors with save_pretrained"
        )
    if others := sorted(name for name in names if OTHER_FORMAT.fullmatch(name)):
        return f"its weights are in another format ({others[0]}); give the model as safetensors"
    return f"it holds no {SINGLE}, nor model-00001-of-…; give a folder as save_pretrained writes it"
