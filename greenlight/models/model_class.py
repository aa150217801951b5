"""The transformers class that loads a checkpoint, and the load that takes no other weights than
those the class asks for.
"""

import contextlib
import functools
import importlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from greenlight.core.errors import IntegrityError
from greenlight.models.description import describe_folder
from greenlight.models.file_selection import CONFIG

# torch's names of the types that weights are computed in, by those of safetensors
FLOATS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
NAMED_KEYS = 3


def find_model_class(config: dict[str, Any]) -> Any:
    """The class that config.json names, from its own module, which is faster to import than the
    table of all models; from that table where the class is not in its usual module. Quantizing,
    evaluation and serving load with it, so that all three compute the same.

    Args:
        config: the checkpoint's config.json.
    """
    try:
        kind = config["model_type"]
        return getattr(
            importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"),
            config["architectures"][0],
        )
    except (KeyError, IndexError, TypeError, ImportError, AttributeError):
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM


def load_model(folder: Path, **options: Any) -> Any:
    """Load the checkpoint in `folder` with its class.

    Args:
        options: of transformers' `from_pretrained`.

    Raises:
        IntegrityError: its weights are not those of its config. transformers would fill what is
            missing with random numbers.
    """
    kind = find_model_class(json.loads((folder / CONFIG).read_bytes()))
    return load_checked(kind.from_pretrained, folder, local_files_only=True, **options)


@contextlib.contextmanager
def checked_loading(kind: Any) -> Iterator[None]:
    """Within it `kind.from_pretrained(folder)` checks as `load_model` does. For libraries that wrap
    that method; enter theirs after this.
    """
    own = kind.__dict__.get("from_pretrained")
    kind.from_pretrained = functools.partial(load_checked, kind.from_pretrained)
    try:
        yield
    finally:
        if own is None:
            del kind.from_pretrained
        else:
            kind.from_pretrained = own


def load_checked(load: Callable[..., Any], folder: Any, *arguments: Any, **options: Any) -> Any:
    """`load(folder)`, a `from_pretrained` of transformers, with the check of `load_model`.

    Tied weights, and those whose absence or presence a class expects, do not count: transformers
    leaves them out of its report.
    """
    # so that what does not fit is named below, and not only in what transformers prints
    options["ignore_mismatched_sizes"] = True
    model, report = load(folder, *arguments, output_loading_info=True, **options)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        keys = sorted(map(str, report.get(problem) or ()))
        if keys:
            raise IntegrityError(
                f"{folder} loads with {len(keys)} {problem.replace('_', ' ')}"
                f" ({', '.join(keys[:NAMED_KEYS])}{', …' if len(keys) > NAMED_KEYS else ''}): its"
                " weights are not those of its config. Make it again."
            )
    return model


def save_weights(model: Any, output: Path, **options: Any) -> None:
    """Save config and weights of a loaded model. Not its settings for generation, which
    transformers may find odd and then saves nothing: the source's are copied as they are.

    Args:
        options: of transformers' `save_pretrained`.
    """
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()
    model.save_pretrained(output, **options)
    (output / "generation_config.json").unlink(missing_ok=True)


def weights_dtype(folder: Path) -> str:
    """torch's name of the type that most of a checkpoint's weights have in its files. What its
    config says may be missing, nested or another: that is what they were trained or loaded in.
    """
    sizes: dict[str, int] = defaultdict(int)
    for tensor in describe_folder(folder).tensors.values():
        if tensor.dtype in FLOATS:
            sizes[tensor.dtype] += tensor.bytes
    return FLOATS[max(sizes, key=lambda name: sizes[name])] if sizes else "float32"
