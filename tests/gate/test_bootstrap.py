"""The bootstrap of objectives: centred on what the gate estimates, as wide as its bounds, for every
kind of objective.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from greenlight.core.errors import InputError
from greenlight.gate.bootstrap import bootstrap
from greenlight.gate.objectives import Gate, load_gate
from greenlight.report.frames import Frames, load_frames
from tests.gate.artifacts import World
from tests.gate.test_backtest import recorded

GATE = """
name: every kind
confidence: 0.95
objectives:
  - {metric: kl_mean, max: 0.05}
  - {metric: perplexity_ratio, max: 1.03}
  - {metric: top1_agreement, min: 0.90}
  - {metric: bits_per_byte, max: 3}
  - {metric: ttft, statistic: p50, scope: vs_live, max: 1.05}
  - {metric: ttft, statistic: p95, max: 1.10}
  - {metric: e2e, statistic: p95, scope: vs_live, max: 1.10}
  - {metric: itl, statistic: mean, scope: vs_live, max: 1.10}
  - {metric: longest_gap, statistic: p90, max: 1}
  - {metric: e2e, statistic: over_slo, slo: 0.3, scope: vs_live, max: 0.02}
  - {metric: output_tokens_per_second, scope: vs_live, min: 0.95}
  - {metric: output_tokens_per_second, min: 10}
  - {metric: error_rate, scope: vs_live, max: 0.05}
benchmark: {pairs: 800, throughput_blocks: 12, max_tokens: 24}
"""


@pytest.fixture(scope="module")
def gate() -> Gate:
    return load_gate(GATE)


@pytest.fixture(scope="module")
def frames(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("resample")
    recorded(
        folder,
        "run",
        World(pairs=800, blocks=12, failing={"candidate": 0.01, "live": 0.01}),
        gate,
        1,
    )
    benchmark: Path = folder / "runs/run/benchmark"
    record = json.loads((benchmark / "record.json").read_text()) | {"samples_uri": str(benchmark)}
    (folder / "history/run/benchmark.json").write_text(json.dumps(record))
    return load_frames(str(folder / "history"), run="run")


def drawn(gate: Gate, frames: Frames, **changes: pd.DataFrame) -> pd.DataFrame:
    assert frames.run and frames.run.benchmark
    samples = {
        name: getattr(frames, name) for name in ("pairs", "requests", "blocks", "documents")
    } | changes
    return bootstrap(gate, **samples, benchmark=frames.run.benchmark, draws=1000)


def test_it_agrees_with_the_gate(gate: Gate, frames: Frames) -> None:
    draws = drawn(gate, frames)
    assert frames.run and frames.run.decision
    results = frames.run.decision.objectives
    assert list(draws) == [result.name for result in results] and draws.shape == (
        1000,
        len(gate.objectives),
    )
    for objective, result in zip(gate.objectives, results, strict=True):
        own = draws[result.name].replace([np.inf, -np.inf], np.nan).dropna()
        if objective.statistic == "mean":
            assert result.estimate is None and len(own) < 100, (
                "one failed request makes a mean infinite"
            )
            continue
        assert result.estimate is not None and result.bound is not None
        spread = own.std()
        assert abs(own.median() - result.estimate) < spread, result.name
        tail = own.quantile(0.95 if objective.at_most else 0.05)
        # Exact bounds of counts are wider: proportion_difference says by how much.
        assert (
            0.5 < (tail - result.estimate) / (result.bound - result.estimate) < 1.6
            or objective.metric == "error_rate"
        ), result.name


def test_the_same_seed_draws_the_same(gate: Gate, frames: Frames) -> None:
    pd.testing.assert_frame_equal(drawn(gate, frames), drawn(gate, frames))


def test_without_samples_there_is_nothing_to_draw(gate: Gate, frames: Frames) -> None:
    with pytest.raises(InputError, match="left no documents"):
        drawn(gate, frames, documents=pd.DataFrame())
