"""What a place is that holds no model, in words that say what to give instead."""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Sequence

PICKLE = re.compile(
    r"(?!training_args|optimizer|scheduler|scaler|rng_state).*\.(bin|pt|pth|ckpt|pkl|pickle)"
)
OTHER_FORMAT = re.compile(r".*\.(ggml|onnx|h5|msgpack|tflite|mlmodel|npz|xml)")
SNAPSHOT = re.compile(r"snapshots/([^/]+)/config\.json")
PIPELINE = "model_index.json"
AS_SAVED = "give a folder as save_pretrained writes it"
GGUF = (
    "its weights are GGUF ({name}), and safetensors are needed; give the model that it was made"
    " from, or `--from-gguf {name}` to convert it"
)


def why_no_config(names: Collection[str], read: Callable[[str], bytes]) -> str:
    """For a place without config.json.

    Args:
        names: paths of all its files; see `choose_files`.
        read: gives the content of a small file.
    """
    top = sorted(name for name in names if "/" not in name)
    if PIPELINE in top:
        return "it is a diffusers pipeline, which makes images; give a causal language model"
    if "adapter_config.json" in top or any(name.startswith("adapter_model.") for name in top):
        return _adapter(top, read)
    others = [name for name in top if name.endswith((".gguf", ".safetensors"))]
    if others and all(name.endswith(".gguf") for name in others):
        return GGUF.format(name=others[0])
    if snapshots := sorted(match[1] for name in names if (match := SNAPSHOT.fullmatch(name))):
        return (
            "it is the root of a hub cache, which keeps each commit in a folder of its own; give"
            f" snapshots/{_cached_main(names, read, snapshots)} in it"
        )
    original = [name for name in top if name.startswith("consolidated")]
    if original and not [name for name in others if name not in original]:
        return (
            f"it is in the original format of its makers ({original[0]}); give the version for"
            " transformers, which has a config.json"
        )
    below = sorted(
        (name.removesuffix("/config.json") for name in names if name.endswith("/config.json")),
        key=lambda name: (name.count("/"), name),
    )
    if below:
        more = f" ({len(below) - 1} other folders in it hold one too)" if below[1:] else ""
        return f"it holds no config.json, but its folder {below[0]} does; give that one{more}"
    return f"it holds no config.json; {AS_SAVED}"


def why_no_weights(
    top: Collection[str], read: Callable[[str], bytes], weights: Sequence[str]
) -> str:
    """For a place with config.json, but without weights that can be taken.

    Args:
        top: names of its files.
        weights: names of safetensors files that may be the model's, but which ones is not clear.
    """
    if weights:
        return (
            f"which of its {len(weights)} weight files make the model is not said:"
            " model.safetensors.index.json is missing; complete it"
        )
    return (
        other_weights(top, read)
        or f"it holds no model.safetensors, nor an index of other files; {AS_SAVED}"
    )


def other_weights(top: Collection[str], read: Callable[[str], bytes]) -> str:
    """Which weights of another kind a place holds, and what to give instead. Empty: none."""
    if any(name.startswith("adapter_model.") for name in top):
        return _adapter(top, read)
    if pickles := sorted(name for name in top if PICKLE.fullmatch(name)):
        return (
            f"its weights are pickled ({pickles[0]}), and loading a pickle runs code; convert them"
            " to safetensors with save_pretrained"
        )
    if gguf := sorted(name for name in top if name.endswith(".gguf")):
        return GGUF.format(name=gguf[0])
    if others := sorted(name for name in top if OTHER_FORMAT.fullmatch(name)):
        return f"its weights are in another format ({others[0]}); give the model as safetensors"
    if original := sorted(name for name in top if name.startswith("consolidated")):
        return (
            f"it holds only the weights in the original format of its makers ({original[0]}); give"
            " the version for transformers, which has a model.safetensors or an index"
        )
    return ""


def _adapter(top: Collection[str], read: Callable[[str], bytes]) -> str:
    base = None
    if "adapter_config.json" in top:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            base = json.loads(read("adapter_config.json"))["base_model_name_or_path"]
    return (
        f"it is an adapter of {base or 'its base model'}, not a whole model; write adapter: before"
        " its name to merge the two"
    )


def _cached_main(names: Collection[str], read: Callable[[str], bytes], snapshots: list[str]) -> str:
    """The snapshot that the cache calls main; else the first."""
    main = read("refs/main").decode(errors="replace").strip() if "refs/main" in names else ""
    return main if main in snapshots else snapshots[0]
