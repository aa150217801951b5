"""JSON Lines that people bring: in the encodings that editors, spreadsheets and shells write."""

import codecs
import json
from typing import Any

from greenlight.core.errors import InputError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a file begins with whose encoding it says itself."""


def split_lines(field: str, given: str, data: bytes) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers.

    Args:
        field, given: the parameter that named the file, and what the user wrote, for the error.

    Raises:
        InputError: it is not UTF-8, nor UTF-16 with a byte-order mark.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            field, given, f"is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError(
            field,
            given,
            f"is not UTF-8 text (character {text.index(chr(0))} is zero, as in UTF-16 or a binary"
            " file); save it as UTF-8",
        )
    # not splitlines: JSON may hold other line ends, like U+2028
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def parse_line(line: str) -> Any:
    """The JSON value of a line. Raises ValueError when it is not JSON, or holds half a character
    (a surrogate such as \\ud83d alone), which no tokenizer takes.
    """
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise ValueError("too deeply nested") from error
    if "\\ud" in line.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
