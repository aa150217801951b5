"""The tokenizer of a GGUF file, which holds its vocabulary and merges, and how texts are split only
by a name that llama.cpp knows.

transformers rebuilds it too, but splits all texts as GPT-2 does where the class of the model says
nothing else, and takes the first token of a text for the last.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from greenlight.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
CONTROL, USER_DEFINED = 3, 4  # types of tokens
SPECIAL = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}"
QWEN2 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}"
GPT2, DIGITS = "", "digits"
# How a text is split before it is merged, by the names that llama.cpp gives it:
# https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
SPLITS = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais"), GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "dbrx", "smaug-bpe"), LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan"), QWEN2),
}
WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "falcon3")
"""Those that take a word which is a token as it is, and begin each text with a token."""


def check_tokenizer(model: str, settings: Mapping[str, Any]) -> None:
    """Can the tokenizer be built that these settings of a GGUF file describe?

    Raises:
        InputError: no.
    """
    kind, split = settings.get("tokenizer.ggml.model"), settings.get("tokenizer.ggml.pre", "")
    if kind == SENTENCEPIECE or (kind == BYTE_LEVEL and split in SPLITS):
        return
    what = f"a tokenizer of the kind {kind!r}" + (f" that splits texts as {split!r}" * bool(split))
    raise InputError(
        "model",
        model,
        f"it has {what if kind else 'no tokenizer'}, which is not rebuilt from GGUF here; give the"
        " model as safetensors, or a newer conversion of it",
    )


def build_tokenizer(settings: Mapping[str, Any]) -> "PreTrainedTokenizerBase":
    """The byte-level tokenizer that the settings describe.

    Args:
        settings: as `check_tokenizer` accepts them, with arrays as lists.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    name = settings["tokenizer.ggml.pre"]
    tokens: Sequence[str] = settings["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in settings["tokenizer.ggml.merges"]]
    backend = Tokenizer(
        models.BPE(
            {token: place for place, token in enumerate(tokens)},
            merges,
            ignore_merges=name in WHOLE_WORDS,
        )
    )
    split = SPLITS[name]
    steps: list[Any] = [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in (GPT2, DIGITS))
    ]
    if split == DIGITS:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    elif split != GPT2:
        steps.insert(0, pre_tokenizers.Split(Regex(split), "isolated"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    kinds = settings.get("tokenizer.ggml.token_type", ())
    for special, kind in ((True, CONTROL), (False, USER_DEFINED)):
        backend.add_tokens(
            [
                AddedToken(token, special=special, normalized=False)
                for token, its in zip(tokens, kinds, strict=False)
                if its == kind
            ]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=settings.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        model_max_length=settings[f"{settings['general.architecture']}.context_length"],
        **special_tokens(settings),
    )


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by the names that transformers gives them, such as `eos_token`."""
    tokens = settings["tokenizer.ggml.tokens"]
    found = {
        f"{name}_token": settings.get(f"tokenizer.ggml.{key}_token_id")
        for key, name in SPECIAL.items()
    }
    return {
        name: tokens[place]
        for name, place in found.items()
        if place is not None and place < len(tokens)
    }


def begins_texts(settings: Mapping[str, Any]) -> bool:
    """Whether each text begins with the token for it."""
    default = settings.get("tokenizer.ggml.model") == SENTENCEPIECE
    default = default or settings.get("tokenizer.ggml.pre") in WHOLE_WORDS
    return bool(settings.get("tokenizer.ggml.add_bos_token", default))
