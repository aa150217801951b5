"""Texts in a file, local or in a bucket: JSONL with a document's `text` a line, or Parquet with a
column `text`.
"""

import hashlib
import io
import logging
from typing import Any, NamedTuple

from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.core.json_lines import parse_line, split_lines
from greenlight.models.builtin import HELDOUT

log = logging.getLogger("greenlight.evaluate")

BUILTIN = "builtin"
SHOWN = 60
PARQUET = b"PAR1"
"""What a Parquet file begins with."""


class Row(NamedTuple):
    """One document as the file has it. `where` is for people: `line 3`, `row 3`. `value` is None
    where a line is not JSON.
    """

    where: str
    value: Any
    shown: str


def check_text(text: str) -> None:
    """Whether `text` can be read as documents. Costs milliseconds for a local file.

    Raises:
        InputError: it cannot; names the line.
    """
    load_text(text)


def text_digest(text: str) -> str:
    """sha256 of the file that `text` names. Raises FileNotFoundError."""
    return hashlib.sha256(storage.read_bytes(str(HELDOUT) if text == BUILTIN else text)).hexdigest()


def load_text(text: str, field: str = "text") -> list[str]:
    """The documents of `builtin`, a local path or a gs:// URI.

    Args:
        field: the parameter that named it, for the error.

    Raises:
        InputError: there is no text, or a line is not an object with a string `text`.
    """
    documents = []
    rows = read_rows(str(HELDOUT) if text == BUILTIN else text, text, field)
    for row in with_text(rows, text, field):
        value = row.value.get("text") if isinstance(row.value, dict) else None
        if not isinstance(value, str):
            raise InputError(field, text, f'{row.where} is not {{"text": "…"}}: {row.shown!r}')
        documents.append(value)
    return documents


def with_text(rows: list[Row], given: str, field: str) -> list[Row]:
    """Leave out the rows whose `text` is empty or null, as those between the paragraphs of
    WikiText. Says how many. Raises InputError when none is left.
    """
    found = [row for row in rows if not _is_empty(row.value)]
    if not found:
        raise InputError(
            field, given, f"its {len(rows)} rows are all empty; give a file with some text"
        )
    if len(found) < len(rows):
        log.info("%s: skipped %d empty rows of %d", given, len(rows) - len(found), len(rows))
    return found


def _is_empty(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("messages"):
        return False
    text = value.get("text")
    return ("text" in value or not value) and (
        text is None or (isinstance(text, str) and not text.strip())
    )


def read_rows(
    uri: str,
    given: str,
    field: str,
    columns: tuple[str, ...] = ("text",),
    example: str = '{"text": "…"}',
) -> list[Row]:
    """The rows of a file: Parquet where its name says so, else JSONL. Blank lines are skipped.

    Args:
        given, field: what the user wrote, and the parameter that named it, for the error.
        columns: of a Parquet file that are read, those of them that it has.
        example: a line as it should be.

    Raises:
        InputError: there is no such file, it cannot be read as what it is called, or holds nothing.
    """
    try:
        data = storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(
            field,
            given,
            "there is no such file; give the path or gs:// URI of a JSONL or Parquet file",
        ) from None
    rows = (
        _parquet(data, given, field, columns)
        if uri.lower().endswith(".parquet") or data.startswith(PARQUET)
        else _lines(data, given, field)
    )
    if not rows:
        raise InputError(field, given, f"holds no documents; write {example} a line")
    return rows


def _lines(data: bytes, given: str, field: str) -> list[Row]:
    return [
        Row(f"line {number}", _json(line), line[:SHOWN])
        for number, line in split_lines(field, given, data)
    ]


def _json(line: str) -> Any:
    try:
        return parse_line(line)
    except ValueError:
        return None


def _parquet(data: bytes, given: str, field: str, columns: tuple[str, ...]) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(io.BytesIO(data)).names
        wanted = [name for name in columns if name in names]
        if not wanted:
            raise InputError(
                field,
                given,
                f"has no column {' or '.join(columns)} (its columns: {', '.join(names)}); rename"
                " the one that holds the text",
            )
        rows = pq.read_table(io.BytesIO(data), columns=wanted).to_pylist()
    except pa.ArrowException as error:
        raise InputError(
            field,
            given,
            f"is not a Parquet file ({str(error)[:SHOWN]}); write it again, or name JSONL .jsonl",
        ) from None
    return [
        Row(
            f"row {number}",
            {name: value for name, value in row.items() if value is not None},
            str(row)[:SHOWN],
        )
        for number, row in enumerate(rows, start=1)
    ]
