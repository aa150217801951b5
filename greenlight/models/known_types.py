"""What the installed transformers knows, read from its source: importing its tables would import
torch, which takes seconds.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TABLES = (
    "CONFIG_MAPPING_NAMES",
    "SPECIAL_MODEL_TYPE_TO_MODULE_NAME",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
)


@dataclass(frozen=True)
class KnownTypes:
    """Classes by model type."""

    configs: dict[str, str]
    modules: dict[str, str]  # only of types whose module is not named like the type
    causal: dict[str, str]
    masked: dict[str, str]

    def config_default(self, model_type: str, field: str) -> Any:
        """The default of a field in the type's config class. None: none is written there."""
        module = self.modules.get(model_type, model_type).replace("-", "_")
        path = _source(f"models/{module}/configuration_{module}.py")
        for node in ast.parse(path.read_text()).body if path.is_file() else []:
            if isinstance(node, ast.ClassDef) and node.name == self.configs.get(model_type):
                for line in node.body:
                    if (
                        isinstance(line, ast.AnnAssign)
                        and isinstance(line.target, ast.Name)
                        and line.target.id == field
                        and isinstance(line.value, ast.Constant)
                    ):
                        return line.value.value
        return None


@lru_cache(1)
def known_types() -> KnownTypes | None:
    """None where transformers is not installed: a machine that only hands runs in."""
    if find_spec("transformers") is None:
        return None
    tables: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    for file in ("auto_mappings.py", "modeling_auto.py"):
        for node in ast.parse(_source(f"models/auto/{file}").read_text()).body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id in TABLES
                and isinstance(node.value, ast.Call)
            ):
                tables[node.targets[0].id] = dict(ast.literal_eval(node.value.args[0]))
    return KnownTypes(*tables.values())


def _source(name: str) -> Path:
    spec = find_spec("transformers")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / name
