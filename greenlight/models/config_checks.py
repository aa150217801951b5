"""What config.json says: a full-precision causal language model, which the installed transformers
loads without code of the model's own?
"""

from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from greenlight.core.errors import InputError
from greenlight.core.records import Format
from greenlight.models.context import context_length
from greenlight.models.known_types import KnownTypes, known_types

QUANTIZED: tuple[Format, ...] = ("bitsandbytes", "compressed-tensors")
CAUSAL = ("ForCausalLM", "LMHeadModel", "WithLMHead")
OTHER_KINDS = {
    "ForSequenceClassification": "a classifier of texts",
    "ForTokenClassification": "a classifier of tokens",
    "ForQuestionAnswering": "a model that finds answers in a text",
    "ForMultipleChoice": "a classifier of texts",
    "RewardModel": "a reward model",
    "ForMaskedLM": "an encoder, which fills gaps in a text",
    "ForConditionalGeneration": "a model of images, sound or of pairs of texts",
    "Model": "a body without a head that predicts tokens, as embedding models are",
}
GIVE = "give a causal language model"


def check_config(model: str, config: dict[str, Any], quantized_too: bool = False) -> Format:
    """Check that config.json describes a full-precision causal language model, or with
    `quantized_too` one of a known format; returns its format.

    Args:
        model: the source as the user named it, for the error.

    Raises:
        InputError: it is incomplete, or describes another.
    """
    if not isinstance(config.get("model_type"), str):
        raise InputError(
            "model",
            model,
            "its config.json names no model_type; give a folder as save_pretrained writes it",
        )
    check_kind(model, config)
    if context_length(config) is None:
        raise InputError(
            "model",
            model,
            "its config.json does not say how many tokens the model can read; add"
            " max_position_embeddings to it",
        )
    return _check_format(model, config.get("quantization_config"), quantized_too)


def _check_format(model: str, quantization: Any, quantized_too: bool) -> Format:
    if not quantization:
        return "safetensors"
    method = (
        quantization.get("quant_method", "some method")
        if isinstance(quantization, dict)
        else "some method"
    )
    if not quantized_too:
        raise InputError(
            "model",
            model,
            f"it is already quantized ({method}); give the full-precision model that it was made"
            " from",
        )
    for known in QUANTIZED:
        if method == known:
            return known
    raise InputError(
        "model",
        model,
        f"it is quantized with {method}, which nothing here loads; known are"
        f" {', '.join(QUANTIZED)}",
    )


def check_kind(model: str, config: dict[str, Any]) -> tuple[str, ...]:
    """Check that transformers loads this config.json as a causal language model. Without
    transformers nothing is checked. Gives notes for people.

    Raises:
        InputError: it does not, and why.
    """
    known = known_types()
    model_type = config["model_type"]
    if known is None:
        return ()
    if problem := _not_causal(config, known):
        raise InputError("model", model, problem)
    own = known.causal[model_type]
    if config.get("auto_map"):
        return (f"uses {own} of transformers; the code that comes with the model is never run",)
    return ()


def _not_causal(config: dict[str, Any], known: KnownTypes) -> str:
    """Why not; empty when it is."""
    model_type = config["model_type"]
    named = _architecture(config)
    own_code = (
        f"it needs code of its own ({named or model_type}, auto_map in its config.json), which is"
        " never run here; give a model of a type that transformers itself has"
    )
    if model_type not in known.configs and model_type not in known.causal:
        if config.get("auto_map"):
            return own_code
        near = get_close_matches(model_type, known.causal, 3, 0.75)
        meant = f" (near it: {', '.join(near)})" if near else ""
        return (
            f"its config.json names the model_type {model_type!r}, which transformers"
            f" {version('transformers')} does not know; correct it{meant}, or give a model of one"
            f" of the {len(known.causal)} types that it has as causal language models"
        )
    if config.get("is_encoder_decoder"):
        return f"it is an encoder with a decoder ({named or model_type}); {GIVE}"
    if model_type not in known.causal:
        if "AutoModelForCausalLM" in (config.get("auto_map") or ()):
            return own_code
        return (
            f"it is a {model_type} model ({named or 'no architecture named'}), which transformers"
            f" has not as a causal language model; {GIVE}"
        )
    if model_type in known.masked and not (config.get("is_decoder") or config.get("causal")):
        return f"it is an encoder ({named or model_type}), which does not continue texts; {GIVE}"
    if not named or named.casefold() == known.causal[model_type].casefold():
        return ""
    if config.get("auto_map"):
        return own_code
    if named.endswith(CAUSAL):
        return ""  # an older name, or a subclass with the same weights
    for end, what in OTHER_KINDS.items():
        if named.endswith(end):
            return f"it is {what} ({named}); {GIVE}"
    return f"it is {named}, which is no causal language model; {GIVE}"


def _architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""
