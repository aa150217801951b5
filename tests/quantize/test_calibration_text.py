"""What a method calibrates on: files, chats, sampling, and what is refused before the work."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import InputError
from greenlight.models.builtin import CALIBRATION, TINY
from greenlight.models.tokenizer import load_tokenizer
from greenlight.quantize.calibration_text import Calibration, check_calibration, tokenize_documents

CHAT = [
    {"role": "user", "content": "What is a list?"},
    {"role": "assistant", "content": "A mutable sequence."},
]


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_builtin_is_the_default() -> None:
    check_calibration("builtin", 128, 2048)
    texts = [json.loads(line)["text"] for line in CALIBRATION.read_text().splitlines()]
    assert Calibration().read_documents() == texts
    chosen = Calibration().sample_documents()
    assert len(chosen) == 128
    assert {*chosen} < {*texts}


def test_choice_is_by_chance_and_the_same_each_time(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [{"text": f"text {number}"} for number in range(100)])
    first = Calibration(data, samples=10).sample_documents()
    assert first == Calibration(data, samples=10).sample_documents()
    assert first != Calibration(data).read_documents()[:10]
    assert len({*first}) == 10
    assert len(Calibration(data, samples=1000).sample_documents()) == 100


def test_texts_are_read_as_the_model_reads_them(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [{"text": "A list is a mutable sequence."}])
    ids = load_tokenizer(TINY).encode("A list is a mutable sequence.").ids
    assert tokenize_documents(Calibration(data), TINY) == [ids]
    assert tokenize_documents(Calibration(data, length=3), TINY) == [ids[:3]]


def test_long_text_is_cut_at_the_models_context() -> None:
    long = Calibration(length=10**6)
    assert (
        max(len(ids) for ids in tokenize_documents(long, TINY))
        <= json.loads((TINY / "config.json").read_text())["max_position_embeddings"]
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_chats_go_through_the_chat_template(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    if kind == "jsonl":
        write(path, [{"messages": CHAT}])
    else:
        pq.write_table(pa.table({"messages": [CHAT]}), path)
    (ids,) = tokenize_documents(Calibration(str(path)), TINY)
    from transformers import AutoTokenizer

    assert ids == AutoTokenizer.from_pretrained(TINY).apply_chat_template(CHAT, return_dict=False)


def test_chats_without_a_template_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    (folder / "chat_template.jinja").unlink()
    data = write(tmp_path / "data.jsonl", [{"messages": CHAT}])
    with pytest.raises(InputError, match="the model has no chat template") as caught:
        tokenize_documents(Calibration(data), folder)
    assert caught.value.field == "calibration"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"text": "a"}, {"prompt": "b"}], "line 2 is neither"),
        ([{"text": ""}], "its 1 rows are all empty"),
        ([{"text": "a"}, {"text": 3}], "line 2 is neither"),
        ([{"messages": []}], "line 1: messages is not a list of messages"),
        (
            [{"messages": CHAT}, {"messages": [{"role": "user"}]}],
            "line 2: a message needs role and content",
        ),
        ([], "holds no documents"),
    ],
)
def test_refused_file(tmp_path: Path, rows: list[dict], says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_calibration(write(tmp_path / "data.jsonl", rows), 128, 2048)
    assert caught.value.field == "calibration"
    assert says in str(caught.value)


def test_refused_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": [1, 2]}), path)
    with pytest.raises(InputError, match="row 1 is neither"):
        check_calibration(str(path), 128, 2048)
    pq.write_table(pa.table({"content": ["a"]}), path)
    with pytest.raises(InputError, match="has no column text or messages"):
        check_calibration(str(path), 128, 2048)


def test_empty_rows_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "wikitext.parquet"
    pq.write_table(pa.table({"text": ["", " = Title = ", "", None, "words"]}), path)
    assert Calibration(str(path)).read_documents() == [" = Title = ", "words"]


@pytest.mark.parametrize(
    ("samples", "length", "field"),
    [(0, 2048, "calibration_samples"), (128, 0, "calibration_length")],
)
def test_refused_numbers(samples: int, length: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        check_calibration("builtin", samples, length)
    assert caught.value.field == field
