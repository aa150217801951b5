"""Files that people write: YAML that is checked against a model, with errors that say which key, which value, and what to write instead."""

import difflib
from collections.abc import Hashable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from components import storage
from components.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(field: str, given: str, model: type[Model], folder: str) -> Model:
    """Read and check a file.

    Args:
        field: what it is called in messages, such as `gate`.
        given: the name of a shipped file, a path, a gs:// URI, or the YAML itself.
        folder: of `pipelines/` where the shipped ones lie.

    Raises:
        InputError: names the key, its value and what to write instead.
    """
    shown, text = read_text(field, given, folder)
    return check(field, shown, parse(field, shown, text), model)


def shipped(folder: str) -> list[str]:
    files = resources.files("pipelines") / folder
    return sorted(entry.name.removesuffix(".yaml") for entry in files.iterdir() if entry.name.endswith(".yaml"))


def read_text(field: str, given: str, folder: str) -> tuple[str, str]:
    """What to call the file in a message, and its text. Raises InputError when there is none."""
    if "\n" in given or given.lstrip().startswith("{"):
        return "given as text", given
    if given in (names := shipped(folder)):
        return given, (resources.files("pipelines") / folder / f"{given}.yaml").read_text()
    try:
        return given, storage.read_bytes(given).decode()
    except UnicodeDecodeError:
        raise InputError(field, given, "is not a text file; give a YAML file") from None
    except OSError:
        looks_like_path = storage.is_remote(given) or "/" in given or Path(given).suffix
        fix = "there is no such file" if looks_like_path else f"no such {field} is shipped; {nearest(given, names)}"
        raise InputError(
            field, given, f"{fix}; give a shipped {field} ({', '.join(names)}), the path or gs:// URI of a YAML file, or the YAML itself"
        ) from None


def parse(field: str, shown: str, text: str) -> Any:
    """The content. Raises InputError with the line when it is not YAML, or gives a key twice."""
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(field, shown, f"is not valid YAML; {line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(field, shown, f"is not valid YAML; {' '.join(str(error).split())}") from None


def check(field: str, shown: str, content: Any, model: type[Model]) -> Model:
    """The content as the model. Raises InputError with the first problem."""
    if not isinstance(content, dict):
        raise InputError(field, shown, f"holds no keys; known are {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a misspelt key explains why another is missing
        where = ".".join(str(part) if isinstance(part, str) else f"{part + 1}" for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fix = f"{where}: no such key; {nearest(str(first['loc'][-1]), model.model_fields) if len(first['loc']) == 1 else 'take it out'}"
        elif first["type"] == "missing":
            fix = f"{where}: is missing; add it"
        else:
            value = first["input"]
            says = f" is {value!r}" if isinstance(value, str | int | float | None) else ""
            fix = f"{where}{says}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
        raise InputError(field, shown, fix) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that may be meant, as a sentence."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the safe loader silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
