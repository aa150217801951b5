"""The report of every way in which a run can end."""

import json
import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from greenlight.core.history import STEPS
from greenlight.core.records import BakeResult, Evaluation, ReportSummary, TaskResult
from greenlight.report.write import write_report
from tests.report.page_parser import Page
from tests.report.run_factory import START, RunFactory, objective, passing

LIMIT = 5_000_000
PLAIN = {"builtin:tiny"}


def report(factory: RunFactory) -> tuple[ReportSummary, Page]:
    """The report of a run, as somebody else finds it."""
    output = factory.history / "out" / "report.html"
    metrics = factory.history / "out" / "metrics.json"
    summary = write_report(str(factory.history), factory.run_id, output, metrics)
    assert json.loads(metrics.read_text()) == summary.scalars
    assert all(math.isfinite(value) for value in summary.scalars.values())
    assert output.stat().st_size < LIMIT
    return summary, Page(output.read_text())


def test_promoted(tmp_path: Path) -> None:
    summary, page = report(RunFactory(tmp_path, pairs=2400).through("gate").moved(probes=5))
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


def test_what_the_looks_saved_and_what_it_costs(tmp_path: Path) -> None:
    summary, page = report(
        RunFactory(tmp_path, pairs=2400).through("benchmark").gate(looks=5).moved()
    )
    assert (
        "looks" in page.figures
        and "1,920 of at most 2,400 pairs decided, which saved 20% of them." in page.text
    )
    assert (
        "Workload chat: 3.98 of 4 requests per second were sent" in page.text
        and "Goodput counts requests with TTFT within 500" in page.text
    )
    assert page.figures["throughput"]["layout"]["annotations"][0]["text"].startswith(
        "the traffic moved"
    )
    assert "USD per million tokens" in page.text and "876" in page.text, (
        "1.2 USD an hour, 730 hours"
    )
    assert summary.scalars["pairs_used"] == 0.8 and summary.scalars["live_goodput"] == 1


def test_the_candidates_of_a_sweep_and_why_the_winner_won(tmp_path: Path) -> None:
    factory = (
        RunFactory(tmp_path).through("evaluate").sweep().deploy_green().benchmark().gate().moved()
    )
    _, page = report(factory)
    assert (
        "optimum:8 was deployed: it keeps the quality objectives of gate default; the gate prefers"
        " speed: 2,400 tokens/s." in page.text
    )
    assert "quantize: llm-compressor was killed" in page.text and "★ chosen" in page.text
    drawn = {trace["name"]: trace.get("text") for trace in page.figures["front"]["data"]}
    assert drawn == {
        "front": None,
        "chosen": ["optimum:8"],
        "passed": ["bnb:8"],
        "refused": ["optimum:4"],
    }
    assert page.figures["front"]["layout"]["xaxis"]["type"] == "log"


def test_the_path_of_a_search(tmp_path: Path) -> None:
    _, page = report(RunFactory(tmp_path, method="smallest", bits=4).through("gate").moved())
    assert page.title == "Promoted: builtin:tiny, smallest, 4- and 8-bit"
    path = page.text[
        page.text.index("The search for the smallest") : page.text.index("Size and time")
    ]
    assert (
        path.index("1: 100.0% int4 a channel")
        < path.index("✗ refused")
        < path.index("✓ passed")
        < path.index("too large")
    )
    assert "Mean KL divergence 0.06" in path and "beyond the limit 0.05 nats" in path


def test_one_candidate_needs_no_comparison(tmp_path: Path) -> None:
    _, page = report(RunFactory(tmp_path).through("gate").moved())
    assert "front" not in page.figures and "was deployed" not in page.text


def test_tasks_and_what_the_candidate_changed(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("evaluate")
    record = Evaluation.model_validate_json((factory.builds[1] / "evaluate.json").read_bytes())
    exam = TaskResult(
        name="exam <b>",
        few_shot=2,
        chat_template=True,
        items=1200,
        accuracy=0.7025,
        accuracy_stderr=0.0132,
        baseline_accuracy=0.71,
        baseline_stderr=0.0131,
        right_to_wrong=21,
        wrong_to_right=12,
    )
    plain = exam.model_copy(update={"name": "plain", "few_shot": 0, "chat_template": False})
    factory.write("evaluate", record.model_copy(update={"tasks": [exam, plain]}), factory.builds[1])
    summary, page = report(factory)
    rows = page.rows("Tasks")
    assert rows["plain"] == ["70.2% ± 1.3%", "71.0% ± 1.3%", "21", "12"]
    assert (
        list(rows)[1:] == ["exam <b>", "plain"]
        and "1,200 items, 2 examples, through the chat template" in page.text
        and "1,200 items, no examples" in page.text
    )
    assert (
        summary.scalars["task_exam_b_accuracy"],
        summary.scalars["task_plain_baseline_accuracy"],
    ) == (0.7025, 0.71)
    _, page = report(RunFactory(tmp_path / "without").through("evaluate"))
    assert "Tasks" not in page.text


def test_what_changed_since_the_last_promotion_of_this_service(tmp_path: Path) -> None:
    RunFactory(tmp_path, "older", START - timedelta(days=9), bits=8).through("gate").moved()
    RunFactory(tmp_path, "last", START - timedelta(days=5), bits=4).through("gate").moved()
    RunFactory(tmp_path, "retired", START - timedelta(days=3)).through("gate").moved("retired")
    RunFactory(tmp_path, "rolled-back", START - timedelta(days=2)).through("gate").moved(
        "rolled_back"
    )
    RunFactory(tmp_path, "elsewhere", START - timedelta(days=1), service="other").through(
        "gate"
    ).moved()
    RunFactory(tmp_path, "broken", START - timedelta(hours=1)).through("gate").broken("promote")
    RunFactory(tmp_path, "later", START + timedelta(days=1)).through("gate").moved()
    _, page = report(RunFactory(tmp_path).through("gate").moved())
    assert "Compared with run last of 2026-11-18" in page.text
    rows = page.rows("What changed since the last promotion")
    assert rows["Method"] == ["optimum, 4-bit", "optimum, 8-bit", "changed"]
    assert rows["Source commit"][2] == "same"
    assert rows["Output tokens/s"][2] == "no change"


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
    summary, page = report(
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
    summary, page = report(factory.gate("inconclusive").moved("retired"))
    assert page.title.startswith("Not promoted: inconclusive")
    assert "The benchmark is not complete. the time limit of 60 s was over" in page.text
    assert "There are no samples to draw distributions from." in page.text
    assert page.rows("Objectives")["p50 of TTFT vs live"][1] == "–"
    assert page.figures == {}  # nothing can be drawn: no estimate, and a limit of zero
    assert summary.unreadable == [
        "samples: IntegrityError: the record of the benchmark does not say where its samples lie"
    ]


def test_held(tmp_path: Path) -> None:
    summary, page = report(RunFactory(tmp_path).through("benchmark").gate("promote", "hold"))
    assert summary.outcome == "held"
    assert (
        "The candidate waits on green; `greenlight promote 20261123-192001-4f2a` gives it the"
        " traffic." in page.text
    )


def test_the_bake_of_a_promotion_is_shown(tmp_path: Path) -> None:
    watched = BakeResult(pairs=180, ratio=1.02, bound=0.97, limit=1.08, load=1.25)
    _, page = report(
        RunFactory(tmp_path, pairs=2400).through("gate").moved(probes=240, bake=watched)
    )
    shown = (
        "240 probes since, 0 failed. In 180 pairs it took 1.02x as long as the old color, beyond"
        " the 1.25x that load explains; the limit is 1.08x."
    )
    assert shown in page.text


def test_rolled_back(tmp_path: Path) -> None:
    summary, page = report(
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
    summary, page = report(RunFactory(tmp_path).resolve("up_to_date"))
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
    summary, page = report(factory)
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
    summary, page = report(RunFactory(tmp_path).through("evaluate"))
    assert (
        summary.headline
        == "The run stopped after evaluate without an error: it was killed, or it is still running."
    )
    assert "The traffic did not move" in page.text


def test_killed_while_the_traffic_moved(tmp_path: Path) -> None:
    _, page = report(RunFactory(tmp_path).through("gate"))
    assert "does not say whether the traffic moved: `greenlight status` does" in page.text


def test_a_run_that_nobody_knows(tmp_path: Path) -> None:
    summary, _ = report(RunFactory(tmp_path, "no-such-run"))
    assert summary.headline == "The history holds nothing of this run."


@pytest.mark.parametrize("name", ["resolve", "deploy_green", "benchmark", "gate", "promote"])
@pytest.mark.parametrize("text", ["", '{"schema_version": 1', '{"schema_version": 7}', "\x00\x01"])
def test_a_broken_record_is_named(tmp_path: Path, name: str, text: str) -> None:
    factory = RunFactory(tmp_path).through("gate").moved().broken(name, text)
    summary, page = report(factory)
    assert len(summary.unreadable) == 1 and summary.unreadable[0].startswith(f"{name}.json: ")
    assert "What this report could not read" in page.text


def test_everything_is_broken(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path)
    for name in ("parameters", "resolve", "deploy_green", "benchmark", "gate", "promote", "retire"):
        factory.broken(name).failed(name)
        (factory.folder / f"{name}.error.json").write_bytes(b"\xff\xfe")
    summary, page = report(factory)
    assert summary.outcome == "unreadable" and len(summary.unreadable) >= 12
    assert "greenlight status" in page.text


def test_samples_that_are_gone_or_changed(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate").moved()
    requests = tmp_path / "artifacts" / factory.run_id / "requests.parquet"
    requests.write_bytes(requests.read_bytes() + b"x")
    summary, page = report(factory)
    assert "was changed since" in summary.unreadable[0] and set(page.figures) == {"objectives"}
    requests.unlink()
    summary, page = report(factory)
    assert "FileNotFoundError" in summary.unreadable[0]
    assert page.rows("Percentiles of the requests that succeeded")["TTFT, candidate (green)"][
        0
    ].endswith(" ms")  # the record has them


def test_failed_requests_are_told_and_keep_the_curve_below_one(tmp_path: Path) -> None:
    _, page = report(
        RunFactory(tmp_path)
        .through("deploy_green")
        .benchmark(errors=8)
        .gate("reject")
        .moved("retired")
    )
    assert (
        "8 of 100 to candidate (green) and 0 of 100 to live (blue) failed. They count as infinitely"
        " slow" in page.text
    )
    shares = {trace["name"]: max(trace["y"]) for trace in page.figures["e2e"]["data"]}
    assert shares == {"candidate (green)": 0.92, "live (blue)": 1.0}


HOSTILE = "<script>alert(1)</script>\"'&</style>{{ 7*7 }}<a href='http://evil.example'>"


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    objectives = [*passing(), objective(HOSTILE, "kl_mean", 0.01, 0.02, 0.05, reason=HOSTILE)]
    factory = (
        RunFactory(tmp_path, source=HOSTILE, method="bnb", objectives=objectives)
        .through("gate")
        .failed("promote", HOSTILE, HOSTILE)
    )
    plain = RunFactory(tmp_path, "plain").through("gate").failed("promote")
    summary, page = report(factory)
    _, expected = report(plain)
    assert page.tags["script"] == expected.tags["script"] == 3
    assert page.tags["a"] == 0
    assert page.text.count(HOSTILE) >= 4 and "49" not in page.title  # as text, whole
    assert HOSTILE in summary.headline
    # plotly takes text for HTML, so it is escaped there once more
    assert "<script>alert" not in json.dumps(page.figures)


@pytest.mark.parametrize("outcome", ["promoted", "up_to_date", "failed"])
def test_nothing_outside_the_file_is_asked_for(tmp_path: Path, outcome: str) -> None:
    factory = RunFactory(tmp_path)
    match outcome:
        case "promoted":
            factory.through("gate").moved()
        case "up_to_date":
            factory.resolve("up_to_date")
        case "failed":
            factory.through("quantize").failed("evaluate")
    _, page = report(factory)
    assert page.links == {"data:,"}  # the icon
    assert "default-src 'none'" in page.policy
    assert not any(word in page.style for word in ("url(", "@import"))


def test_structure_for_those_who_do_not_see_the_page(tmp_path: Path) -> None:
    _, page = report(RunFactory(tmp_path).through("gate").moved())
    assert page.unbalanced == []
    assert page.language == "en"
    assert page.tags["header"] == page.tags["main"] == page.tags["footer"] == page.tags["h1"] == 1
    assert page.headings[0] == 1 and all(
        after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False)
    )
    assert len(page.ids) == len(set(page.ids))
    assert all(f"chart-{name}" in page.ids for name in page.figures)
    # every chart is told in words
    assert page.images and all(len(words) > 40 for words in page.images)
    assert page.tags["figure"] == page.tags["figcaption"] == len(page.images)
    assert page.header_cells_without_scope == 0
    assert page.empty_header_cells == 0


def test_a_quick_end_imports_nothing_heavy(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).resolve("up_to_date")
    code = f"""
import sys
from pathlib import Path
from greenlight.report.write import write_report
write_report({str(tmp_path)!r}, {factory.run_id!r}, Path({str(tmp_path / "report.html")!r}), None)
print([name for name in ("numpy", "pandas", "pyarrow", "plotly", "kfp", "requests", "google.cloud.storage") if name in sys.modules])
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
