"""A search for broken evidence that is promoted all the same. Without the damage, the candidate
here is promoted.
"""

import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlight.core.records import RECORD_FILE
from greenlight.gate.judge import judge
from greenlight.gate.objectives import Gate, load_gate
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts

Damage = Callable[[Path], None]

# Every source of evidence decides here, and nothing is so close to its limit that luck could.
GATE = load_gate("""
    name: search
    confidence: 0.95
    objectives:
      - {metric: kl_mean, max: 0.05}
      - {metric: perplexity_ratio, max: 1.03}
      - {metric: top1_agreement, min: 0.9}
      - {metric: bits_per_byte, max: 3}
      - {metric: ttft, statistic: p95, scope: vs_live, max: 1.1}
      - {metric: itl, statistic: p50, scope: vs_live, max: 1.05}
      - {metric: longest_gap, statistic: mean, scope: vs_live, max: 1.05}
      - {metric: e2e, statistic: p95, max: 2}
      - {metric: output_tokens_per_second, scope: vs_live, min: 0.95}
      - {metric: error_rate, scope: vs_live, max: 0.04}
""")
LOOKS = GATE.model_copy(
    update={"benchmark": GATE.benchmark.model_validate({"looks": [40, 60, 100]})}
)
REQUESTS, BLOCKS, DOCUMENTS = (
    "benchmark/requests.parquet",
    "benchmark/blocks.parquet",
    "evaluation/documents.parquet",
)
EVALUATION, BENCHMARK = f"evaluation/{RECORD_FILE}", f"benchmark/{RECORD_FILE}"
MEASURED = {
    REQUESTS: ["ttft", "e2e", "itls", "tokens_out"],
    BLOCKS: ["seconds", "output_tokens", "tokens_per_second"],
    DOCUMENTS: ["tokens", "bytes", "nll_baseline", "nll_candidate", "kl_sum", "top1_agree"],
}
NEEDED = {
    REQUESTS: [
        *MEASURED[REQUESTS],
        "phase",
        "pair",
        "block",
        "order",
        "role",
        "prompt",
        "intended",
        "error",
    ],
    BLOCKS: [*MEASURED[BLOCKS], "pair", "role"],
    DOCUMENTS: MEASURED[DOCUMENTS],
}
tables = st.sampled_from([REQUESTS, BLOCKS, DOCUMENTS])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    evaluation, benchmark = make_artifacts(folder, World(slower=0.3, throughput=5))
    for gate in (GATE, LOOKS):
        decision = judge(evaluation, benchmark, DEPLOYMENT, gate)
        assert decision.verdict == "promote", decision.reason
    return folder


def edit_table(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Rewrite a table with a change, and let its record know of the new bytes: what is wrong must
    be found in the values.
    """
    path = folder / name
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    edit_record(folder, BENCHMARK, {"requests_digest": "", "blocks_digest": ""})


def edit_record(folder: Path, name: str, changes: dict[str, Any]) -> None:
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(record | changes))


@st.composite
def truncated(draw: st.DrawFn) -> Damage:
    name, share = (
        draw(st.sampled_from([REQUESTS, BLOCKS, DOCUMENTS, EVALUATION, BENCHMARK])),
        draw(st.floats(0, 0.999)),
    )

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: min(int(len(data) * share), len(data) - 2)])

    return damage


@st.composite
def removed(draw: st.DrawFn) -> Damage:
    name = draw(st.sampled_from([REQUESTS, BLOCKS, DOCUMENTS, EVALUATION, BENCHMARK]))
    return lambda folder: (folder / name).unlink()


@st.composite
def flipped(draw: st.DrawFn) -> Damage:
    """One byte of samples changed: found by their digest."""
    name, place, change = (
        draw(st.sampled_from([REQUESTS, BLOCKS])),
        draw(st.floats(0, 0.999)),
        draw(st.integers(1, 255)),
    )

    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(len(data) * place)] ^= change
        (folder / name).write_bytes(data)

    return damage


@st.composite
def impossible_value(draw: st.DrawFn) -> Damage:
    name = draw(tables)
    column, row = draw(st.sampled_from(MEASURED[name])), draw(st.integers(0, 9))
    number = draw(st.sampled_from([math.nan, math.inf, -math.inf, -1.0, None]))

    def damage(folder: Path) -> None:
        def change(rows: list[dict[str, Any]]) -> None:
            old = rows[row][column]
            if isinstance(old, list):
                rows[row][column] = [number, *old[1:]] if number is not None else None
            else:
                rows[row][column] = -1 if isinstance(old, int) and number is not None else number

        edit_table(folder, name, change)

    return damage


@st.composite
def missing_column(draw: st.DrawFn) -> Damage:
    name = draw(tables)
    column = draw(st.sampled_from(NEEDED[name]))

    def damage(folder: Path) -> None:
        pq.write_table(pq.read_table(folder / name).drop_columns([column]), folder / name)
        edit_record(folder, BENCHMARK, {"requests_digest": "", "blocks_digest": ""})

    return damage


@st.composite
def other_rows(draw: st.DrawFn) -> Damage:
    """Rows lost from the end or the start, doubled, or none left."""
    name, count = draw(tables), draw(st.integers(1, 60))
    changes: list[Callable[[list[dict[str, Any]]], Any]] = [
        lambda rows: rows.clear(),
        lambda rows: rows.__delitem__(
            slice(-min(count, len(rows) - 1), None) if name != BLOCKS else slice(2, None)
        ),
        lambda rows: rows.__delitem__(slice(None, count) if name != BLOCKS else slice(None, 6)),
        lambda rows: rows.extend(rows[:count]),
    ]
    change = draw(st.sampled_from(changes))
    return lambda folder: edit_table(folder, name, change)


@st.composite
def one_color_gone(draw: st.DrawFn) -> Damage:
    role, told = draw(st.sampled_from(["candidate", "live"])), draw(st.booleans())

    def damage(folder: Path) -> None:
        for name in (REQUESTS, BLOCKS):
            edit_table(
                folder,
                name,
                lambda rows: rows.__setitem__(
                    slice(None), [row for row in rows if row["role"] != role]
                ),
            )
        if told and role == "live":
            edit_record(folder, BENCHMARK, {"live": None})

    return damage


@st.composite
def all_failed(draw: st.DrawFn) -> Damage:
    roles = draw(st.sampled_from([{"candidate"}, {"live"}, {"candidate", "live"}]))

    def damage(folder: Path) -> None:
        def change(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                if row["role"] in roles:
                    row.update(error="connect", tokens_out=0, itls=[], ttft=math.nan)

        edit_table(folder, REQUESTS, change)
        record = json.loads((folder / BENCHMARK).read_text())
        edit_record(
            folder,
            BENCHMARK,
            {role: record[role] | {"errors": record[role]["requests"]} for role in roles},
        )

    return damage


@st.composite
def clock_backwards(draw: st.DrawFn) -> Damage:
    row, step, column = (
        draw(st.integers(0, 199)),
        draw(st.floats(1, 1e6)),
        draw(st.sampled_from(["e2e", "intended"])),
    )

    def change(rows: list[dict[str, Any]]) -> None:
        rows[row | 1 if column == "intended" else row][column] -= (
            step  # the second request of a pair before the first
        )

    return lambda folder: edit_table(folder, REQUESTS, change)


LIES: list[tuple[str, dict[str, Any]]] = [
    (BENCHMARK, {"complete": False, "reason": "cut short"}),
    (BENCHMARK, {"complete": False}),
    (BENCHMARK, {"pairs": 99}),
    (BENCHMARK, {"pairs": 0}),
    (BENCHMARK, {"concurrency": 1}),
    (BENCHMARK, {"max_tokens": 1}),
    (BENCHMARK, {"candidate": None}),
    (BENCHMARK, {"schema_version": 2}),
    (EVALUATION, {"candidate_digest": "another"}),
    (EVALUATION, {"documents": 59}),
    (EVALUATION, {"tokens": 1}),
    (EVALUATION, {"metrics": {}}),
]


@st.composite
def other_record(draw: st.DrawFn) -> Damage:
    name, changes = draw(st.sampled_from(LIES))
    return lambda folder: edit_record(folder, name, changes)


@st.composite
def other_release(draw: st.DrawFn) -> Damage:
    role, field = (
        draw(st.sampled_from(["candidate", "live"])),
        draw(st.sampled_from(["release_id", "digest"])),
    )

    def damage(folder: Path) -> None:
        summary = json.loads((folder / BENCHMARK).read_text())[role]
        edit_record(
            folder, BENCHMARK, {role: summary | {field: draw(st.sampled_from(["", "another"]))}}
        )

    return damage


KINDS = [
    truncated,
    removed,
    flipped,
    impossible_value,
    missing_column,
    other_rows,
    one_color_gone,
    all_failed,
    clock_backwards,
    other_record,
    other_release,
]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(damage=st.one_of([kind() for kind in KINDS]), gate=st.sampled_from([GATE, LOOKS]))
def test_broken_evidence_is_never_promoted(whole: Path, damage: Damage, gate: Gate) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(whole, Path(name) / "copy"))
        damage(folder)
        decision = judge(folder / "evaluation", folder / "benchmark", DEPLOYMENT, gate)
    assert decision.verdict != "promote"
    assert decision.action == "retire"
    assert all(objective.reason for objective in decision.objectives)
