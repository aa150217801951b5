from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from greenlight.benchmark.samples import (
    Block,
    CountedBlock,
    LineFile,
    Request,
    count_blocks,
    table_of,
    write_parquet,
)

REQUEST = Request(
    phase="throughput",
    pair=0,
    block=3,
    order=0,
    role="live",
    color="blue",
    endpoint="http://h:1",
    pod="",
    prompt=0,
    asked=4,
    intended=99.0,
    lag=0.0,
    sent=99.0,
    ttft=0.5,
    e2e=2.0,
    itls=[0.25, 0.25, 0.75],
    tokens_in=2,
    tokens_out=4,
    status=200,
    error="",
    detail="",
    release="r",
)
BLOCK = Block(block=3, pair=1, order=0, role="live", color="blue", start=100.0, seconds=2.0)


def test_tokens_count_by_when_they_arrived() -> None:
    requests = [
        REQUEST,  # tokens at 99.5, 99.75, 100.0 and 100.75: the last two are inside
        replace(REQUEST, sent=101.0),  # 101.5, 101.75, 102.0, 102.75: the first two
        replace(REQUEST, sent=100.5, ttft=float("nan"), itls=[], tokens_out=0, error="connect"),
        replace(REQUEST, block=4),
        replace(REQUEST, phase="pairs"),
    ]
    counted = count_blocks([BLOCK], table_of(Request, requests))[0]
    assert (counted.output_tokens, counted.tokens_per_second, counted.requests, counted.errors) == (
        4,
        2.0,
        3,
        1,
    )


def test_parquet_has_its_columns_even_without_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "some.parquet", Request, [REQUEST])
    write_parquet(tmp_path / "none.parquet", CountedBlock, [])
    assert pq.read_table(tmp_path / "some.parquet").to_pylist()[0]["itls"] == [0.25, 0.25, 0.75]
    columns = pq.read_table(tmp_path / "none.parquet").column_names
    assert columns == [
        "block",
        "pair",
        "order",
        "role",
        "color",
        "start",
        "seconds",
        "output_tokens",
        "tokens_per_second",
        "requests",
        "errors",
    ]


def test_line_file_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = LineFile(path)
    assert lines.read() == []
    path.write_text('{"a": 1}\n{"a"')
    assert lines.read() == [{"a": 1}]
    with open(path, "a") as file:
        file.write(": 2}\n")
    assert lines.read() == [{"a": 2}]
    assert lines.read() == []
