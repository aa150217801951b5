"""The component, in a process of its own as the runners start it: what it leaves and says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.core.records import Evaluation, Failure, Reference
from greenlight.models.builtin import TINY
from tests.evaluate.questions import write_questions
from tests.quantize.candidates import Candidates

RUN = """
import sys
from types import SimpleNamespace
from greenlight.components.evaluate.component import evaluate
artifacts = [SimpleNamespace(path=path, uri=path, metadata={}) for path in sys.argv[1:4]]
made = {"method": sys.argv[5], "bits": sys.argv[6], "sweep": sys.argv[7], "attempt": ""}
evaluate.python_func(*artifacts, **made, build="builds/abc", history=sys.argv[4])
print(artifacts[-1].metadata)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("bnb", 8)])
def test_it_says_events_only(
    candidates: Candidates,
    reference_of: Callable[[Path], Path],
    tmp_path: Path,
    method: str,
    bits: int,
) -> None:
    folders = [
        str(reference_of(TINY)),
        str(candidates.make(method, bits)),
        str(tmp_path / "evaluation"),
    ]
    arguments = [*folders, str(tmp_path / "history"), method, str(bits), ""]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    *events, metadata = done.stdout.splitlines()
    record = Evaluation.load(tmp_path / "evaluation")
    assert json.loads((tmp_path / "history/builds/abc/evaluate.json").read_text()) == json.loads(
        (tmp_path / "evaluation/record.json").read_text()
    )
    assert f"'kl_mean': {record.metrics['kl_mean'].value}" in metadata
    assert (record.candidate.name, record.candidate.uri, record.candidate.speed) == (
        f"{method}:{bits}",
        folders[1],
        None,
    )
    last = json.loads(events[-1])
    assert (last["event"], last["figure"]) == (
        "finished",
        f"KL {record.metrics['kl_mean'].value:.4f}",
    )
    assert len(events) >= 4


@pytest.mark.slow
def test_the_components_ask_tasks_and_leave_records_and_events_only(
    candidates: Candidates, tmp_path: Path
) -> None:
    run = """
import sys
from types import SimpleNamespace
from greenlight.components.reference.component import reference
baseline, made = (SimpleNamespace(path=path, metadata={}) for path in sys.argv[1:3])
asked = {"tasks": sys.argv[5], "task_limit": 5.0, "few_shot": 1.0}
asked |= {"text": sys.argv[3], "build": "builds/abc/text-1", "history": sys.argv[4]}
reference.python_func(baseline, made, **asked)
print(made.metadata)
"""
    questions = write_questions(tmp_path / "endings.jsonl")
    arguments = [
        str(TINY),
        str(tmp_path / "reference"),
        str(candidates.heldout),
        str(tmp_path / "history"),
        str(questions),
    ]
    done = subprocess.run(
        [sys.executable, "-c", run, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    record = Reference.load(tmp_path / "reference")
    assert (
        Reference.model_validate_json(
            (tmp_path / "history/builds/abc/text-1/reference.json").read_bytes()
        )
        == record
    )
    *events, metadata = done.stdout.splitlines()
    assert f"'tokens': {record.tokens}" in metadata
    assert 1e8 < record.peak_memory_bytes < 2e9
    assert [(task.name, task.items, task.few_shot) for task in record.tasks] == [("endings", 5, 1)]
    assert {json.loads(line)["step"] for line in events} == {"reference"}
    arguments = [
        str(tmp_path / "reference"),
        str(TINY),
        str(tmp_path / "evaluation"),
        str(tmp_path / "history"),
        "none",
        "16",
        "",
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *events, metadata = done.stdout.splitlines()
    (task,) = Evaluation.load(tmp_path / "evaluation").tasks
    assert (task.items, task.right_to_wrong, task.wrong_to_right) == (
        5,
        0,
        0,
    ) and f"'accuracy_endings': {task.accuracy}" in metadata
    assert "endings: " in " ".join(json.loads(line)["message"] for line in events)


def sweep(
    tmp_path: Path, candidate: Path, reference: Path, name: str
) -> subprocess.CompletedProcess[str]:
    folders = [str(reference), str(candidate), str(tmp_path / "evaluation")]
    arguments = [*folders, str(tmp_path / "history"), *name.split(":"), "yes"]
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )


def test_in_a_sweep_the_failure_of_a_candidate_is_handed_on(tmp_path: Path) -> None:
    failure = Failure(
        candidate="gptq:4",
        step="quantize",
        error="ChildFailedError",
        message="llm-compressor was killed",
    )
    failure.save(tmp_path / "candidate")
    done = sweep(tmp_path, tmp_path / "candidate", tmp_path, "gptq:4")
    assert (done.returncode, done.stderr) == (0, "")
    assert Failure.find(tmp_path / "evaluation") == failure
    assert json.loads(done.stdout.splitlines()[-2])["event"] == "left_out"


@pytest.mark.slow
def test_in_a_sweep_a_candidate_is_measured_and_one_that_is_damaged_is_left_out(
    candidates: Candidates, reference_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    made = candidates.make("optimum", 8)
    done = sweep(tmp_path, made, reference_of(TINY), "optimum:8")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    speed = Evaluation.load(tmp_path / "evaluation").candidate.speed
    assert speed and (speed.engine, speed.concurrency) == ("openvino", 8)
    assert (
        speed.tokens_per_second > 50
        and 0 < speed.load_seconds < 60
        and 5e7 < speed.memory_bytes < 2e9
    )
    damaged = tmp_path / "damaged"
    shutil.copytree(made, damaged)
    weights = damaged / "model" / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = sweep(tmp_path, damaged, reference_of(TINY), "optimum:8")
    assert done.returncode == 0
    failure = Failure.find(tmp_path / "evaluation")
    assert failure and (failure.step, failure.error) == ("evaluate", "IntegrityError")
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["record.json"]
