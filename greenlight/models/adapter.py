"""An adapter, as `peft` trains it, merged into its base model: the result is an ordinary
baseline.
"""

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from greenlight.core.child_process import run_module
from greenlight.core.errors import InputError
from greenlight.core.extras import require
from greenlight.models.download import download_model, fetch_files
from greenlight.models.file_selection import COMPANION, LICENSE, Selection
from greenlight.models.hub import HubSource
from greenlight.models.json_files import json_object
from greenlight.models.source import Description, Kind, Made, Source, SourceFile

log = logging.getLogger("greenlight.download")

PREFIX = "adapter:"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MERGER = "greenlight.models.adapter_merge"
LIBRARIES = ("peft", "transformers", "torch")
MERGEABLE = ("LORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3", "VERA", "HRA")
TOKENIZER = re.compile(r"tokenizer.*|special_tokens_map.*|added_tokens.*|vocab.*|merges.*|chat_.*")


class AdapterSource(Source):
    """An adapter in a place that another source reads, and the base that it names.

    The commit names both, and what merges them: `<digest>.<adapter's>.<base's>`.
    """

    def __init__(self, name: str, place: Source, open_base: Callable[[str, str], Source]) -> None:
        self.name, self.place, self.open_base = name, place, open_base
        self.library = place.library

    def check(self) -> Description | None:
        require("quantize", "An adapter", *LIBRARIES)
        self.place.check()
        base = self._base(self.place.resolve())
        if not (described := base.check()):
            return None
        notes = (*described.notes, f"an adapter, merged into its base {base.name}")
        return replace(described, source=self.name, notes=notes)

    def resolve(self) -> str:
        require("quantize", "An adapter", *LIBRARIES)
        adapter = self.place.resolve()
        base = self._base(adapter).resolve()
        merger = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
        digest = hashlib.sha256(f"{adapter} {base} {merger}".encode()).hexdigest()
        return f"{digest[:16]}.{adapter}.{base}"

    def list_files(self, commit: str) -> list[SourceFile]:
        return self.place.list_files(_commits(commit)[0])

    def fetch(self, file: SourceFile, commit: str, partial: Path) -> None:
        self.place.fetch(file, _commits(commit)[0], partial)

    def list_names(self, commit: str) -> dict[str, int]:
        return self.place.list_names(_commits(commit)[0])

    def read(self, name: str, commit: str, start: int = 0, length: int | None = None) -> bytes:
        return self.place.read(name, _commits(commit)[0], start, length)

    def make(self, commit: str, folder: Path) -> Made:
        adapter_commit, base_commit = _commits(commit)
        base = self._base(adapter_commit)
        download_model(base, base_commit, folder / "base").save(folder / "base")
        adapter, merged = folder / "adapter", folder / "merged"
        fetch_files(self, commit, adapter, self.list_files(commit), lambda: None)
        log.info("merging %s into its base %s", self.place.name, base.name)
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir()
        adapter_files, base_files = adapter / "model", folder / "base" / "model"
        work = [str(base_files), str(adapter_files), str(merged)]
        peak = run_module(MERGER, work, folder, f"the merge of {self.place.name}")
        # An adapter may bring a tokenizer of its own, with another chat template.
        own = (adapter_files / "tokenizer.json").is_file()
        for path in base_files.iterdir():
            if COMPANION.fullmatch(path.name) and not (own and TOKENIZER.fullmatch(path.name)):
                shutil.copy(path, merged)
        for path in adapter_files.iterdir():
            if own and TOKENIZER.fullmatch(path.name):
                shutil.copy(path, merged)
        how = f"adapter {self.place.name} merged into {base.name}"
        return Made(merged, how, peak, {name: version(name) for name in LIBRARIES})

    def _base(self, commit: str) -> Source:
        config = _config(self.place, commit)
        base = str(config["base_model_name_or_path"])
        try:
            source = self.open_base(base, "")
        except InputError as error:
            raise InputError(
                "model",
                self.name,
                f"its {CONFIG} names the base {base!r}, which is neither a folder here nor a hub"
                f" id; correct base_model_name_or_path in it ({error.fix})",
            ) from None
        if isinstance(source, HubSource) and config.get("revision"):
            return self.open_base(base, str(config["revision"]))
        return source


def _choose(model: str, names: Collection[str], read: Callable[[str], bytes]) -> Selection:
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            pickled = WEIGHTS.replace("safetensors", "bin") in names and name == WEIGHTS
            why = (
                "its weights are pickled, and loading a pickle runs code; save it again with peft"
                if pickled
                else f"it holds no {name}, so it is no adapter; leave out {PREFIX}"
            )
            raise InputError("model", model, why)
    taken = [name for name in names if TOKENIZER.fullmatch(name) or LICENSE.fullmatch(name)]
    return Selection({name: name for name in sorted([CONFIG, WEIGHTS, *taken])}, (), {})


def _check(source: Source, commit: str) -> None:
    config = _config(source, commit)
    if (kind := config.get("peft_type")) not in MERGEABLE:
        raise InputError(
            "model",
            source.name,
            f"it is an adapter of the kind {kind}, which cannot be merged into a model; those that"
            f" can are {', '.join(MERGEABLE)}",
        )
    if (task := config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise InputError(
            "model",
            source.name,
            f"it is an adapter for {task}; give one of a causal language model (CAUSAL_LM)",
        )


def _config(source: Source, commit: str) -> dict[str, Any]:
    """Its adapter_config.json. Raises InputError where it names no base."""
    _choose(source.name, source.list_names(commit), lambda name: source.read(name, commit))
    config = json_object(source.name, CONFIG, source.read(CONFIG, commit))
    if not isinstance(config.get("base_model_name_or_path"), str):
        raise InputError(
            "model",
            source.name,
            f"its {CONFIG} names no base; add base_model_name_or_path, a hub id or a folder",
        )
    return config


def _commits(commit: str) -> tuple[str, str]:
    """Of the adapter and of its base."""
    _, adapter, base = commit.split(".", 2)
    return adapter, base


ADAPTER = Kind(_choose, _check)
