"""What the installed transformers knows, read from its source: importing its tables would import
torch, which takes seconds.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

PAIR = re.compile(r'\(\s*"([^"]+)",\s*"([^"]+)",?\s*\)')


@dataclass(frozen=True)
class KnownTypes:
    """Classes by model type."""

    configs: dict[str, str]
    modules: dict[str, str]  # only of types whose module is not named like the type
    causal: dict[str, str]
    masked: dict[str, str]

    def config_flag(self, model_type: str, field: str) -> bool | None:
        """The default of a flag in the type's config class. None: none is written there."""
        module = self.modules.get(model_type, model_type).replace("-", "_")
        path = _source(f"models/{module}/configuration_{module}.py")
        _, _, body = (path.read_text() if path.is_file() else "").partition(
            f"\nclass {self.configs.get(model_type)}("
        )
        own = body.partition("\nclass ")[0]
        default = re.search(rf"^    {field}: [^=\n]*= (True|False)$", own, re.MULTILINE)
        return default[1] == "True" if default else None

    def has_attention_backends(self, model_type: str) -> bool:
        """Whether the type's attention can be replaced by another, such as the paged one of
        continuous batching: its models say so in their source.
        """
        source = self._modeling(model_type)
        return all(f"_supports_{what} = True" in source for what in ("attention_backend", "sdpa"))

    def keeps_state(self, model_type: str) -> bool:
        """Whether a model of the type keeps a state from token to token, as Mamba does, and not
        only the keys and values of each.
        """
        return "_is_stateful = True" in self._modeling(model_type)

    def _modeling(self, model_type: str) -> str:
        """The source of the type's classes; empty where there is none."""
        module = self.modules.get(model_type, model_type).replace("-", "_")
        path = _source(f"models/{module}/modeling_{module}.py")
        return path.read_text() if path.is_file() else ""


@lru_cache(1)
def known_types() -> KnownTypes | None:
    """None where transformers is not installed: a machine that only hands runs in."""
    if find_spec("transformers") is None:
        return None
    mappings, modeling = (
        _source(f"models/auto/{name}.py").read_text() for name in ("auto_mappings", "modeling_auto")
    )
    return KnownTypes(
        _table(mappings, "CONFIG_MAPPING_NAMES"),
        _table(mappings, "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"),
        _table(modeling, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
        _table(modeling, "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
    )


def _table(source: str, name: str) -> dict[str, str]:
    _, _, rest = source.partition(f"\n{name} = OrderedDict(")
    return dict(PAIR.findall(rest.partition("\n)\n")[0]))


def _source(name: str) -> Path:
    spec = find_spec("transformers")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / name
