"""What lies in the folder that is to be served: its format, its limits, and which engine can load
it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from greenlight.core.errors import InputError
from greenlight.core.records import MODEL_FOLDER, RECORD_FILE, Format, Model
from greenlight.models.context import context_length, text_config
from greenlight.serving.engines.registry import (
    ENGINES,
    HAS_GPU,
    EngineKind,
    quantized_weight_bits,
)


@dataclass(frozen=True)
class Artifact:
    """A model folder on disk.

    Attributes:
        folder: holds config.json, tokenizer.json and the weights.
        context: tokens that prompt and output may have together.
        eos: ids of the tokens that end a text.
        kv_numbers: numbers that the KV cache holds for one token.
        config: the content of config.json.
    """

    folder: Path
    format: Format
    digest: str
    source: str
    context: int
    vocabulary: int
    eos: tuple[int, ...]
    kv_numbers: int
    config: Mapping[str, Any]

    @classmethod
    def open(cls, model_id: str) -> "Artifact":
        """Read what MODEL_ID names, without loading any weights.

        Raises:
            InputError: there is no model that can be served.
            IntegrityError: there is a record.json, and it is not one of a Model.
        """
        root = Path(model_id)
        if not root.is_dir():
            raise InputError(
                "MODEL_ID",
                model_id,
                "there is no such folder; give the path of a model folder or of a Model artifact",
            )
        record = Model.load(root) if (root / RECORD_FILE).is_file() else None
        folder = root / MODEL_FOLDER if record else root
        for name in ("config.json", "tokenizer.json"):
            if not (folder / name).is_file():
                raise InputError(
                    "MODEL_ID",
                    model_id,
                    f"holds no {name}; give the path of a complete model folder",
                )
        try:
            config = json.loads((folder / "config.json").read_text())
            generation = folder / "generation_config.json"
            defaults = json.loads(generation.read_text()) if generation.is_file() else {}
        except ValueError as error:
            raise InputError(
                "MODEL_ID",
                model_id,
                f"config.json or generation_config.json is not JSON ({error}); download the model"
                " again",
            ) from None
        language = text_config(config)
        context = context_length(config)
        if context is None:
            raise InputError(
                "MODEL_ID",
                model_id,
                "config.json does not say how long the context is; add max_position_embeddings",
            )
        eos = defaults.get("eos_token_id", language.get("eos_token_id", config.get("eos_token_id")))
        return cls(
            folder=folder,
            format=_format(model_id, folder, config),
            digest=record.digest if record else "",
            source=record.source if record else root.name,
            context=context,
            vocabulary=int(language.get("vocab_size", 0)),
            eos=tuple(eos) if isinstance(eos, list) else (eos,) if isinstance(eos, int) else (),
            kv_numbers=_kv_numbers(language),
            config=config,
        )

    def choose_engine(self, wanted: str) -> EngineKind:
        """The engine named `wanted`, or with `auto` the first that loads this format, serves this
        family and is installed.

        Raises:
            InputError: no such engine can load this artifact here. Names those that can.
        """
        able = [kind for kind in ENGINES.values() if self.format in kind.formats]
        installed = [kind for kind in able if kind.missing() is None]
        hint = f"a {self.format} model is loaded by: {', '.join(kind.name for kind in able)}"
        refused = {kind.name: why for kind in installed if (why := self._refused_by(kind))}
        serving = [kind for kind in installed if kind.name not in refused]
        if wanted == "auto":
            if not installed:
                raise InputError(
                    "ENGINE",
                    wanted,
                    f"no engine here can load this artifact; {hint}, install {able[0].missing()}",
                )
            if not serving:
                raise InputError("ENGINE", wanted, f"none serves it: {'; '.join(refused.values())}")
            return serving[0]
        kind = ENGINES[wanted]
        if kind not in able:
            raise InputError("ENGINE", wanted, f"cannot load this artifact; {hint}")
        if missing := kind.missing():
            raise InputError(
                "ENGINE",
                wanted,
                f"is not installed here; install {missing}, or use one of:"
                f" {', '.join(k.name for k in installed) or 'none is installed'}",
            )
        if reason := refused.get(wanted):
            others = ", ".join(other.name for other in serving)
            instead = f"; use {others}" if others else ""
            raise InputError("ENGINE", wanted, f"cannot serve this artifact: {reason}{instead}")
        return kind

    def _refused_by(self, kind: EngineKind) -> str:
        return kind.refuses(self.config, quantized_weight_bits(self.config), on_cpu=not HAS_GPU)


def _format(model_id: str, folder: Path, config: dict[str, Any]) -> Format:
    if (folder / "openvino_model.xml").is_file():
        return "openvino"
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            "MODEL_ID",
            model_id,
            "holds neither *.safetensors nor openvino_model.xml; pickled weights are not loaded,"
            " convert them to safetensors",
        )
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method is None:
        return "safetensors"
    known: tuple[Format, ...] = get_args(Format)
    for each in known:
        if method == each:
            return each
    raise InputError(
        "MODEL_ID",
        model_id,
        f"is quantized with {method}, which no engine here loads; quantize it with a method of this"
        " project",
    )


def _kv_numbers(config: Mapping[str, Any]) -> int:
    """Keys and values of all layers for one token. 0 where the config does not tell."""
    heads = config.get("num_attention_heads") or 1
    size = config.get("head_dim") or config.get("hidden_size", 0) // heads
    layers = config.get("num_hidden_layers", 0)
    return int(2 * layers * (config.get("num_key_value_heads") or heads) * size)
