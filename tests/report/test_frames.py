"""A history as DataFrames: what is in each, with the types that are promised, and what is
refused.
"""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.history import save_move
from greenlight.core.records import Promotion
from greenlight.report.frames import load_frames
from tests.report.run_factory import START, RunFactory


@pytest.fixture
def history(tmp_path: Path) -> str:
    RunFactory(tmp_path, "old").through("gate").moved()
    RunFactory(tmp_path, "new", began=START + timedelta(days=1), pairs=50).through(
        "deploy_green"
    ).benchmark(errors=3).gate("reject", looks=3).moved("retired")
    RunFactory(tmp_path, "dead", began=START + timedelta(days=2)).resolve().failed("download")
    RunFactory(tmp_path, "other", began=START + timedelta(days=3), service="another").through(
        "gate"
    ).moved()
    return str(tmp_path)


def test_runs_oldest_first_with_every_figure(history: str) -> None:
    frames = load_frames(history, "llm-inference")
    runs = frames.runs
    assert (
        list(runs.index) == ["old", "new", "dead"] and frames.run is None and frames.requests.empty
    )
    assert list(runs["outcome"]) == ["promoted", "retired", "failed"] and list(runs["verdict"]) == [
        "promote",
        "reject",
        "",
    ]
    assert runs.loc["old", "moved_at"] == pd.Timestamp(START + timedelta(seconds=62)) and list(
        runs["moved_at"].notna()
    ) == [True, False, False]
    assert str(runs["time"].dt.tz) == "UTC" and runs["bits"].dtype == "Int64"
    assert (
        runs["kl_mean"].dtype == "float64"
        and list(runs["kl_mean"].notna()) == [True, True, False]
        and runs.loc["old", "kl_mean"] == 0.0031
    )


def test_objectives_looks_and_moves(history: str) -> None:
    frames = load_frames(history, "llm-inference")
    assert (
        list(frames.objectives["run_id"].unique()) == ["old", "new"]
        and len(frames.objectives) == 18
    )
    assert frames.looks.groupby("run_id")["look"].max().to_dict() == {"new": 2}
    assert list(frames.moves["what"]) == ["promoted"]
    factory = RunFactory(Path(history), "by-hand", began=START + timedelta(days=4))
    save_move(
        history,
        Promotion(outcome="rolled_back", live=factory.release("live"), switched_at=factory.began),
    )
    # moved nothing
    save_move(history, Promotion(outcome="already_live", live=factory.release("live")))
    moves = load_frames(history, "llm-inference").moves
    assert moves[["what", "by", "release_id", "run_id"]].values.tolist() == [
        ["promoted", "run", "rel-old", "old"],
        ["rolled_back", "hand", "rel-0000", ""],
    ]
    assert "moves" not in load_frames(history).runs.index


def test_samples_of_the_newest_measured_run(history: str) -> None:
    frames = load_frames(history, "llm-inference", "")
    assert frames.run and frames.run.run_id == "new"
    requests, pairs, blocks = frames.requests, frames.pairs, frames.blocks
    assert len(requests) == 100 and len(pairs) == 50 and len(blocks) == 10
    failed = requests[requests["error"] != ""]
    assert len(failed) == 3 and failed["itl"].isna().all()
    one = requests[requests["error"] == ""].iloc[0]
    assert one["itl"] == pytest.approx(np.mean(one["itls"])) and one["longest_gap"] == max(
        one["itls"]
    )
    assert np.isinf(pairs["e2e_candidate"]).sum() == 3 and np.isfinite(pairs["e2e_live"]).all()
    assert set(pairs["first"]) == {"candidate", "live"} and list(pairs["at"]) == sorted(pairs["at"])
    assert (
        pairs["e2e_ratio"].iloc[-1] == pairs["e2e_candidate"].iloc[-1] / pairs["e2e_live"].iloc[-1]
    )
    assert pairs["judged"].sum() == 50 * 2 // 3, "those of the look that decided"
    assert blocks["at"].min() == 0 and frames.samples and frames.samples.curves["ttft"]


def test_samples_of_a_named_run(history: str) -> None:
    frames = load_frames(history, run="old")
    assert (
        frames.run
        and frames.run.run_id == "old"
        and len(frames.pairs) == 100
        and frames.documents.empty
    )


def test_what_is_refused(history: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"history: .*holds no run of service x"):
        load_frames(history, "x")
    with pytest.raises(InputError, match=r"run: 'nwe': there is no such run .* did you mean new"):
        load_frames(history, run="nwe")
    with pytest.raises(InputError, match="run: 'dead': was not measured: failed"):
        load_frames(history, run="dead")
    (tmp_path / "artifacts/new/requests.parquet").unlink()
    with pytest.raises(
        IntegrityError, match=r"requests\.parquet of run new is not in .*artifacts/new"
    ):
        load_frames(history, "llm-inference", "")


def test_samples_that_were_changed_are_not_shown(history: str, tmp_path: Path) -> None:
    with open(tmp_path / "artifacts/new/blocks.parquet", "ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"run new: blocks\.parquet is not the file"):
        load_frames(history, run="new")


def test_what_could_not_be_read_is_named(history: str, tmp_path: Path) -> None:
    RunFactory(tmp_path, "old").broken("evaluate").broken("gate")
    frames = load_frames(history, "llm-inference")
    assert [problem.split(": ")[:2] for problem in frames.problems] == [
        ["old", "evaluate.json"],
        ["old", "gate.json"],
    ]
    assert list(frames.objectives["run_id"].unique()) == ["new"]
