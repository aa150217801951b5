"""What the page of a report shows, and how."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from greenlight.core.records import BakeResult, Evaluation, TaskResult
from tests.report.made_samples import objective, passing
from tests.report.run_factory import START, RunFactory
from tests.report.written_report import write_and_parse


def test_what_the_looks_saved_and_what_it_costs(tmp_path: Path) -> None:
    summary, page = write_and_parse(
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
        "1.2 USD per hour, 730 hours"
    )
    assert summary.scalars["pairs_used"] == 0.8 and summary.scalars["live_goodput"] == 1


def test_the_candidates_of_a_sweep_and_why_the_winner_won(tmp_path: Path) -> None:
    factory = (
        RunFactory(tmp_path).through("evaluate").sweep().deploy_green().benchmark().gate().moved()
    )
    _, page = write_and_parse(factory)
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
    _, page = write_and_parse(
        RunFactory(tmp_path, method="smallest", bits=4).through("gate").moved()
    )
    assert page.title == "Promoted: builtin:tiny, smallest, 4- and 8-bit"
    path = page.text[
        page.text.index("Search for the smallest artifact") : page.text.index("Size and time")
    ]
    assert (
        path.index("1: 100.0% int4 per channel")
        < path.index("✗ refused")
        < path.index("✓ passed")
        < path.index("too large")
    )
    assert "Mean KL divergence 0.06" in path and "beyond the limit 0.05 nats" in path


def test_one_candidate_needs_no_comparison(tmp_path: Path) -> None:
    _, page = write_and_parse(RunFactory(tmp_path).through("gate").moved())
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
    summary, page = write_and_parse(factory)
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
    _, page = write_and_parse(RunFactory(tmp_path / "without").through("evaluate"))
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
    _, page = write_and_parse(RunFactory(tmp_path).through("gate").moved())
    assert "Compared with run last of 2026-11-18" in page.text
    rows = page.rows("What changed since the last promotion")
    assert rows["Method"] == ["optimum, 4-bit", "optimum, 8-bit", "changed"]
    assert rows["Source commit"][2] == "same"
    assert rows["Output tokens/s"][2] == "no change"


def test_the_bake_of_a_promotion_is_shown(tmp_path: Path) -> None:
    watched = BakeResult(pairs=180, ratio=1.02, bound=0.97, limit=1.08, load=1.25)
    _, page = write_and_parse(
        RunFactory(tmp_path, pairs=2400).through("gate").moved(probes=240, bake=watched)
    )
    shown = (
        "240 probes since, 0 failed. In 180 pairs it took 1.02x as long as the old color, beyond"
        " the 1.25x that load explains; the limit is 1.08x."
    )
    assert shown in page.text


def test_failed_requests_are_told_and_keep_the_curve_below_one(tmp_path: Path) -> None:
    _, page = write_and_parse(
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
    summary, page = write_and_parse(factory)
    _, expected = write_and_parse(plain)
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
    _, page = write_and_parse(factory)
    assert page.links == {"data:,"}  # the icon
    assert "default-src 'none'" in page.policy
    assert not any(word in page.style for word in ("url(", "@import"))


def test_structure_for_those_who_do_not_see_the_page(tmp_path: Path) -> None:
    _, page = write_and_parse(RunFactory(tmp_path).through("gate").moved())
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
