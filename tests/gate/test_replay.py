"""A decision made again from its artifacts, by the functions and by the commands; and gates
explained.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenlight.cli.main import app
from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Decision
from greenlight.gate.judge import judge
from greenlight.gate.objectives import load_gate
from greenlight.gate.replay import find_differences, load_decision, replay
from greenlight.gate.sentences import explain
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts

LOOKS = """
name: looks
confidence: 0.95
objectives:
  - {metric: kl_mean, max: 0.05}
  - {metric: e2e, statistic: p95, scope: vs_live, max: 1.10}
  - {metric: longest_gap, statistic: p90, scope: vs_live, better_by: 0.1}
  - {metric: ttft, statistic: over_slo, slo: 0.05, scope: vs_live, max: 0.02}
  - {metric: output_tokens_per_second, scope: vs_live, better_by: 1e-05}
benchmark: {pairs: 200, looks: 2}
"""


def decided(folder: Path, world: World, gate: str = LOOKS) -> Path:
    """A decision as the step leaves it; returns its file."""
    evaluation, benchmark = make_artifacts(folder, world)
    decision = judge(evaluation, benchmark, DEPLOYMENT, load_gate(gate))
    decision.model_copy(
        update={"evaluation_uri": str(evaluation), "benchmark_uri": str(benchmark)}
    ).save(folder / "decision")
    return folder / "decision" / "record.json"


@pytest.mark.parametrize(
    "world",
    [
        World(slower=0.3, throughput=5, pairs=200),
        World(slower=3, pairs=200),
        World(pairs=200),
        World(pairs=120),
        World(pairs=200, failing={"candidate": 0.2}),
    ],
    ids=["promote", "reject", "open", "short", "failing"],
)
def test_the_same_to_the_last_bit(tmp_path: Path, world: World) -> None:
    decision = load_decision(str(decided(tmp_path, world)))
    again = replay(decision)
    assert find_differences(decision, again) == []
    assert again.model_dump_json(exclude={"decided_at"}) == decision.model_dump_json(
        exclude={"decided_at"}
    )


def test_by_another_gate(tmp_path: Path) -> None:
    decision = Decision.load(decided(tmp_path, World(slower=0.8, throughput=5, pairs=200)).parent)
    strict = load_gate(LOOKS.replace("better_by: 0.1", "better_by: 0.5"))
    assert decision.verdict == "promote"
    assert replay(decision, strict).verdict == "reject"


def test_a_missing_artifact_stays_missing(tmp_path: Path) -> None:
    file = decided(tmp_path, World(pairs=200))
    shutil.rmtree(tmp_path / "benchmark")
    with pytest.raises(IntegrityError, match="the benchmark that was judged is not in"):
        replay(load_decision(str(file)))


def test_what_was_changed_is_told(tmp_path: Path) -> None:
    decision = load_decision(str(decided(tmp_path, World(pairs=200))))
    with pytest.raises(IntegrityError, match="not the one that its digest is of"):
        replay(decision.model_copy(update={"gate": decision.gate.replace("0.05", "0.5")}))
    with pytest.raises(IntegrityError, match="does not hold its gate"):
        replay(decision.model_copy(update={"gate": ""}))
    assert find_differences(
        decision.model_copy(update={"verdict": "promote"}), replay(decision)
    ) == ["verdict"]
    (tmp_path / "text.json").write_text("{}")
    for place, says in (
        ("text.json", "is not the record of a decision"),
        ("nothing", "there is no such file"),
    ):
        with pytest.raises(InputError, match=says):
            load_decision(str(tmp_path / place))


def test_the_commands(tmp_path: Path) -> None:
    file, other = (
        decided(tmp_path, World(slower=0.3, throughput=5, pairs=200)),
        tmp_path / "other.yaml",
    )
    same = CliRunner().invoke(app, ["gate", "replay", str(file)])
    assert same.exit_code == 0 and same.output.endswith("The same as recorded, to the last bit.\n")
    told = json.loads(CliRunner().invoke(app, ["gate", "replay", str(file), "--json"]).stdout)
    assert (told["recorded"], told["differences"], told["decision"]["verdict"]) == (
        "promote",
        [],
        "promote",
    )
    other.write_text(LOOKS.replace("better_by: 0.1", "better_by: 0.9"))
    changed = CliRunner().invoke(app, ["gate", "replay", str(file.parent), "--gate", str(other)])
    assert changed.exit_code == 3 and changed.output.endswith(
        "The verdict of gate looks was promote; that of gate looks is reject.\n"
    )
    as_json = CliRunner().invoke(
        app, ["gate", "replay", str(file.parent), "--gate", str(other), "--json"]
    )
    assert as_json.exit_code == 3 and json.loads(as_json.stdout)["decision"]["verdict"] == "reject"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"reason": "because", "code_version": "abc"}))
    differing = CliRunner().invoke(app, ["gate", "replay", str(file)])
    assert isinstance(
        differing.exception, GreenlightError
    ) and "differs from the record in reason" in str(differing.exception)


def test_a_gate_is_explained() -> None:
    lines = explain(load_gate(LOOKS))
    assert lines[0].endswith(
        "Everything else is inconclusive. It measures at most 200 pairs (a pair is the same request"
        " to the candidate and to live) and may decide early, after 100."
    )
    assert lines[2].startswith(
        "p95 of E2E vs live: passes when, with 95% confidence, the candidate's p95 of E2E is at"
        " most 1.1 times that of live."
    )
    assert "at most 0.9 times that of live, which is 10% better" in lines[3]
    assert (
        "share of TTFT over 50 ms is at most 2 percentage points more than that of live" in lines[4]
    )
    printed = CliRunner().invoke(app, ["gate", "explain", "default"]).output
    assert "720, 1,260, 1,620, 1,980." in printed and printed.count("passes when") == 12
    watch = " ".join(printed.split())
    assert (
        "After the switch the bake watches the new color for 120 s. It rolls back when more than 12"
        " probes fail; each probe that only the old color fails allows 2 more." in watch
    )
    assert (
        "with 99% confidence, the new color takes more than 1.08 times as long as the old one,"
        " beyond the slowdown by load that 120 pairs before the switch showed." in watch
    )
    assert explain(load_gate("quick"))[-1].endswith("Latencies are not compared.")
