from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import InputError
from greenlight.evaluate.text_files import check_text, load_text
from greenlight.models.builtin import HELDOUT


def test_builtin() -> None:
    check_text("builtin")
    assert len(load_text("builtin")) == len(HELDOUT.read_text().splitlines())


def test_unusual_line_ends_stay_in_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_bytes('{"text": "a\u2028b"}\n\n{"text": "c", "id": 1}\r\n'.encode())
    assert load_text(str(path)) == ["a\u2028b", "c"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["a", "b"]}), path)
    assert load_text(str(path)) == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_windows_writes(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "text.jsonl"
    path.write_bytes(f'{{"text": "für"}}{end}{end}{{"text": "c"}}{end}'.encode(encoding))
    assert load_text(str(path)) == ["für", "c"]


def test_wikitext_as_it_is_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows of nothing stand between the paragraphs, and the file has no telling name."""
    path = tmp_path / "test-00000-of-00001"
    pq.write_table(pa.table({"text": ["", " = Robert = \n", "", " Robert is an actor .\n"]}), path)
    with caplog.at_level("INFO", logger="greenlight"):
        assert load_text(str(path)) == [" = Robert = \n", " Robert is an actor .\n"]
    assert "skipped 2 empty rows of 4" in caplog.text


def test_empty_lines_of_jsonl_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": ""}\n{"text": null}\n{}\n{"text": "\\ud83d\\ude00"}\n')
    assert load_text(str(path)) == ["😀"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"content": ["a"]}, "has no column text (its columns: content)"),
        ({"text": ["", None]}, "its 2 rows are all empty"),
        ({"text": [1, 2]}, "row 1 is not"),
        ({"text": []}, "no documents"),
        (None, "is not a Parquet file"),
    ],
)
def test_refused_parquet(tmp_path: Path, table: dict | None, says: str) -> None:
    path = tmp_path / "text.parquet"
    if table is None:
        path.write_text('{"text": "a"}')
    else:
        pq.write_table(pa.table(table), path)
    with pytest.raises(InputError) as caught:
        check_text(str(path))
    assert caught.value.field == "text"
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "no documents"),
        (b"\n \n", "no documents"),
        (b'{"text": "a"}\n{"prompt": "b"}\n', 'line 2 is not {"text": "…"}'),
        (b'{"text": "a"}\nplain\n', "line 2"),
        (b'{"text": 3}\n', "line 1"),
        (b'{"text": " "}\n', "its 1 rows are all empty"),
        (b'{"text": "a"}\n{"text": "\\ud83d"}\n', "line 2"),
        ('{"text": "a"}\n'.encode("utf-16-le"), "as in UTF-16 or a binary file"),
        (b"[" * 100_000, "line 1"),
        (b'["text"]\n', "line 1"),
        (b'{"text": "\xff"}\n', "UTF-8"),
    ],
)
def test_refused_text(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "text.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_text(str(path))
    assert caught.value.field == "text"
    assert says in str(caught.value)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_text(str(tmp_path))
