"""A run in a cloud told as the events of a local one."""

from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.core.records import PlannedCandidate, Resolution
from greenlight.core.step import StepEvent
from greenlight.pipelines.runners.follow import follow
from greenlight.pipelines.runners.interface import (
    CloudRun,
    Task,
    TaskState,
    UnavailableError,
    merge_tasks,
)
from greenlight.pipelines.runners.kubeflow import KubeflowRunner
from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry
from greenlight.pipelines.runners.settings import KubeflowSettings
from greenlight.resolve.parameters import Parameters
from tests.report.run_factory import RunFactory

FEW_RETRIES = RetryPolicy(first_wait=0.01, longest_wait=0.01, give_up_after=0.03)


class Scripted(KubeflowRunner):
    """A runner whose looks are written down: a run, or the outage that comes instead."""

    def __init__(self, *looks: CloudRun | UnavailableError) -> None:
        super().__init__(
            KubeflowSettings(
                pipeline_root="", service_account="", poll_seconds=0, host="http://127.0.0.1:1"
            )
        )
        self.looks = list(looks)
        self.signed_in = 0

    def get_run(self, run_id: str) -> CloudRun:
        found = self.looks.pop(0)
        if isinstance(found, UnavailableError):
            raise found
        return found

    def reconnect(self) -> None:
        self.signed_in += 1


def run(history: Path, state: str, **tasks: TaskState) -> CloudRun:
    return CloudRun(
        run_id="r1",
        state=state,
        history=str(history),
        tasks=tuple(Task(step=step, state=each) for step, each in tasks.items()),
    )  # type: ignore[arg-type]


def told(*looks: CloudRun | UnavailableError) -> list[tuple[str, str, str]]:
    heard: list[StepEvent] = []
    follow(Scripted(*looks), "r1", heard.append, FEW_RETRIES, 0.0, lambda words: None)
    return [(event.step, event.event, event.figure or event.message) for event in heard]


def test_each_change_is_told_once(tmp_path: Path) -> None:
    RunFactory(tmp_path, "r1").resolve()
    running = run(tmp_path, "running", resolve="done", quantize="running")
    assert told(
        run(tmp_path, "waiting"),
        run(tmp_path, "running", resolve="running"),
        running,
        running,
        run(tmp_path, "succeeded", resolve="done", quantize="done", promote="skipped"),
    ) == [
        ("resolve", "started", ""),
        ("resolve", "finished", ""),
        ("quantize", "started", ""),
        ("quantize", "finished", ""),
    ]


def test_the_candidates_of_a_sweep_are_told_as_one_step_with_the_figure_of_each(
    tmp_path: Path,
) -> None:
    builds = [
        PlannedCandidate(method=method, bits=4, build=f"builds/abc/{method}-4")
        for method in ("bnb", "gptq")
    ]
    found = Resolution(
        verdict="new", reason="", source="x", commit="c", fingerprint="f", candidates=builds
    )
    RunFactory(tmp_path, "r1").write("resolve", found)
    for each, figure in zip(builds, ("4.0 MB", ""), strict=True):
        said = StepEvent(
            time="",
            run=each.build,
            step="quantize",
            candidate=each.name,
            event="finished",
            figure=figure,
        )
        (tmp_path / each.build).mkdir(parents=True)
        (tmp_path / each.build / "quantize.event.json").write_text(said.model_dump_json())
    done, failed = (
        Task(step="quantize", state="done"),
        Task(step="quantize", state="failed", message="gone"),
    )
    assert told(
        run(tmp_path, "succeeded").model_copy(update={"tasks": merge_tasks([done, done])})
    ) == [
        ("quantize", "started", ""),
        ("quantize", "finished", "bnb:4 4.0 MB, gptq:4 left out"),
    ]
    assert merge_tasks([done, Task(step="quantize", state="waiting")]) == (
        Task(step="quantize", state="running"),
    )
    assert merge_tasks([failed, done, Task(step="gate", state="waiting")]) == (
        failed,
        Task(step="gate", state="waiting"),
    )
    assert merge_tasks([Task(step="quantize", state=state) for state in ("reused", "done")]) == (
        done,
    )


def test_a_step_that_is_tried_again_is_told_twice(tmp_path: Path) -> None:
    RunFactory(tmp_path, "r1").failed("benchmark", "its node went away")
    looks = [
        run(tmp_path, "running", benchmark=state) for state in ("running", "failed", "running")
    ]
    assert told(*looks, run(tmp_path, "succeeded", benchmark="done")) == [
        ("benchmark", "started", ""),
        ("benchmark", "failed", "its node went away"),
        ("benchmark", "log", "tried again"),
        ("benchmark", "finished", ""),
    ]


def test_records_that_cannot_be_read_do_not_end_the_following(tmp_path: Path) -> None:
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "gate.event.json").write_text("{")
    assert told(run(tmp_path, "succeeded", gate="done", quantize="done"))[-1] == (
        "quantize",
        "finished",
        "",
    )


def test_an_outage_is_waited_out_with_a_new_sign_in(tmp_path: Path) -> None:
    runner = Scripted(
        UnavailableError("expired"), UnavailableError("503"), run(tmp_path, "succeeded")
    )
    assert (
        follow(runner, "r1", lambda event: None, FEW_RETRIES, 0.0, lambda words: None).state
        == "succeeded"
    )
    assert runner.signed_in == 2


def test_it_gives_up_in_time() -> None:
    calls: list[int] = []

    def call() -> Parameters:
        calls.append(1)
        raise UnavailableError("503")

    with pytest.raises(UnavailableError):
        call_with_retry(Scripted(), call, FEW_RETRIES, lambda words: None)
    assert len(calls) == 4  # after three waits of 0.01 s


def test_waits_double_up_to_the_longest() -> None:
    said: list[str] = []
    failures = [UnavailableError("503") for _ in range(5)]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    policy = RetryPolicy(first_wait=0.01, longest_wait=0.04, give_up_after=60)
    assert call_with_retry(Scripted(), call, policy, said.append) == "done"
    assert said == [f"503; trying again in {wait:g} s" for wait in (0.01, 0.02, 0.04, 0.04, 0.04)]


def test_other_errors_are_not_retried() -> None:
    def call() -> str:
        raise InputError("run", "x", "there is none")

    runner = Scripted()
    with pytest.raises(InputError):
        call_with_retry(runner, call, FEW_RETRIES, print)
    assert runner.signed_in == 0
