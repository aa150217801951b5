"""The door, in a process of its own as the runners start it: what it leaves and what it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.download.builtin import TINY
from components.records import Evaluation
from tests.components.quantize.candidates import Candidates

RUN = """
import sys
from types import SimpleNamespace
from components.evaluate.component import evaluate
baseline, candidate, evaluation = (SimpleNamespace(path=path, metadata={}) for path in sys.argv[1:4])
evaluate.python_func(baseline, candidate, evaluation, text=sys.argv[4], build="builds/abc", history=sys.argv[5], code_version="1")
print(evaluation.metadata)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("bnb", 8)])
def test_door_says_events_only(candidates: Candidates, tmp_path: Path, method: str, bits: int) -> None:
    folders = [str(TINY), str(candidates.make(method, bits)), str(tmp_path / "evaluation")]
    arguments = [*folders, str(candidates.heldout), str(tmp_path / "history")]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    *events, metadata = done.stdout.splitlines()
    record = Evaluation.load(tmp_path / "evaluation")
    assert json.loads((tmp_path / "history/builds/abc/evaluate.json").read_text()) == json.loads((tmp_path / "evaluation/record.json").read_text())
    assert f"'kl_mean': {record.metrics['kl_mean'].value}" in metadata
    last = json.loads(events[-1])
    assert (last["event"], last["figure"]) == ("finished", f"KL {record.metrics['kl_mean'].value:.4f}")
    assert len(events) >= 4
