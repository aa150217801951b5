"""The report of every way in which a run can end."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.history import STEPS
from tests.report.made_samples import objective, passing
from tests.report.run_factory import RunFactory
from tests.report.written_report import write_and_parse


def test_promoted(tmp_path: Path) -> None:
    summary, page = write_and_parse(
        RunFactory(tmp_path, pairs=2400).through("gate").moved(probes=5)
    )
    assert summary.outcome == "promoted" and not summary.unreadable
    assert page.title == "Promoted: builtin:tiny, optimum, 8-bit"
    assert "kept all 9 objectives of the gate default" in page.text
    assert (
        "The traffic moved to rel-4f2a on green from rel-0000 on blue at 2026-11-23 19:21:03 UTC. 5"
        " probes since, 0 failed." in page.text
    )
    assert set(page.figures) == {"objectives", "ttft", "itl", "e2e", "throughput"}
    assert "This is the first release" in page.text
    # commit, gate, digest, libraries, code
    for name in (
        "abc123" * 6,
        "9a" * 32,
        "c4" * 32,
        "optimum-intel 2.2.0",
        "0123456789ab",
    ):
        assert name in page.text
    assert summary.scalars["promoted"] == summary.scalars["verdict_promote"] == 1
    assert summary.scalars["kl_mean"] == 0.0031
    assert summary.scalars["objective_p95_of_ttft_vs_live_bound"] == 0.71
    assert 4 < summary.scalars["output_tokens_per_second_ratio"] < 5


def test_rejected(tmp_path: Path) -> None:
    objectives = passing()
    objectives[3] = objective(
        "p50 of TTFT vs live",
        "ttft",
        1.31,
        1.44,
        1.05,
        "fail",
        reason="beyond the limit 1.05x live",
    )
    objectives[4] = objective("p95 of TTFT vs live", "ttft", 1.02, math.inf, 1.10, "inconclusive")
    summary, page = write_and_parse(
        RunFactory(tmp_path, objectives=objectives)
        .through("benchmark")
        .gate("reject")
        .moved("retired")
    )
    assert summary.outcome == "retired"
    assert page.title.startswith("Not promoted:")
    assert (
        "is rejected by the gate default: p50 of TTFT vs live (fail), p95 of TTFT vs live"
        " (inconclusive). 7 of 9 objectives were kept." in page.text
    )
    assert (
        "The traffic did not move: it stays on rel-0000 on blue. The candidate was taken down."
        in page.text
    )
    rows = page.rows("Objectives")
    assert rows["p50 of TTFT vs live"] == [
        "✗ fail",
        "1.31 × live",
        "1.44 × live at 95%",
        "≤ 1.05 × live",
    ]
    assert rows["p95 of TTFT vs live"] == [
        "~ inconclusive",
        "1.02 × live",
        "∞ × live at 95%",
        "≤ 1.10 × live",
    ]
    assert rows["error rate vs live"] == [
        "✓ pass",
        "+0.00 points",
        "+1.80 points at 95%",
        "≤ +3.00 points against live",
    ]
    assert rows["top-1 agreement"] == ["✓ pass", "97.80%", "97.40% at 95%", "≥ 90.00%"]
    assert "objective_p95_of_ttft_vs_live_bound" not in summary.scalars  # it is infinite
    assert summary.scalars["promoted"] == summary.scalars["verdict_promote"] == 0


def test_inconclusive_without_evidence(tmp_path: Path) -> None:
    objectives = [
        objective("p50 of TTFT vs live", "ttft", None, None, 1.05, "inconclusive"),
        objective("worse KL", "kl_mean", 0.1, 0.2, 0.0, "inconclusive"),
    ]
    factory = (
        RunFactory(tmp_path, objectives=objectives)
        .through("deploy_green")
        .benchmark(complete=False, samples=False)
    )
    summary, page = write_and_parse(factory.gate("inconclusive").moved("retired"))
    assert page.title.startswith("Not promoted: inconclusive")
    assert "The benchmark is not complete. the time limit of 60 s was over" in page.text
    assert "There are no samples to draw distributions from." in page.text
    assert page.rows("Objectives")["p50 of TTFT vs live"][1] == "–"
    assert page.figures == {}  # nothing can be drawn: no estimate, and a limit of zero
    assert summary.unreadable == [
        "samples: IntegrityError: the record of the benchmark does not say where its samples lie"
    ]


def test_held(tmp_path: Path) -> None:
    summary, page = write_and_parse(
        RunFactory(tmp_path).through("benchmark").gate("promote", "hold")
    )
    assert summary.outcome == "held"
    assert (
        "The candidate waits on green; `greenlight promote 20261123-192001-4f2a` gives it the"
        " traffic." in page.text
    )


def test_rolled_back(tmp_path: Path) -> None:
    summary, page = write_and_parse(
        RunFactory(tmp_path)
        .through("gate")
        .moved("rolled_back", probes=4, errors=3, reason="3 of 4 probes failed")
    )
    assert page.title.startswith("Rolled back:")
    assert "3 of 4 probes failed" in summary.headline
    assert (
        "The traffic moved, failed its watch, and is back on rel-0000 on blue. 4 probes since, 3"
        " failed." in page.text
    )


def test_up_to_date(tmp_path: Path) -> None:
    summary, page = write_and_parse(RunFactory(tmp_path).resolve("up_to_date"))
    assert summary.outcome == "up_to_date"
    assert (
        "Nothing new to release: live is rel-0000: same source commit, same settings, same code."
        in page.text
    )
    assert "The traffic did not move: it stays on rel-0000." in page.text
    assert page.figures == {} and page.size < 20_000  # nothing to draw: no plotly inside


@pytest.mark.parametrize("step", STEPS)
def test_failed(tmp_path: Path, step: str) -> None:
    factory = RunFactory(tmp_path)
    order = [
        "resolve",
        "download",
        "reference",
        "quantize",
        "evaluate",
        "select",
        "deploy_green",
        "benchmark",
        "gate",
        "promote",
    ]
    done = order[: order.index("promote" if step == "retire" else step)]
    for name in done:
        getattr(factory, name)()
    if step == "retire":
        factory.gate("reject")
    factory.failed(step, "the disk is full.\nFree some space.")
    summary, page = write_and_parse(factory)
    assert summary.outcome == "failed"
    assert summary.headline == f"{step} failed: the disk is full."
    assert page.title.startswith("Failed:")
    assert "Free some space." in page.text
    assert f"! {step}: failed" in page.items("Steps")
    assert all(f"✓ {name}: finished" in page.items("Steps") for name in done)
    if step == "promote":
        assert "does not say whether the traffic moved" in page.text
    else:
        assert "The traffic did not move" in page.text
        assert ("The candidate may still be up on green" in page.text) == ("deploy_green" in done)


def test_killed(tmp_path: Path) -> None:
    summary, page = write_and_parse(RunFactory(tmp_path).through("evaluate"))
    assert (
        summary.headline
        == "The run stopped after evaluate without an error: it was killed, or it is still running."
    )
    assert "The traffic did not move" in page.text


def test_killed_while_the_traffic_moved(tmp_path: Path) -> None:
    _, page = write_and_parse(RunFactory(tmp_path).through("gate"))
    assert "does not say whether the traffic moved: `greenlight status` does" in page.text


def test_a_run_that_nobody_knows(tmp_path: Path) -> None:
    summary, _ = write_and_parse(RunFactory(tmp_path, "no-such-run"))
    assert summary.headline == "The history holds nothing of this run."


@pytest.mark.parametrize("name", ["resolve", "deploy_green", "benchmark", "gate", "promote"])
@pytest.mark.parametrize("text", ["", '{"schema_version": 1', '{"schema_version": 7}', "\x00\x01"])
def test_a_broken_record_is_named(tmp_path: Path, name: str, text: str) -> None:
    factory = RunFactory(tmp_path).through("gate").moved().broken(name, text)
    summary, page = write_and_parse(factory)
    assert len(summary.unreadable) == 1 and summary.unreadable[0].startswith(f"{name}.json: ")
    assert "What this report could not read" in page.text


def test_everything_is_broken(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path)
    for name in ("parameters", "resolve", "deploy_green", "benchmark", "gate", "promote", "retire"):
        factory.broken(name).failed(name)
        (factory.folder / f"{name}.error.json").write_bytes(b"\xff\xfe")
    summary, page = write_and_parse(factory)
    assert summary.outcome == "unreadable" and len(summary.unreadable) >= 12
    assert "greenlight status" in page.text


def test_samples_that_are_gone_or_changed(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate").moved()
    requests = tmp_path / "artifacts" / factory.run_id / "requests.parquet"
    requests.write_bytes(requests.read_bytes() + b"x")
    summary, page = write_and_parse(factory)
    assert "was changed since" in summary.unreadable[0] and set(page.figures) == {"objectives"}
    requests.unlink()
    summary, page = write_and_parse(factory)
    assert "FileNotFoundError" in summary.unreadable[0]
    assert page.rows("Percentiles of the requests that succeeded")["TTFT, candidate (green)"][
        0
    ].endswith(" ms")  # the record has them


def test_a_quick_end_imports_nothing_heavy(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).resolve("up_to_date")
    code = f"""
import sys
from pathlib import Path
from greenlight.report.write import write_report
write_report({str(tmp_path)!r}, {factory.run_id!r}, Path({str(tmp_path / "report.html")!r}), None)
heavy = ("numpy", "pandas", "pyarrow", "plotly", "kfp", "requests", "google.cloud.storage")
print([name for name in heavy if name in sys.modules])
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
