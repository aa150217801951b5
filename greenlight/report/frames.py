"""The runs of a history as pandas DataFrames: what notebooks read, by one function, `load_frames`.

A history is a local folder or a gs:// prefix. It holds the records of every run; the raw samples of
a benchmark lie where the run's artifacts do, in `.greenlight/runs` after a local run and below the
pipeline root after one on Vertex AI or Kubeflow. The records say where, so naming the history is
enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from greenlight.benchmark.samples import BLOCKS, REQUESTS, flat_gaps, mean_gaps
from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.history import RunRecords, load_moves
from greenlight.gate.bootstrap import bootstrap
from greenlight.gate.evidence import DOCUMENTS
from greenlight.gate.objectives import read_recorded
from greenlight.report.chart_data import ROLES, Samples, read_table, samples_of
from greenlight.report.overview import find_run, line_of, read_runs

if TYPE_CHECKING:
    import pyarrow as pa

PAIRED = ("ttft", "itl", "longest_gap", "e2e")


@dataclass(frozen=True)
class Frames:
    """What a history holds. Durations are float64 seconds, times are datetime64[UTC]; a number that
    was not measured is NaN, a text that no record says is "".

    Attributes:
        runs: a row per run, oldest first; the index is `run_id`. Columns: `time` (when it began),
            `service`, `outcome`, `verdict`, `reason`, `gate`,
            `gate_digest`, `objectives` and `passed` (counts), `source`, `commit`, `method`, `bits`
            (Int64), `engine`, `release_id`, `live_release_id` (what it was measured against),
            `moved_at` (when it moved the traffic; NaT: it did not), `code_version`, and as float64
            every figure of the report's
            metrics: `kl_mean` (nats), `candidate_ttft_p95` (s), `live_output_tokens_per_second`, …
                `greenlight.unit_of` names the unit of each.
        objectives: a row per objective of each decision, oldest first. Columns: `run_id`,
            `time`, `objective`, `metric`, `scope`, `unit`,
            `estimate`, `bound` and `limit` (float64, in `unit`), `confidence` (one-sided), `status`
            (pass, fail, inconclusive).
        looks: a row per objective at each look of the gate. Columns: `run_id`, `objective`,
            `look` (from 1), `pairs`, `bound`, `verdict` (of the look).
        moves: a row each time the traffic moved, by a run or by hand, oldest first. Columns:
            `time`, `what` (promoted, or rolled_back: by a bake that went
            badly or by a person), `by` (run, hand), `release_id` and `color` (what has the traffic
            since), `from_release_id`, `run_id` (of the run whose decision moved it; "" by hand),
            `reason`.
        problems: what could not be read, one line per problem.
        run: the records of the run whose samples these are. None, with the five below, when no run
            was asked for.
        requests: a row per request, in the order in which they were sent: the columns of
            `greenlight.benchmark.samples.Request` (`role`, `phase`, `pair`,
            `block`, `ttft`, `e2e`, `itls`, `tokens_out`, `error`, …), and `at` (s after the first),
            `itl` (mean gap between tokens, s), `longest_gap` (s).
        pairs: a row per whole pair; the index is `pair`. Columns: `block`, `at` (s after the
            first), `first` (the role that was asked first), `prompt`,
            `judged` (bool: the look that decided had it), and for each of ttft, itl, longest_gap
            and e2e `…_candidate`, `…_live` (s; infinite for a failed request, as the gate has it)
            and `…_ratio` (candidate / live).
        blocks: a row per throughput window: the columns of
            `greenlight.benchmark.samples.CountedBlock` (`role`, `pair`, `seconds`, `output_tokens`,
            `tokens_per_second`, …), and `at` (s after the first).
        documents: a row per document of the evaluation: `tokens`, `bytes`, `nll_baseline`,
            `nll_candidate` and `kl_sum` (nats), `top1_agree` (tokens), and by
            token `kl` (nats) and `top1` (share). Empty when there was no decision, whose record
            says where they are.
        samples: requests and blocks thinned to what the charts of `greenlight.report.charts` take.
    """

    runs: pd.DataFrame
    objectives: pd.DataFrame
    looks: pd.DataFrame
    moves: pd.DataFrame
    problems: list[str]
    run: RunRecords | None = None
    requests: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
    blocks: pd.DataFrame = field(default_factory=pd.DataFrame)
    documents: pd.DataFrame = field(default_factory=pd.DataFrame)
    samples: Samples | None = None


def load_frames(history: str, service: str = "", run: str | None = None) -> Frames:
    """Read the runs of a service, and the samples of one of them.

    Args:
        history: a local folder or a gs:// prefix, read with the credentials that gcloud left.
        service: empty: the runs of all services.
        run: a run id; empty: the newest that was measured; None: no samples.

    Raises:
        InputError: there is no such run, or no samples of it.
        IntegrityError: its samples are gone, or are not those that its record was made from.
    """
    found = read_runs(history, service)[::-1]
    if not found:
        raise InputError(
            "history",
            history,
            f"holds no run{f' of service {service}' if service else ''}; `greenlight run` makes the"
            " first",
        )
    problems = [
        f"{each.run_id}: {broken.name}: {broken.reason}"
        for each in found
        for broken in each.unreadable
    ]
    overview = Frames(
        _runs(found), _objectives(found), _looks(found), _moves(history, found, service), problems
    )
    return overview if run is None else _with_samples(overview, _choose(history, found, run))


def resample(frames: Frames, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A bootstrap of each objective of the run whose samples these are: see
    `greenlight.gate.bootstrap.bootstrap`. Shape (draws, objectives).

    Raises:
        InputError: no decision of the run holds its gate, there was no live color, or one kind of
            sample is missing.
    """
    run = frames.run
    if run is None or run.benchmark is None or run.decision is None or not run.decision.gate:
        raise InputError(
            "frames",
            run.run_id if run else "",
            "hold no run that came to a decision with its gate; load them with run= and its id",
        )
    gate = read_recorded(run.decision.gate)
    samples = (frames.pairs, frames.requests, frames.blocks, frames.documents)
    return bootstrap(gate, *samples, run.benchmark, draws, seed)


def _runs(found: Sequence[RunRecords]) -> pd.DataFrame:
    rows = []
    for line in map(line_of, found):
        figures = {
            name: value for name, value in line.figures.items() if not name.startswith("objective")
        }
        rows.append(line.model_dump(exclude={"figures"}) | figures)
    frame = pd.DataFrame(rows).set_index("run_id")
    times = {name: pd.to_datetime(frame[name], utc=True) for name in ("time", "moved_at")}
    return frame.assign(
        **times, bits=frame["bits"].astype("Int64"), verdict=frame["verdict"].fillna("").astype(str)
    )


def _objectives(found: Sequence[RunRecords]) -> pd.DataFrame:
    names = ("metric", "scope", "unit", "estimate", "bound", "limit", "confidence", "status")
    columns = ["run_id", "time", "objective", *names]
    rows = [
        (run.run_id, run.time, result.name, *(getattr(result, name) for name in names))
        for run in found
        if run.decision
        for result in run.decision.objectives
    ]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        time=pd.to_datetime(frame["time"], utc=True),
        **{name: frame[name].astype(float) for name in ("estimate", "bound")},
    )


def _looks(found: Sequence[RunRecords]) -> pd.DataFrame:
    rows = [
        (run.run_id, result.name, number, look.pairs, bound, look.verdict)
        for run in found
        if run.decision
        for number, look in enumerate(run.decision.looks, 1)
        for result, bound in zip(run.decision.objectives, look.bounds, strict=False)
    ]
    return pd.DataFrame(
        rows, columns=["run_id", "objective", "look", "pairs", "bound", "verdict"]
    ).astype({"bound": float})


def _moves(history: str, found: Sequence[RunRecords], service: str) -> pd.DataFrame:
    services = [service] if service else sorted({run.service for run in found} - {""})
    moves = [
        (run.promotion, "run", run.run_id)
        for run in found
        if run.promotion and run.promotion.outcome in ("promoted", "rolled_back")
    ]
    moves += [(move, "hand", "") for name in services for move in load_moves(history, name)]
    rows = [
        (
            move.switched_at,
            move.outcome,
            by,
            move.live.release_id,
            move.live.color,
            move.previous.release_id if move.previous else "",
            run_id,
            move.reason,
        )
        for move, by, run_id in moves
        if move.switched_at
    ]
    frame = pd.DataFrame(
        rows,
        columns=[
            "time",
            "what",
            "by",
            "release_id",
            "color",
            "from_release_id",
            "run_id",
            "reason",
        ],
    )
    return frame.assign(time=pd.to_datetime(frame["time"], utc=True)).sort_values(
        "time", ignore_index=True
    )


def _choose(history: str, found: Sequence[RunRecords], run_id: str) -> RunRecords:
    if run_id:
        chosen = find_run(history, run_id, "run")
        if chosen.benchmark is None:
            raise InputError(
                "run",
                run_id,
                f"was not measured: {chosen.outcome}; take one that was, or leave it empty for the"
                " newest",
            )
        return chosen
    measured = [run for run in found if run.benchmark]
    if not measured:
        raise InputError(
            "history",
            history,
            f"none of its {len(found)} runs was measured; `greenlight run` makes one that is",
        )
    return measured[-1]


def _with_samples(overview: Frames, run: RunRecords) -> Frames:
    benchmark = run.benchmark
    assert benchmark is not None
    requests = _table(run, benchmark.samples_uri, REQUESTS, benchmark.requests_digest)
    blocks = _table(run, benchmark.samples_uri, BLOCKS, benchmark.blocks_digest)
    documents = pd.DataFrame()
    if run.decision and run.decision.evaluation_uri:
        documents = _table(run, run.decision.evaluation_uri, DOCUMENTS, "").to_pandas()
        documents = documents.assign(
            kl=documents["kl_sum"] / documents["tokens"],
            top1=documents["top1_agree"] / documents["tokens"],
        )
    sent = _requests(requests)
    counted = blocks.to_pandas().sort_values("start", ignore_index=True)
    return replace(
        overview,
        run=run,
        requests=sent,
        pairs=_pairs(sent, run),
        blocks=counted.assign(at=counted["start"] - counted["start"].min()),
        documents=documents,
        samples=samples_of(requests, blocks),
    )


def _table(run: RunRecords, folder: str, name: str, digest: str) -> "pa.Table":
    try:
        return read_table(folder, name, digest)
    except GreenlightError as error:
        raise IntegrityError(f"run {run.run_id}: {error}. Choose another run.") from None
    except OSError as error:
        said = f"{name} of run {run.run_id} is not in {folder or 'any place that its record names'}"
        raise IntegrityError(
            f"{said} ({type(error).__name__}). Put the artifact back, or choose another run."
        ) from None


def _requests(table: "pa.Table") -> pd.DataFrame:
    gaps, offsets = flat_gaps(table)
    longest = np.full(table.num_rows, np.nan)
    some = np.diff(offsets) > 0
    if some.any():
        longest[some] = np.maximum.reduceat(gaps, offsets[:-1][some])
    frame: pd.DataFrame = (
        table.to_pandas()
        .assign(itl=mean_gaps(gaps, offsets), longest_gap=longest)
        .sort_values("sent", ignore_index=True, kind="stable")
    )
    return frame.assign(at=frame["sent"] - frame["sent"].min())


def _pairs(requests: pd.DataFrame, run: RunRecords) -> pd.DataFrame:
    """Whole pairs side by side."""
    roles = [role for role in ROLES if role in set(requests["role"])]
    rows = requests[requests["phase"] == "pairs"].set_index(["pair", "role"]).sort_index()
    if rows.empty:
        return pd.DataFrame()
    failed = rows["error"] != ""
    values = rows[list(PAIRED)].astype(float).mask(failed, np.inf).unstack("role").dropna(how="all")
    whole = values.index[rows["at"].unstack("role").loc[values.index, roles].notna().all(axis=1)]
    frame = pd.DataFrame(index=whole)
    begun = rows["at"].groupby("pair").min()
    frame["block"] = rows["block"].groupby("pair").first()
    frame["at"] = begun - begun.min()
    frame["first"] = rows.reset_index("role").sort_values("order").groupby("pair")["role"].first()
    frame["prompt"] = rows["prompt"].groupby("pair").first()
    looks = run.decision.looks if run.decision else []
    frame["judged"] = np.arange(len(frame)) < (looks[-1].pairs if looks else 0)
    for metric in PAIRED:
        for role in roles:
            frame[f"{metric}_{role}"] = values[metric, role]
        if "live" in roles:
            frame[f"{metric}_ratio"] = values[metric, "candidate"] / values[metric, "live"]
    return frame
