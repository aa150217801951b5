"""The runs of a history in short, and what two of them differ in."""

from datetime import timedelta
from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.core.history import load_run
from greenlight.core.records import Instance
from greenlight.report.metric_labels import unit_of
from greenlight.report.overview import compare, find_run, line_of, read_runs
from greenlight.report.scalars import scalars_of
from tests.report.made_samples import objective
from tests.report.run_factory import START, RunFactory


def test_a_line_says_what_the_records_say(tmp_path: Path) -> None:
    RunFactory(tmp_path, "whole").through("gate").moved()
    line = line_of(load_run(str(tmp_path), "whole"))
    assert (line.outcome, line.verdict, line.gate, line.passed, line.objectives) == (
        "promoted",
        "promote",
        "default",
        9,
        9,
    )
    assert (line.source, line.method, line.bits, line.engine, line.live_release_id) == (
        "builtin:tiny",
        "optimum",
        8,
        "openvino",
        "rel-0000",
    )
    assert line.moved_at == START + timedelta(seconds=62)
    assert line.figures["kl_mean"] == 0.0031


def test_a_line_of_a_run_that_failed_says_why(tmp_path: Path) -> None:
    RunFactory(tmp_path, "early").resolve().failed("download", "no such model")
    line = line_of(load_run(str(tmp_path), "early"))
    assert (line.outcome, line.verdict, line.reason) == ("failed", None, "download: no such model")
    assert (line.source, line.method, line.service) == ("builtin:tiny", "optimum", "llm-inference")


def test_runs_of_a_service_newest_first(tmp_path: Path) -> None:
    for days, (run_id, service) in enumerate([("a", "one"), ("b", "two"), ("c", "one")]):
        RunFactory(tmp_path, run_id, began=START + timedelta(days=days), service=service).through(
            "gate"
        ).moved()  # also leaves the folder `artifacts`, no run
    found = {
        service: [run.run_id for run in read_runs(str(tmp_path), service)]
        for service in ("", "one", "two", "none")
    }
    assert found == {"": ["c", "b", "a"], "one": ["c", "a"], "two": ["b"], "none": []}
    assert [run.run_id for run in read_runs(str(tmp_path), "one", 1)] == ["c"]


def test_compare_says_what_changed_and_by_how_much(tmp_path: Path) -> None:
    RunFactory(tmp_path, "a").through("gate").moved()
    other = RunFactory(
        tmp_path,
        "b",
        method="bnb",
        bits=4,
        objectives=[objective("p50 of TTFT vs live", "ttft", 1.3, 1.5, 1.05, "fail")],
    )
    other.through("benchmark").gate("reject").moved("retired")
    release = other.release("candidate").model_copy(
        update={"instances": [Instance(name="p", url="", build="tpl-1/sha256:ab")]}
    )
    other.write("deploy_green", other.deployment.model_copy(update={"candidate": release}))
    found = compare(load_run(str(tmp_path), "a"), load_run(str(tmp_path), "b"))
    assert {change.name: (change.a, change.b) for change in found.changes} == {
        "method": ("optimum", "bnb"), "bits": ("8", "4"), "image": ("", "tpl-1/sha256:ab"),
    }  # fmt: skip
    metrics = {each.name: each for each in found.metrics}
    assert (
        metrics["candidate_ttft_p95"].difference == 0 and metrics["candidate_ttft_p95"].unit == "s"
    )
    by_name = {each.name: each for each in found.objectives}
    assert by_name["p50 of TTFT vs live"].bound == pytest.approx(1.5 - 0.36)
    assert by_name["mean KL divergence"].b is None and by_name["mean KL divergence"].bound is None


def test_compare_with_a_run_that_measured_nothing(tmp_path: Path) -> None:
    RunFactory(tmp_path, "a").through("gate").moved()
    RunFactory(tmp_path, "b").through("quantize").failed("evaluate")
    found = compare(load_run(str(tmp_path), "a"), load_run(str(tmp_path), "b"))
    kl = next(each for each in found.metrics if each.name == "kl_mean")
    assert (kl.a, kl.b, kl.difference, kl.relative) == (0.0031, None, None, None)
    assert all(each.b is None for each in found.objectives)


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GREENLIGHT_HISTORY"):
        find_run(str(tmp_path), "run-1", "A")
    RunFactory(tmp_path, "run-10").resolve()
    with pytest.raises(InputError, match=r"A: 'run-1': .*did you mean run-10"):
        find_run(str(tmp_path), "run-1", "A")


def test_every_figure_that_is_a_quantity_has_a_unit(tmp_path: Path) -> None:
    RunFactory(tmp_path, "a").through("gate").moved()
    plain = {
        name
        for name in scalars_of(load_run(str(tmp_path), "a"))
        if not unit_of(name) and not name.startswith("objective")
    }
    assert plain == {"promoted", "verdict_promote", "perplexity", "baseline_perplexity", "pairs"}
