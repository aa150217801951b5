"""The charts of a notebook: in real colors, and None where there is nothing to draw."""

from pathlib import Path

import pytest

from greenlight.core.history import load_run
from greenlight.report.frames import load_frames
from greenlight.report.notebook_charts import (
    LatencyMetric,
    draw_latency,
    draw_looks,
    draw_objectives,
    draw_throughput,
)
from tests.report.run_factory import RunFactory


def test_variables_of_the_style_sheet_become_colors(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("benchmark").gate(looks=5)
    run = load_run(str(tmp_path), factory.run_id)
    objectives, looks = draw_objectives(run), draw_looks(run)
    assert objectives is not None and objectives.data[0].marker.color == "#1a7f37"
    assert looks is not None and looks.layout.title.text == "The bounds from look to look"
    assert "var(" not in objectives.to_json() + looks.to_json()


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("ttft", "TTFT: time from sending a request to its first token"),
        ("itl", "ITL: mean gap between the tokens of a request"),
        ("e2e", "E2E: time from sending a request to its last byte"),
    ],
)
def test_latencies_and_throughput(tmp_path: Path, metric: LatencyMetric, title: str) -> None:
    factory = RunFactory(tmp_path).through("gate")
    frames = load_frames(str(tmp_path), run=factory.run_id)
    latency, throughput = draw_latency(frames, metric), draw_throughput(frames)
    assert latency is not None and latency.layout.title.text == title
    assert [trace.name for trace in latency.data] == ["candidate (green)", "live (blue)"]
    assert throughput is not None and len(throughput.data) == 2


def test_nothing_to_draw(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate")
    run = load_run(str(tmp_path), factory.run_id)
    assert draw_looks(run) is None  # there was one look
    frames = load_frames(str(tmp_path))
    assert draw_latency(frames, "ttft") is None and draw_throughput(frames) is None
    early = RunFactory(tmp_path / "early").through("evaluate")
    assert draw_objectives(load_run(str(tmp_path / "early"), early.run_id)) is None
