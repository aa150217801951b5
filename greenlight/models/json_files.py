"""The JSON files of a model, read as strictly as the libraries that load them read."""

import codecs
import json
from typing import Any

from greenlight.core.errors import InputError
from greenlight.models.safetensors_header import LFS_POINTER


def json_object(model: str, name: str, data: bytes) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        model: the source as the user named it, for the error.
        name: of the file, for the error.

    Raises:
        InputError: transformers could not read it.
    """

    def refuse(problem: str, fix: str) -> InputError:
        return InputError("model", model, f"its {name} {problem}; {fix}")

    if data.startswith(LFS_POINTER):
        raise refuse("is a pointer of git LFS, not the file", "run git lfs pull")
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refuse(
            "begins with a byte-order mark, which transformers does not read",
            "save it as UTF-8 without one",
        )
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise refuse(f"is not JSON ({error})", "repair it or save the model again") from None
    if not isinstance(found, dict):
        raise refuse("is not a JSON object", "repair it or save the model again")
    return found
