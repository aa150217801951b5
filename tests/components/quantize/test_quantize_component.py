"""The door, in a process of its own as the runners start it: what it leaves and what it says."""

import json
import subprocess
import sys
from pathlib import Path

from components.download.builtin import TINY
from components.records import Model

RUN = """
import sys
from types import SimpleNamespace
from components.quantize.component import quantize
baseline, candidate = (SimpleNamespace(path=path, metadata={}) for path in sys.argv[1:3])
quantize.python_func(baseline, candidate, method=sys.argv[3], bits=8, build="builds/abc", history=sys.argv[4], code_version="1")
print(candidate.metadata)
"""


def run_door(tmp_path: Path, method: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(TINY), str(tmp_path / "candidate"), method, str(tmp_path / "history")]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)


def test_door_leaves_a_record_and_says_events_only(tmp_path: Path) -> None:
    done = run_door(tmp_path, "none")
    assert (done.returncode, done.stderr) == (0, "")
    *events, metadata = done.stdout.splitlines()
    record = Model.load(tmp_path / "candidate")
    assert json.loads((tmp_path / "history/builds/abc/quantize.json").read_text())["digest"] == record.digest
    assert record.digest in metadata
    last = json.loads(events[-1])
    assert (last["event"], last["figure"]) == ("finished", f"{record.bytes / 1e6:.1f} MB")


def test_door_of_a_bad_method_is_one_clear_line(tmp_path: Path) -> None:
    done = run_door(tmp_path, "awq")
    assert (done.returncode, done.stderr) == (2, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "failed"
    assert last["message"] == "method: 'awq': use one of: bnb, gptq, none, optimum"
    assert not (tmp_path / "candidate").exists()
