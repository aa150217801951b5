"""The study of the gate on a few simulated runs: that it ends with its line, goes on where it
stopped, and that its worlds are what they say.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate_study import __main__ as study
from benchmarks.gate_study.tables import bench_line, plot
from benchmarks.gate_study.worlds import METRICS, MODELS, NOISES, Model, simulate


def test_it_ends_with_its_line_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "ROUND", 1)
    monkeypatch.setattr(study, "EQUAL_MODELS", 4)
    for runs in (1, 2):
        study.main(
            runs=runs,
            counts=tmp_path / "counts.json",
            figure=None,
            tables=tmp_path / "tables.md",
            looks=0,
        )
        last = capsys.readouterr().out.splitlines()[-1]
        numbers = json.loads(last.removeprefix("BENCH "))
        assert (numbers["cells"], numbers["runs_per_cell"]) == (len(NOISES) * len(MODELS), runs)
        assert 0 <= numbers["beyond_promoted_max"] <= 1 and 0 < numbers["pairs_used_mean"] <= 1
    assert all(f"| {noise.name} |" in (tmp_path / "tables.md").read_text() for noise in NOISES)


def counted(promoted: dict[str, int], resolvable: dict[str, int]) -> study.Counts:
    """A study of 100 runs a cell: everything equal is promoted, and nothing else, unless said
    otherwise. By noise.
    """
    found = {}
    for noise in NOISES:
        found[f"{noise.name} | calibration"] = {
            "runs": 10,
            "resolvable": resolvable.get(noise.name, 10),
            "judged": 2000,
            "promote": 1990,
        }
        for model in MODELS:
            shown = promoted.get(noise.name, 100) if model.kind == "equal" else 0
            found[f"{noise.name} | {model.name}"] = dict.fromkeys(study.KEYS, 0) | {
                "runs": 100,
                "promote": shown,
                "pairs": 150_000,
                "compared": 25,
            }
    return found


def test_only_what_was_called_resolvable_must_be_promoted() -> None:
    noisy, quiet = NOISES[3].name, NOISES[0].name
    flagged = json.loads(
        bench_line(counted({noisy: 70, quiet: 97}, {noisy: 5}), 2400).removeprefix("BENCH ")
    )
    assert (
        flagged["equal_promoted_min"],
        flagged["flagged"],
        flagged["equal_promoted_flagged_max"],
    ) == (0.97, 1, 0.7)
    trusted = json.loads(bench_line(counted({noisy: 70}, {noisy: 6}), 2400).removeprefix("BENCH "))
    assert (trusted["equal_promoted_min"], trusted["flagged"]) == (0.7, 0)
    assert trusted["pairs_used_mean"] == trusted["pairs_used_resolvable"] == 0.625


def test_the_plot_is_the_same_for_the_same_counts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "other.svg"):
        plot(counted({}, {NOISES[3].name: 0}), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text().count("flagged") == 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_truth_of_a_model_is_what_its_name_says(model: Model) -> None:
    pairs = 100_000
    found = simulate(np.random.default_rng(1), NOISES[0], model, pairs, 5)
    assert found.pairs and found.counts
    ratios = {
        (metric, share): np.quantile(roles["candidate"], share) / np.quantile(roles["live"], share)
        for metric, roles in found.pairs.latencies.items()
        for share in (0.5, 0.95)
    }
    # a failed request is infinitely slow, which moves the tail
    extra = 0.01 if model.failing else 0.0
    assert ratios["ttft", 0.5] == pytest.approx(model.ttft * model.everything, abs=0.01 + extra)
    assert ratios["itl", 0.5] == pytest.approx(model.everything, abs=0.01 + extra)
    assert ratios["itl", 0.95] == pytest.approx(model.tail * model.everything, abs=0.02 + 8 * extra)
    assert found.counts["candidate"][0] / pairs == pytest.approx(0.0005 + model.failing, abs=0.001)
    assert set(found.pairs.latencies) == set(METRICS)
