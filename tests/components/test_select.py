"""The component: what is chosen is passed on by its URIs, and nothing is copied."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenlight.components.select.component import select
from greenlight.core.history import load_run
from greenlight.core.records import Evaluation, Selection
from tests.select.test_choose import GATE, evaluation, failed


def run_component(tmp_path: Path, folders: list[Path]) -> dict[str, SimpleNamespace]:
    inputs = [
        SimpleNamespace(
            path=str(folder), uri=f"gs://b/evaluations/{folder.name}", metadata={"kl_mean": 0.1}
        )
        for folder in folders
    ]
    outputs = {
        name: SimpleNamespace(path=str(tmp_path / name), uri="gs://b/mine", metadata={})
        for name in ("selection", "candidate", "evaluation")
    }
    gate = GATE.replace("PREFER", "speed")
    select.python_func(
        inputs,
        **outputs,
        gate_file=gate,
        workload="short",
        run_id="run",
        history=str(tmp_path / "history"),
    )
    return outputs


def test_the_chosen_candidate_and_its_evaluation_are_passed_on(tmp_path: Path) -> None:
    folders = [
        failed(tmp_path, "gptq:4"),
        evaluation(tmp_path, "bnb:4", 0.03, 80),
        evaluation(tmp_path, "optimum:8", 0.001, 100),
    ]
    outputs = run_component(tmp_path, folders)
    assert (outputs["candidate"].uri, outputs["evaluation"].uri) == (
        "gs://b/optimum:8",
        "gs://b/evaluations/optimum:8",
    )
    assert outputs["candidate"].metadata == {
        "method": "optimum",
        "bits": 8,
        "format": "safetensors",
        "digest": "optimum:8",
        "bytes": 10_000_000,
    }
    assert outputs["evaluation"].metadata == {"kl_mean": 0.1}
    assert not os.path.exists(outputs["candidate"].path) and not os.path.exists(
        outputs["evaluation"].path
    )
    record = Selection.load(outputs["selection"].path)
    assert (
        record.chosen == "optimum:8"
        and json.loads((tmp_path / "history/run/select.json").read_text())["index"] == 2
    )
    assert load_run(str(tmp_path / "history"), "run").evaluation == Evaluation.load(folders[2]), (
        "whatever another run left in the build"
    )
    event = json.loads((tmp_path / "history/run/select.event.json").read_text())
    assert event["figure"] == "optimum:8 of 3"


def test_nothing_to_choose_from_fails_the_step_with_every_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_component(tmp_path, [failed(tmp_path, "gptq:4"), failed(tmp_path, "bnb:4")])
    assert ended.value.code == 1
    error = json.loads((tmp_path / "history/run/select.error.json").read_text())
    assert "gptq:4: quantize: it was killed; bnb:4: quantize: it was killed" in error["message"]
