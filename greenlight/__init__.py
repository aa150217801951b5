"""Greenlight from Python: start a run, read what runs left, and judge again.

    import greenlight

    outcome = greenlight.run(model="builtin:tiny", gate="quick")
    frames = greenlight.load_frames(run=outcome.run_id)

Nothing is imported until it is used. Keyword arguments have the names and defaults of the
`greenlight` command, except that the environment (GREENLIGHT_HOME and the like) is not read.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from greenlight.version import VERSION as __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    import pandas as pd

    from greenlight.core.errors import (
        ConflictError,
        DeployError,
        GreenlightError,
        InputError,
        IntegrityError,
        NoAnswerError,
        RejectedError,
    )
    from greenlight.core.history import RunRecords
    from greenlight.core.records import Decision, Deployment
    from greenlight.core.step import StepEvent
    from greenlight.gate.backtest import BacktestedRun
    from greenlight.gate.objectives import Gate, load_gate
    from greenlight.pipelines.outcome import Outcome
    from greenlight.pipelines.run_arguments import RunArguments
    from greenlight.pipelines.runners.interface import UnavailableError
    from greenlight.pipelines.runners.settings import CloudOptions
    from greenlight.report.frames import Frames
    from greenlight.report.headline import Headline
    from greenlight.report.headline import headline_of as headline
    from greenlight.report.metric_labels import unit_of
    from greenlight.report.notebook_charts import (
        draw_latency,
        draw_looks,
        draw_objectives,
        draw_throughput,
    )
    from greenlight.report.overview import Comparison, RunLine
    from greenlight.resolve.inspection import Inspection, inspect
    from greenlight.rollout.state import ServiceStatus

__all__ = [
    "CloudOptions",
    "Comparison",
    "ConflictError",
    "Decision",
    "DeployError",
    "Frames",
    "Gate",
    "GreenlightError",
    "Headline",
    "InputError",
    "Inspection",
    "IntegrityError",
    "NoAnswerError",
    "Outcome",
    "RejectedError",
    "RunLine",
    "RunRecords",
    "ServiceStatus",
    "UnavailableError",
    "__version__",
    "backtest",
    "compare",
    "draw_latency",
    "draw_looks",
    "draw_objectives",
    "draw_throughput",
    "follow",
    "headline",
    "inspect",
    "judge",
    "load_frames",
    "load_gate",
    "load_run",
    "replay",
    "resample",
    "run",
    "runs",
    "status",
    "unit_of",
]

_HISTORY = ".greenlight/history"
_MODULE_OF = {
    "CloudOptions": "pipelines.runners.settings",
    "Comparison": "report.overview",
    "ConflictError": "core.errors",
    "Decision": "core.records",
    "DeployError": "core.errors",
    "Frames": "report.frames",
    "Gate": "gate.objectives",
    "GreenlightError": "core.errors",
    "Headline": "report.headline",
    "InputError": "core.errors",
    "Inspection": "resolve.inspection",
    "IntegrityError": "core.errors",
    "NoAnswerError": "core.errors",
    "Outcome": "pipelines.outcome",
    "RejectedError": "core.errors",
    "RunLine": "report.overview",
    "RunRecords": "core.history",
    "ServiceStatus": "rollout.state",
    "UnavailableError": "pipelines.runners.interface",
    "draw_latency": "report.notebook_charts",
    "draw_looks": "report.notebook_charts",
    "draw_objectives": "report.notebook_charts",
    "draw_throughput": "report.notebook_charts",
    "headline": "report.headline:headline_of",
    "inspect": "resolve.inspection",
    "load_gate": "gate.objectives",
    "unit_of": "report.metric_labels",
}
"""Where the names are that are used as they are: a module, and after a colon its own name there."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'greenlight' has no attribute {name!r}")
    module, _, own_name = _MODULE_OF[name].partition(":")
    found = getattr(import_module(f"greenlight.{module}"), own_name or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


def run(
    *,
    cloud: CloudOptions | None = None,
    follow: bool = True,
    listener: Callable[[StepEvent], None] | None = None,
    **parameters: Unpack[RunArguments],
) -> Outcome:
    """Run the whole pipeline, from a model id to moved traffic, as `greenlight run` does.

    A run that fails or that its gate rejects does not raise: the outcome says so. On this machine
    the call takes minutes, and an interrupted run goes on when the same call is made again.

    Args:
        cloud: where the steps run, as CloudOptions(runner="vertex", project=…). None: here.
        follow: wait until a run in a cloud has ended.
        listener: called with each event of a step, as it happens: its `step`, its `event`
            (started, finished, reused, failed, log) and its `figure`.
        parameters: those of the pipeline, such as model, method, bits, gate, target and service.

    Raises:
        InputError: a parameter is unusable. Nothing has been downloaded, deployed or sent.
        UnavailableError: the cloud was not reached.
        GreenlightError: this machine lacks a library or the hardware that the method needs.
    """
    from greenlight.pipelines.run_arguments import checked_parameters

    values = checked_parameters(parameters)
    if cloud is not None and cloud.runner != "local":
        from greenlight.pipelines.start_in_cloud import run_in_cloud

        return run_in_cloud(values, cloud, follow, listener)
    from greenlight.pipelines.start import run_here

    return run_here(values, listener)


def follow(
    run_id: str, cloud: CloudOptions, listener: Callable[[StepEvent], None] | None = None
) -> Outcome:
    """Wait until a run in a cloud has ended, as `greenlight follow` does.

    Args:
        run_id: as `run(…, follow=False)` returned it.

    Raises:
        InputError: there is no such run, or an option is unusable.
        UnavailableError: the cloud was not reached. The run goes on.
    """
    from greenlight.pipelines.runners.open_cloud import open_runner
    from greenlight.pipelines.start_in_cloud import wait_for_run

    return wait_for_run(open_runner(cloud), run_id, cloud, listener)


def runs(
    history: str | PathLike[str] = _HISTORY, *, service: str = "", limit: int | None = None
) -> list[RunLine]:
    """The runs of a history in short, newest first. Each line has the run's outcome, its verdict,
    what was made how, and `figures`, a dict by name; `unit_of` names the unit of a figure.

    Args:
        history: a local folder, or a gs:// prefix.
        service: empty: the runs of all services.
        limit: maximum number of runs. None: all.
    """
    from greenlight.report.overview import line_of, read_runs

    return [line_of(each) for each in read_runs(fspath(history), service, limit)]


def load_run(run_id: str = "", history: str | PathLike[str] = _HISTORY) -> RunRecords:
    """The records that the steps of a run left. A record is None when its step did not finish.

    Args:
        run_id: empty: the newest run.

    Raises:
        InputError: there is no such run.
    """
    from greenlight.report.overview import find_run, newest_run

    place = fspath(history)
    return find_run(place, run_id or newest_run(place), "run_id")


def load_frames(
    history: str | PathLike[str] = _HISTORY, *, service: str = "", run: str | None = None
) -> Frames:
    """The runs of a history, and the samples of one of them, as pandas DataFrames. Durations are
    in seconds. `help(greenlight.Frames)` names every column, its type and its unit.

    Args:
        service: empty: the runs of all services.
        run: a run id; empty: the newest run that was measured; None: no samples.

    Raises:
        InputError: there is no such run, or no samples of it.
        IntegrityError: its samples are gone, or are not those that its record was made from.
    """
    from greenlight.report.frames import load_frames

    return load_frames(fspath(history), service, run)


def compare(a: str, b: str, history: str | PathLike[str] = _HISTORY) -> Comparison:
    """What run `b` differs in from run `a`: what went into them, each figure, and the bound of
    each objective. `a` and `b` are run ids.

    Raises:
        InputError: there is no such run.
    """
    from greenlight.report.overview import compare, find_run

    place = fspath(history)
    return compare(find_run(place, a, "a"), find_run(place, b, "b"))


def status(
    *,
    target: str = "local",
    service: str = "llm-inference",
    namespace: str = "default",
    home: str | PathLike[str] = ".greenlight",
) -> ServiceStatus:
    """What is live on a service, since when, from which run, and whether it answers.

    Args:
        target: local; kubernetes, or kubernetes:CONTEXT; projects/P/locations/L/clusters/C.
        namespace: Kubernetes namespace of the service.
        home: folder of the local target's state.

    Raises:
        InputError: an argument is unusable.
        GreenlightError: the cluster was not reached.
    """
    from pathlib import Path

    from greenlight.rollout.status import read_status
    from greenlight.rollout.targets import open_target

    place = str(Path(home).absolute())
    return read_status(open_target(target, service, namespace, place, 0))


def judge(
    evaluation_folder: str | PathLike[str],
    benchmark_folder: str | PathLike[str],
    deployment: Deployment,
    gate: Gate | str = "default",
) -> Decision:
    """Judge a benchmark by a gate, from the artifacts of an evaluation and of a benchmark. Moves
    nothing. Bad evidence does not raise: objectives are inconclusive then, with the reason.

    Args:
        evaluation_folder, benchmark_folder: local folders of the two artifacts.
        deployment: the two releases that were measured: `load_run(…).deployment`. Samples of
            others are no evidence.
        gate: a Gate; the name of a shipped gate, a path, a gs:// URI, or the YAML itself.

    Raises:
        InputError: the gate is unusable.
    """
    from greenlight.gate.judge import judge
    from greenlight.gate.objectives import load_gate

    judging = load_gate(gate) if isinstance(gate, str) else gate
    return judge(fspath(evaluation_folder), fspath(benchmark_folder), deployment, judging)


def replay(decision: Decision, gate: Gate | str = "") -> Decision:
    """Judge a run again from its recorded artifacts.

    Args:
        decision: `load_run(…).decision`.
        gate: empty: the recorded gate, by which the result is the same to the last bit.

    Raises:
        InputError: the gate is unusable.
        IntegrityError: the artifacts are gone, or are not those that were judged.
    """
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.replay import replay

    return replay(decision, (load_gate(gate) if isinstance(gate, str) else gate) if gate else None)


def backtest(
    gate: Gate | str, history: str | PathLike[str] = _HISTORY, *, service: str = ""
) -> list[BacktestedRun]:
    """Judge every recorded run by another gate, newest first. Each result has the run's recorded
    verdict, the verdict by this gate (None: it could not be judged), and the reason.

    Args:
        service: empty: the runs of all services.

    Raises:
        InputError: the gate is unusable.
    """
    from greenlight.gate.backtest import backtest
    from greenlight.gate.objectives import load_gate

    judging = load_gate(gate) if isinstance(gate, str) else gate
    return backtest(fspath(history), judging, service)


def resample(frames: Frames, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How far the estimate of each objective would have moved with other samples: a bootstrap of
    whole blocks of pairs, pairs of throughput windows and whole documents.

    Returns a row per draw and a column per objective, in the unit of its limit.

    Args:
        frames: of `load_frames(…, run=…)`.
        seed: the same samples and seed give the same draws.

    Raises:
        InputError: no decision of the run holds its gate, there was no live color, or one kind of
            sample is missing.
    """
    from greenlight.report.frames import resample

    return resample(frames, draws, seed)
