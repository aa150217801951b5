"""The held-out text that models are judged on: JSONL with a document's `text` a line, local or in a bucket."""

import json

from components import storage
from components.download.builtin import HELDOUT
from components.errors import InputError

BUILTIN = "builtin"


def check_text(text: str) -> None:
    """Whether `text` can be read as documents. Costs milliseconds for a local file.

    Raises:
        InputError: it cannot; names the line.
    """
    load_text(text)


def load_text(text: str, field: str = "text") -> list[str]:
    """The documents of `builtin`, a local path or a gs:// URI.

    Args:
        field: the parameter that named it, for the error.

    Raises:
        InputError: there is nothing, or a line is not an object with a non-empty string `text`.
    """
    uri = str(HELDOUT) if text == BUILTIN else text
    try:
        lines = storage.read_bytes(uri).decode().split("\n")  # not splitlines: JSON may hold other line ends, like U+2028
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(field, text, "there is no such file; give the path or gs:// URI of a JSONL file, or `builtin`") from None
    except UnicodeDecodeError as error:
        raise InputError(field, text, f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    documents = [_document(field, text, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not documents:
        raise InputError(field, text, 'holds no documents; write {"text": "…"} a line')
    return documents


def _document(field: str, text: str, number: int, line: str) -> str:
    try:
        value = json.loads(line)["text"]
        if isinstance(value, str) and value.strip():
            return value
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(field, text, f'line {number} is not {{"text": "…"}} with some text in it: {line[:60]!r}')
