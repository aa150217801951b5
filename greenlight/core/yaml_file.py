"""Files that people write: YAML that is checked against a model, with errors that say which key,
which value, and what to write instead.
"""

import difflib
from collections.abc import Hashable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from greenlight.core import storage
from greenlight.core.errors import InputError

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
    files = resources.files("greenlight.pipelines") / folder
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files.iterdir()
        if entry.name.endswith(".yaml")
    )


def read_shipped(path: str) -> str:
    """A file below `pipelines/`."""
    return (resources.files("greenlight.pipelines") / path).read_text()


def read_text(field: str, given: str, folder: str) -> tuple[str, str]:
    """What to call the file in a message, and its text. Raises InputError when there is none."""
    if "\n" in given or given.lstrip().startswith("{"):
        return "given as text", given
    if given in (names := shipped(folder)):
        return given, read_shipped(f"{folder}/{given}.yaml")
    try:
        return given, storage.read_bytes(given).decode()
    except UnicodeDecodeError:
        raise InputError(field, given, "is not a text file; give a YAML file") from None
    except OSError:
        looks_like_path = storage.is_remote(given) or "/" in given or Path(given).suffix
        fix = (
            "there is no such file"
            if looks_like_path
            else f"no such {field} is shipped; {nearest(given, names)}"
        )
        raise InputError(
            field,
            given,
            f"{fix}; give a shipped {field} ({', '.join(names)}), the path or gs:// URI of a YAML"
            " file, or the YAML itself",
        ) from None


def parse(field: str, shown: str, text: str) -> Any:
    """The content. Raises InputError with the line when it is not YAML, or gives a key twice."""
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(field, shown, f"is not valid YAML; {line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(
            field, shown, f"is not valid YAML; {' '.join(str(error).split())}"
        ) from None


def check(field: str, shown: str, content: Any, model: type[Model]) -> Model:
    """The content as the model. Raises InputError with the first problem."""
    if not isinstance(content, dict):
        raise InputError(field, shown, f"holds no keys; known are {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(field, shown, _explain(error, content, model)) from None


def _explain(error: ValidationError, content: Any, model: type[BaseModel]) -> str:
    """The first problem: which key, which value, what to write."""
    # a misspelt key explains why another is missing
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = first["loc"]
    where = ".".join(str(part) if isinstance(part, str) else f"{part + 1}" for part in place)
    # "objectives.3" alone would have to be counted: what it is of is said too.
    if (
        len(place) > 1
        and isinstance(place[1], int)
        and isinstance(entry := content[place[0]][place[1]], dict)
        and place[-1] != "metric"
        and "metric" in entry
    ):
        where += f" ({entry['metric']})"
    if first["type"] == "extra_forbidden":
        return f"{where}: no such key; {nearest(str(place[-1]), _keys(model, place[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: is missing; add it"
    says = f" is {first['input']!r}" if isinstance(first["input"], str | int | float | None) else ""
    return (
        f"{where}{says}: {first['msg'].removeprefix('Value error, ')}"
        if where
        else first["msg"].removeprefix("Value error, ")
    )


def _keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys that a model knows at a place within it."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            inside = model.model_fields[part].annotation
            kinds = [inside, *get_args(inside)]
            model = next(
                (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)),
                model,
            )
    return list(model.model_fields)


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
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
