"""Which files of a listing make the model. Pickles, code and other formats are never among them."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from greenlight.core.errors import InputError
from greenlight.models.json_files import json_object
from greenlight.models.not_a_model import other_weights, why_no_config, why_no_weights

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
WEIGHTS = ".safetensors"
INDEXES = ".safetensors.index.json"
PART = re.compile(r".*\d+-of-(?!0*1\D)\d+.*")  # of several files: one of one is whole
# Weights of other things than the model: Mistral's and Meta's own format, adapters, what training
# leaves.
OTHER_WEIGHTS = re.compile(
    r"(consolidated|adapter_model|optimizer|scheduler|training_args|random_states).*"
)
LICENSE = re.compile(r"(LICENSE|LICENCE|NOTICE|COPYING|USE_POLICY)[\w.-]*", re.IGNORECASE)
COMPANION = re.compile(
    r"generation_config\.json|tokenizer\.json|tokenizer\.model|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|vocab\.txt"
    r"|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|chat_template\.(jinja|json)|README\.md|"
    + LICENSE.pattern,
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


@dataclass(frozen=True)
class Selection:
    """The files to take."""

    files: dict[str, str]  # name in the source -> name in the artifact, sorted
    weights: tuple[str, ...]  # names in the source
    places: dict[str, str]  # where the index places tensors: tensor -> file; empty without an index
    notes: tuple[str, ...] = ()  # what was decided, for people


def choose_files(model: str, names: Collection[str], read: Callable[[str], bytes]) -> Selection:
    """The files to take from the names in a source: config, weights, tokenizer, chat template,
    license. Weights are what transformers' `from_pretrained` takes: model.safetensors, else what an
    index names, else the only file of weights there is; the last two get the names by which it
    finds them.

    Args:
        model: the source as the user named it, for the error.
        names: paths of all files; only those at the top are taken, the others explain errors.
        read: gives the content of a small file.

    Raises:
        InputError: the names cannot make a model.
    """
    top = {name for name in names if "/" not in name}
    if CONFIG not in top:
        raise InputError("model", model, why_no_config(names, read))
    weights, places, notes = _weights(model, top, read)
    if not any(kind <= top for kind in TOKENIZERS):
        raise InputError(
            "model",
            model,
            "it holds no tokenizer (such as tokenizer.json); save the tokenizer into the same"
            " folder",
        )
    companions = {name: name for name in top if COMPANION.fullmatch(name)}
    files = {CONFIG: CONFIG, **companions, **weights}
    return Selection(
        dict(sorted(files.items())),
        tuple(sorted(name for name in weights if name.endswith(WEIGHTS))),
        places,
        notes,
    )


def list_folder(folder: Path) -> dict[str, int]:
    """Sizes of the files in a folder by their names. Without a config.json also of those in the
    folders below, three deep, which may tell what the folder is.
    """
    found = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    if CONFIG in found:
        return found
    for pattern in ("*/*", "*/*/*"):
        for path in sorted(folder.glob(pattern))[:1000]:
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found


def names_in_folder(model: str, folder: Path) -> list[str]:
    """As `choose_files`, of a folder that is used where it lies.

    Raises:
        InputError: it is no model, or its weights have names that transformers does not find.
    """
    selection = choose_files(model, list_folder(folder), lambda name: (folder / name).read_bytes())
    for name, wanted in selection.files.items():
        if name != wanted:
            raise InputError(
                "model",
                model,
                f"transformers finds its weights only when {name} is called {wanted}; rename it, or"
                " use `greenlight download`, which does",
            )
    return list(selection.files)


def _weights(
    model: str, top: set[str], read: Callable[[str], bytes]
) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """Weights and index to take, where the index places tensors, and notes."""
    indexes = sorted(
        name for name in top if name.endswith(INDEXES) and not OTHER_WEIGHTS.fullmatch(name)
    )
    singles = sorted(
        name for name in top if name.endswith(WEIGHTS) and not OTHER_WEIGHTS.fullmatch(name)
    )
    if SINGLE in top:
        others = [*indexes, *(name for name in singles if name != SINGLE)]
        note = f"takes {SINGLE}, as transformers does, and leaves {', '.join(others)}"
        return {SINGLE: SINGLE}, {}, (note,) if others else ()
    if INDEX in indexes or len(indexes) == 1:
        index = INDEX if INDEX in indexes else indexes[0]
        places = read_places(model, index, read(index))
        wanted = set(places.values())
        if strange := sorted(name for name in wanted if "/" in name or not name.endswith(WEIGHTS)):
            raise InputError(
                "model",
                model,
                f"its {index} places weights in {strange[0]}, which is no safetensors file beside"
                " it; save the model again",
            )
        if missing := sorted(wanted - top):
            incomplete = (
                f"it lacks {len(missing)} of {len(wanted)} weight files that {index} names, first"
                f" {missing[0]}; complete it"
            )
            other = "" if singles else other_weights(top, read)
            raise InputError("model", model, other or incomplete)
        left = sorted(set(singles) - wanted)
        note = f"takes the weights that {index} names, and leaves {', '.join(left)}"
        return {name: name for name in wanted} | {index: INDEX}, places, (note,) if left else ()
    if indexes:
        raise InputError(
            "model",
            model,
            f"it holds several indexes of weights ({', '.join(indexes)}); leave one, and call it"
            f" {INDEX}",
        )
    if len(singles) == 1 and not PART.fullmatch(singles[0]):
        return {singles[0]: SINGLE}, {}, (f"takes {singles[0]} as {SINGLE}",)
    raise InputError("model", model, why_no_weights(top, read, singles))


def read_places(model: str, name: str, index: bytes) -> dict[str, str]:
    """Where an index places each tensor: the file by the tensor's name. Raises InputError when it
    is no index.
    """
    places = json_object(model, name, index).get("weight_map")
    if (
        not isinstance(places, dict)
        or not places
        or not all(isinstance(file, str) for file in places.values())
    ):
        raise InputError(
            "model", model, f"its {name} has no weight_map of names; save the model again"
        )
    return places
