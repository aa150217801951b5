"""What is asked: names and files are told apart, files are checked line by line, and what is asked
has one digest.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import InputError
from greenlight.evaluate.tasks import Item, Tasks, check_tasks, load_items, registered_tasks

GOOD = {"question": "Two and two are", "choices": ["four", "five"], "answer": 0}


def write(path: Path, *rows: object) -> str:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )
    return str(path)


def test_names_and_files_are_told_apart() -> None:
    tasks = Tasks.parse(" arc_easy, data/facts.jsonl ,gs://bucket/more.parquet", 20, 3)
    assert (tasks.registered, tasks.files) == (
        ("arc_easy",),
        ("data/facts.jsonl", "gs://bucket/more.parquet"),
    )
    assert (tasks.limit, tasks.few_shot, bool(tasks)) == (20, 3, True)
    assert not Tasks.parse("  ") and Tasks.parse("").digest() == ""


@pytest.mark.parametrize(
    ("tasks", "limit", "few_shot", "message"),
    [
        ("a", -1, 0, "task_limit: -1: use 0 for all items, or more"),
        ("a", 0, -2, "few_shot: -2: use 0 for no examples, or more"),
        ("a,,b", 0, 0, "tasks: 'a,,b': an entry is empty"),
        ("x/a.jsonl,a", 0, 0, "tasks: 'x/a.jsonl,a': two are called a;"),
        ("nowhere.jsonl", 0, 0, "tasks: 'nowhere.jsonl': there is no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tasks: str, limit: int, few_shot: int, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_tasks(tasks, limit, few_shot)
    assert str(refused.value).startswith(message)


def test_items_of_jsonl_and_parquet(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", GOOD, "", GOOD | {"answer": 1, "id": 7})
    items = [
        Item("Two and two are", ["four", "five"], 0),
        Item("Two and two are", ["four", "five"], 1),
    ]
    assert load_items(file) == items
    pq.write_table(
        pa.table({name: [GOOD[name]] for name in GOOD} | {"id": [1]}), tmp_path / "b.parquet"
    )
    assert load_items(str(tmp_path / "b.parquet")) == items[:1]
    asked = Tasks.parse(f"{tmp_path / 'b.parquet'},arc_easy", 3)
    asked.keep(tmp_path / "copies")
    kept = asked.kept_in(tmp_path / "copies")
    assert (kept.names, kept.limit) == ((str(tmp_path / "copies/b.jsonl"), "arc_easy"), 3)
    assert load_items(kept.names[0]) == items[:1]
    assert kept.digest() == asked.digest()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("plain", "line 2: is not a JSON object ('plain'); write {\"question\""),
        ([GOOD], "line 2: is not a JSON object"),
        (GOOD | {"question": " "}, "line 2: question is not a text"),
        ({"choices": ["a", "b"], "answer": 0}, "line 2: question is not a text"),
        (GOOD | {"choices": ["four"]}, "line 2: choices is not a list of two or more texts"),
        (GOOD | {"choices": "four"}, "line 2: choices is not"),
        (GOOD | {"choices": ["four", ""]}, "line 2: choices is not"),
        (GOOD | {"choices": ["four", "four"]}, "line 2: choices has a text twice"),
        (GOOD | {"answer": "four"}, "line 2: answer is not the index of a choice"),
        (GOOD | {"answer": True}, "line 2: answer is not the index"),
        (GOOD | {"answer": 2}, "line 2: answer is 2, and the choices are 0 to 1"),
        (GOOD | {"answer": -1}, "line 2: answer is -1"),
    ],
)
def test_a_row_that_is_no_item_is_named(tmp_path: Path, row: object, says: str) -> None:
    file = write(tmp_path / "a.jsonl", GOOD, row)
    with pytest.raises(InputError) as refused:
        check_tasks(file, 0, 0)
    assert (refused.value.field, refused.value.value) == ("tasks", file)
    assert says in str(refused.value)


def test_an_empty_file_and_too_few_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'holds no documents; write one \{"question"'):
        check_tasks(write(tmp_path / "empty.jsonl"), 0, 0)
    file = write(tmp_path / "a.jsonl", GOOD, GOOD | {"question": "Other"})
    check_tasks(file, 0, 1)
    with pytest.raises(
        InputError,
        match=r"few_shot: 2: .* has 2 items, and one of them is the question; use 1 or less",
    ):
        check_tasks(file, 0, 2)


def test_the_digest_is_of_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    file, copy = (write(path, GOOD) for path in (tmp_path / "a.jsonl", tmp_path / "copy/a.jsonl"))
    digest = Tasks.parse(file).digest()
    assert Tasks.parse(copy).digest() == digest
    others = [
        Tasks.parse(f"{file},arc_easy"),
        Tasks.parse(file, 1),
        Tasks.parse(file, 0, 1),
        Tasks.parse(write(tmp_path / "b.jsonl", GOOD)),
    ]
    assert len({digest, *(each.digest() for each in others)}) == 5
    write(tmp_path / "a.jsonl", GOOD | {"answer": 1})
    assert Tasks.parse(file).digest() != digest


def test_names_are_those_of_lm_eval() -> None:
    known = registered_tasks()
    assert {"arc_easy", "mmlu", "mmlu_stem", "sciq", "wikitext"} <= set(known)
    check_tasks("arc_easy,mmlu", 0, 0)
    with pytest.raises(
        InputError,
        match=(
            r"lm-eval has no such task, did you mean .*arc_easy.*; the name of a file ends with"
            r" \.jsonl"
        ),
    ):
        check_tasks("arc_eazy", 0, 0)
    with pytest.raises(InputError, match="'gsm8k': is answered with text that is generated"):
        check_tasks("gsm8k", 0, 0)
