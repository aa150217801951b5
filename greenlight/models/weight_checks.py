"""Do the tensors make the model that config.json describes? Embedding, layers and output head are
looked for here, in milliseconds; the load in `quantize` compares every name.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from greenlight.core.errors import InputError
from greenlight.models.context import text_config
from greenlight.models.known_types import known_types
from greenlight.models.safetensors_header import Tensor

FLOATS = ("BF16", "F16", "F32", "F64")
LAYER = re.compile(r"((?:.*?\.)?(?:layers|layer|h|blocks))\.(\d+)\.")
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
EMBEDDING = re.compile(r".*(embed_tokens|wte|word_embeddings|embed_in|embeddings)\.weight")
HEAD = re.compile(r"(.*\.)?(lm_head|embed_out|output|head|output_layer)\.weight")


def check_weights(model: str, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Check the tensors of a full-precision model against its config.json.

    Raises:
        InputError: weights are missing, or are no floating-point numbers.
    """
    if not any(tensor.bytes for tensor in tensors.values()):
        raise InputError("model", model, "its weights are empty; save the model again")
    sizes: dict[str, int] = defaultdict(int)
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.bytes
    dtype = max(sizes, key=lambda name: sizes[name])
    if dtype not in FLOATS:
        raise InputError(
            "model",
            model,
            f"most of its weights are {dtype}, so it is already quantized, though its config.json"
            " does not say how; give the full-precision model that it was made from",
        )
    if missing := _missing_layers(text_config(config), tensors) or _missing_ends(config, tensors):
        raise InputError("model", model, missing)


def _missing_layers(text: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    # Some families count their blocks once as layers and once as two.
    count = min((text[name] for name in LAYER_COUNTS if isinstance(text.get(name), int)), default=0)
    stacks: dict[str, set[int]] = defaultdict(set)
    for name in tensors:
        if match := LAYER.match(name):
            stacks[match[1]].add(int(match[2]))
    for stack, found in sorted(stacks.items()):
        # Of several stacks, such as that of images, config.json counts one, and it is not clear
        # which; none has gaps.
        whole = count if len(stacks) == 1 else max(found)
        if missing := sorted(set(range(whole)) - found):
            return (
                f"its weights lack {len(missing)} of {whole} layers, first {stack}.{missing[0]};"
                " complete it, or correct the number of layers in its config.json"
            )
    return ""


def _missing_ends(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The embedding and the output head have a row for each token; no other tensors do."""
    vocabulary = text_config(config).get("vocab_size")
    if not isinstance(vocabulary, int):
        return ""
    outside = {
        name: tensor.shape[0]
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2 and not re.search(r"\.\d+\.", name)
    }
    ends = sorted(name for name, rows in outside.items() if rows == vocabulary)
    if not ends:
        for name, rows in sorted(outside.items()):
            if EMBEDDING.fullmatch(name):
                return (
                    f"its {name} has {rows} rows, and its config.json says vocab_size {vocabulary};"
                    " correct vocab_size or save the model again"
                )
        return f"its weights hold no embedding of {vocabulary} tokens (vocab_size); complete it"
    if len(ends) > 1 or _tied(config) is not False:
        return ""
    # Some families have a row or two more in one of both.
    kind, lacks = (
        (EMBEDDING, "the embedding")
        if HEAD.fullmatch(ends[0])
        else (HEAD, "the output head (lm_head.weight)")
    )
    if any(kind.fullmatch(name) for name in outside):
        return ""
    return (
        f"its weights lack {lacks}: only {ends[0]} has a row for each token, and"
        " tie_word_embeddings is false; complete it, or say true in config.json if both are one"
    )


def _tied(config: dict[str, Any]) -> bool | None:
    """Whether embedding and output head are one. None: not known."""
    for part in (config, text_config(config)):
        if isinstance(tied := part.get("tie_word_embeddings"), bool):
            return tied
    known = known_types()
    return known.config_flag(config["model_type"], "tie_word_embeddings") if known else None
