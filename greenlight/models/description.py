"""What a model is, read without its weights: config, index, the headers of the weights, the files
of its tokenizer. The same for a folder, the hub and a bucket.
"""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from greenlight.core.errors import InputError
from greenlight.models.config_checks import check_config, check_kind
from greenlight.models.file_selection import CONFIG, choose_files, list_folder
from greenlight.models.json_files import json_object
from greenlight.models.licence import CARD, find_licence
from greenlight.models.safetensors_header import (
    PREFIX,
    HeaderError,
    Tensor,
    header_length,
    parse_header,
)
from greenlight.models.source import Description, FileReader, Kind, Source
from greenlight.models.tokenizer_checks import (
    SENTENCEPIECE,
    TOKENIZER,
    TOKENIZER_FILES,
    check_tokenizer_files,
)
from greenlight.models.weight_checks import check_weights

log = logging.getLogger("greenlight.download")

PARALLEL = 16  # reads at a time
# Bytes of a file of weights that are asked for first; most headers end there.
FIRST_READ = 128 * 1024
# Read only where there is no tokenizer.json, which holds the same.
VOCABULARY_FILES = (*SENTENCEPIECE, "vocab.json", "vocab.txt", "merges.txt")
SETTINGS = (
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "modules.json",
)
POINTER_BYTES = 1024  # more than any pointer of Git LFS has


def describe_source(source: Source, commit: str) -> Description:
    """Read a model's small files and headers in parallel; no weights are fetched.

    Raises:
        InputError: a file that the model needs is missing or broken.
        GreenlightError: the source cannot be reached.
    """

    def read(name: str, start: int = 0, length: int | None = None) -> bytes:
        return source.read(name, commit, start, length)

    return _describe(source.name, source.list_names(commit), read)


def describe_folder(folder: Path, name: str = "") -> Description:
    """As `describe_source`, of a local folder. `name`: as the user gave it, for errors."""

    model = name or str(folder)

    def read(name: str, start: int = 0, length: int | None = None) -> bytes:
        with open(folder / name, "rb") as data:
            data.seek(start)
            return data.read(length)

    return _describe(model, list_folder(folder), read)


def check_description(description: Description, quantized_too: bool = False) -> tuple[str, ...]:
    """Is it a full-precision causal language model that transformers knows, with all its weights
    and a tokenizer? With `quantized_too`, one of a known quantized format passes too. Gives notes
    for people: what was decided.

    Raises:
        InputError: no; it names what is wrong and what would do.
    """
    model, config = description.source, description.config
    form = check_config(model, config, quantized_too)
    if b"Pooling" in description.texts.get("modules.json", b""):
        raise InputError(
            "model",
            model,
            "it is an embedding model (modules.json of sentence-transformers pools its output);"
            " give a causal language model",
        )
    if form == "safetensors":
        check_weights(model, config, description.tensors)
    if find_spec("tokenizers"):  # not on a machine that only hands runs in
        check_tokenizer_files(model, description.texts)
    return (*description.notes, *check_kind(model, config))


def check_at(source: Source, commit: str) -> Description:
    """Describe and check a source, and log what was decided. Raises as these do."""
    description = describe_source(source, commit)
    for note in check_description(description):
        log.info("%s: %s", source.name, note)
    return description


CHECKPOINT = Kind(choose_files, check_at)
"""What most sources hold: a folder as `save_pretrained` writes it."""


def _describe(model: str, names: dict[str, int], read: FileReader) -> Description:
    selection = choose_files(model, names, read)
    top = {name: size for name, size in names.items() if "/" not in name}
    wanted = [
        name
        for name in top.keys() & {*SETTINGS, *TOKENIZER_FILES, CARD}
        if name not in VOCABULARY_FILES or TOKENIZER not in top or top[name] < POINTER_BYTES
    ]
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="describe") as pool:
        config = pool.submit(read, CONFIG)
        headers = {
            name: pool.submit(_read_header, model, name, top[name], read)
            for name in selection.weights
        }
        texts = {name: pool.submit(read, name) for name in wanted}
        try:
            # the config first: it says most about what a place is
            parsed = json_object(model, CONFIG, config.result())
            found = {name: header.result() for name, header in headers.items()}
            contents = {name: text.result() for name, text in texts.items()}
        finally:
            pool.shutdown(cancel_futures=True)
    tensors = {name: tensor for header in found.values() for name, tensor in header.items()}
    twice = Counter(name for header in found.values() for name in header).most_common(1)
    if twice and twice[0][1] > 1:
        files = sorted(file for file, header in found.items() if twice[0][0] in header)
        raise InputError(
            "model",
            model,
            f"its weights hold {twice[0][0]} twice, in {files[0]} and {files[1]}; save the model"
            " again",
        )
    for name, file in selection.places.items():
        if name not in found[file]:
            raise InputError(
                "model",
                model,
                f"its index places {name} in {file}, where it is not; complete the model or save it"
                " again",
            )
    licence = find_licence(top, contents.pop(CARD, b""))
    return Description(
        model, parsed, top, selection.files, tensors, contents, selection.notes, licence
    )


def _read_header(model: str, name: str, size: int, read: FileReader) -> dict[str, Tensor]:
    try:
        first = read(name, 0, min(FIRST_READ, size))
        end = PREFIX + header_length(first, size)
        if len(first) < end:
            first += read(name, len(first), end - len(first))
        return parse_header(name, first[PREFIX:end], size)
    except HeaderError as error:
        raise InputError("model", model, f"its {name} {error}") from None
