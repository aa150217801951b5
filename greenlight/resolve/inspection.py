"""What a model is, and what can be made of it: read from its config, its tokenizer and the headers
of its weights, before anything is downloaded.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from math import prod

from pydantic import BaseModel, Field

from greenlight.core import formats
from greenlight.core.errors import InputError
from greenlight.core.records import recipe_name
from greenlight.models.context import context_length, text_config
from greenlight.models.open_source import parse_source
from greenlight.models.safetensors_header import DTYPE_BITS, bytes_by_dtype
from greenlight.models.source import Description
from greenlight.models.tokenizer import named_tokens
from greenlight.quantize.coverage import linear_weights
from greenlight.quantize.methods import capabilities, methods
from greenlight.quantize.methods.base import Capability, Method
from greenlight.quantize.suitability import check_method_takes
from greenlight.serving.engines.registry import ENGINES, HAS_GPU
from greenlight.serving.engines.registry import TRANSFORMERS as BASELINE_ENGINE

SCALE_BITS = 0.25
"""Bits per weight that scales add: 16 bits for a group of 64 weights."""

WHOLE_BITS = 16
"""Handed to methods without a choice of bits."""

LIBRARIES = 1.1e9
"""Bytes of memory that the quantization libraries take, mapped files included
(docs/benchmarks.md).
"""


class MethodFit(BaseModel):
    """Whether one method takes a model, and what that comes to."""

    method: str
    bits: int | None = Field(description="Null where the method has no bits to choose.")
    refused: str = Field("", description="Why the method cannot take the model. Empty: it can.")
    needs: str = Field(
        "", description="Hardware that it cannot do without. Empty: a CPU is enough."
    )
    engines: list[str] = Field(
        default_factory=list, description="Engines that can serve the candidate."
    )
    bytes: int = Field(0, description="Estimated size of the candidate's weights in bytes.")
    memory_bytes: int = Field(
        0, description="Peak memory of the step quantize in bytes, estimated from measured shares."
    )
    disk_bytes: int = Field(
        0, description="Most bytes that the step quantize writes at any time, estimated."
    )
    seconds: float | None = Field(
        None,
        description="Seconds of the step quantize on two CPU cores, estimated; calibration on more"
        " than 1,000 tokens adds to it. Null: not measured.",
    )

    @property
    def name(self) -> str:
        """As people write it: `optimum:8`."""
        return recipe_name(self.method, self.bits or 0)


class Inspection(BaseModel):
    """What a model is, as its small files and the headers of its weights say."""

    source: str = Field(description="The model as it was named.")
    commit: str
    model_type: str
    architecture: str = Field(description="Class that config.json names.")
    parameters: int = Field(description="Number of weights.")
    bytes: int = Field(description="Size of the weights in bytes.")
    dtype: str = Field(description="Type that most of the weights have.")
    context: int | None = Field(description="Maximum number of tokens that the model reads.")
    vocabulary: int
    tied: bool = Field(description="Whether the output layer shares the embedding's weights.")
    tokenizer: str = Field(description="File that holds the tokenizer.")
    chat_template: bool
    chat_refused: str = Field(
        "", description="Why its chat template fails, so that it only completes texts."
    )
    licence: str = Field(description="As the model says it. Empty: it does not.")
    baseline_engines: list[str] = Field(
        description="Engines that can serve the model itself, in full precision."
    )
    notes: list[str] = Field(default_factory=list)
    methods: list[MethodFit]

    def fit(self, method: str, bits: int) -> MethodFit:
        """What is said of one method."""
        return next(
            each for each in self.methods if each.method == method and each.bits in (bits, None)
        )


def inspect(model: str, revision: str = "") -> Inspection:
    """Look at a model without downloading or loading its weights.

    Args:
        model, revision: as of `greenlight run`.

    Raises:
        InputError: it is no model that can be taken; says why and what would do.
        GreenlightError: the source cannot be reached.
    """
    source = parse_source(model, revision)
    if (described := source.check()) is None:
        raise InputError(
            "model",
            model,
            "its package was not fetched on this machine yet; fetch it with `greenlight download`,"
            " then inspect it again",
        )
    return inspect_description(described, source.resolve())


def inspect_description(described: Description, commit: str = "") -> Inspection:
    """The same of a model that was described already."""
    config, tensors = described.config, described.tensors
    language = text_config(config)
    sizes = bytes_by_dtype(tensors.values())
    chat = _try_template(described)
    return Inspection(
        source=described.source,
        commit=commit,
        model_type=str(config.get("model_type", "")),
        architecture=next(iter(config.get("architectures") or ()), ""),
        parameters=sum(prod(tensor.shape) for tensor in tensors.values()),
        bytes=sum(sizes.values()),
        dtype=sizes.most_common(1)[0][0],
        context=context_length(config),
        vocabulary=int(language.get("vocab_size") or 0),
        tied=not any("lm_head" in name or "embed_out" in name for name in tensors),
        tokenizer=_tokenizer_file(described.files),
        chat_template=chat is not None,
        chat_refused=chat or "",
        licence=described.licence,
        baseline_engines=able_engines(described, "none", WHOLE_BITS),
        notes=list(described.notes),
        methods=[_fit(described, each) for each in capabilities()],
    )


def able_engines(described: Description, method: str, bits: int) -> list[str]:
    """The engines that serve what a method makes of this model."""
    alone = methods()[method].weight_bits(bits)
    return [
        name
        for name in methods()[method].engines
        if not ENGINES[name].refuses(described.config, alone)
    ]


def check_takes(
    described: Description,
    recipes: Sequence[tuple[str, int]],
    engine: str,
    *,
    here: bool,
    first: bool,
) -> None:
    """Check that every chosen method takes the model, and that an engine serves the result.

    Args:
        recipes: methods with their bits.
        engine: the engine that was chosen, or `auto`.
        here: this machine serves, so that an engine must be installed on it.
        first: nothing is live yet on this machine, so that the model itself is served too, in full
            precision, for the candidate to be compared with.

    Raises:
        InputError: one does not; says why and what would do.
    """
    for method, bits in recipes:
        _check_recipe(described, method, bits, engine, here)
    if first and (reason := BASELINE_ENGINE.refuses(described.config)):
        raise InputError(
            "model",
            described.source,
            "nothing is live yet, so the model is first served in full precision, which here"
            f" {BASELINE_ENGINE.name} does, and {reason}; make something live first, with"
            " `greenlight deploy`",
        )


def say_takes(described: Description, recipes: Sequence[tuple[str, int]]) -> str:
    """One line for people: by which methods a model is taken, and what that needs."""
    found = inspect_description(described)
    fits = [found.fit(*recipe) for recipe in recipes]
    engines = sorted({name for each in fits for name in each.engines})
    times = [each.seconds for each in fits]
    needs = [
        f"{formats.size(max(each.memory_bytes for each in fits))} of memory",
        f"{formats.size(sum(each.disk_bytes for each in fits))} of disk",
        *([f"{formats.duration(sum(filter(None, times)))}"] if None not in times else []),
    ]
    return (
        f"takes {described.source} ({found.architecture}, {found.parameters / 1e6:,.1f} million"
        f" weights) with {', '.join(each.name for each in fits)}, served by"
        f" {' or '.join(engines)}; quantizing needs about {', '.join(needs)}"
    )


def _check_recipe(described: Description, method: str, bits: int, engine: str, here: bool) -> None:
    check_method_takes(method, bits, described.config, described.tensors)
    alone = methods()[method].weight_bits(bits)
    refused = {
        name: ENGINES[name].refuses(described.config, alone, on_cpu=here and not HAS_GPU)
        or (f"{name} is not installed here" if here and ENGINES[name].missing() else "")
        for name in methods()[method].engines
    }
    able = [name for name, reason in refused.items() if not reason]
    if able and engine in ("auto", *able):
        return
    reasons = "; ".join(filter(None, refused.values()))
    if able:
        raise InputError(
            "engine", engine, f"cannot serve {described.source}: {reasons}; use {able[0]} or auto"
        )
    raise InputError(
        "method",
        recipe_name(method, bits),
        f"no engine serves what it makes of {described.source}: {reasons}; `greenlight inspect"
        f" {described.source}` shows what would do",
    )


def _fit(described: Description, row: Capability) -> MethodFit:
    method = methods()[row.method]
    bits = row.bits or WHOLE_BITS
    refused = method.refuses(bits, described.config, described.tensors)
    engines = able_engines(described, row.method, bits)
    if not refused and not engines:
        alone = method.weight_bits(bits)
        refused = "; ".join(
            ENGINES[name].refuses(described.config, alone) for name in method.engines
        )
    if refused:
        return MethodFit(method=row.method, bits=row.bits, refused=refused)
    whole = sum(tensor.bytes for tensor in described.tensors.values())
    return MethodFit(
        method=row.method,
        bits=row.bits,
        needs=str(row.gpu or ""),
        engines=engines,
        bytes=_estimate_bytes(described, row, whole),
        memory_bytes=int(LIBRARIES + method.memory * whole),
        disk_bytes=int(method.disk * whole),
        seconds=_seconds(method, described),
    )


def _estimate_bytes(described: Description, row: Capability, whole: int) -> int:
    """Layers in the bits that were asked for, with their scales; the rest as it is, or in 8 bits
    with OpenVINO.
    """
    bits = row.bits or methods()[row.method].stored_bits
    if bits is None:
        return whole
    linear = linear_weights(described.tensors)
    packed = sum(prod(tensor.shape) for tensor in linear.values()) * (bits + SCALE_BITS) / 8
    rest = [tensor for name, tensor in described.tensors.items() if name not in linear]
    kept = sum(
        prod(tensor.shape) * (8 if row.format == "openvino" else DTYPE_BITS[tensor.dtype]) / 8
        for tensor in rest
    )
    return int(packed + kept)


def _seconds(method: Method, described: Description) -> float | None:
    if method.seconds is None:
        return None
    constant, slope = method.seconds
    weights = sum(prod(tensor.shape) for tensor in described.tensors.values())
    return round(constant + slope * weights / 1e9, 1)


def _try_template(described: Description) -> str | None:
    """As `greenlight.serving.chat.try_template`. Without the server's libraries, on a machine that
    only hands runs in, a template is not tried.
    """
    if not all(find_spec(name) for name in ("jinja2", "orjson")):
        there = b'"chat_template"' in described.texts.get("tokenizer_config.json", b"")
        return "" if there or "chat_template.jinja" in described.texts else None
    from greenlight.serving.chat import try_template

    return try_template(described.texts, named_tokens(described.source, described.texts))


def _tokenizer_file(files: dict[str, int]) -> str:
    names = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
    gguf = [name for name in files if name.endswith(".gguf")]
    return next((name for name in (*names, *gguf) if name in files), "")
