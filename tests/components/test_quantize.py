"""The component, in a process of its own as the runners start it: what it leaves and says."""

import json
import subprocess
import sys
from pathlib import Path

from greenlight.core.records import Failure, Model
from greenlight.core.step import last_failure
from greenlight.models.builtin import TINY

RUN = """
import sys
from types import SimpleNamespace
from greenlight.components.quantize.component import quantize
baseline, candidate = (SimpleNamespace(path=path, metadata={}) for path in sys.argv[1:3])
data = {"calibration": "builtin", "calibration_samples": 8.0, "calibration_length": 64.0}
way = {"method": sys.argv[3], "bits": "8", "sweep": sys.argv[5], "attempt": "", "limits": ""} | data
quantize.python_func(baseline, candidate, **way, build="builds/abc", history=sys.argv[4])
print(candidate.metadata)
"""


def run_component(tmp_path: Path, method: str, sweep: str = "") -> subprocess.CompletedProcess[str]:
    arguments = [str(TINY), str(tmp_path / "candidate"), method, str(tmp_path / "history"), sweep]
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )


def test_it_leaves_a_record_and_says_events_only(tmp_path: Path) -> None:
    done = run_component(tmp_path, "none")
    assert (done.returncode, done.stderr) == (0, "")
    *events, metadata = done.stdout.splitlines()
    record = Model.load(tmp_path / "candidate")
    assert (
        json.loads((tmp_path / "history/builds/abc/quantize.json").read_text())["digest"]
        == record.digest
    )
    assert record.digest in metadata
    last = json.loads(events[-1])
    assert (last["event"], last["figure"]) == ("finished", f"{record.bytes / 1e6:.1f} MB")


def test_a_bad_method_is_one_clear_line(tmp_path: Path) -> None:
    done = run_component(tmp_path, "hqq")
    assert (done.returncode, done.stderr) == (2, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "failed"
    assert (
        last["message"]
        == "method: 'hqq': use one of: awq, bnb, fp8, gptq, none, optimum, smallest, w8a8"
    )
    assert not (tmp_path / "candidate").exists()


def test_in_a_sweep_a_method_that_fails_leaves_its_failure_where_the_candidate_would_lie(
    tmp_path: Path,
) -> None:
    done = run_component(tmp_path, "no-such", sweep="yes")
    assert (done.returncode, done.stderr) == (0, "")
    last = json.loads(done.stdout.splitlines()[-2])
    assert (last["event"], last["candidate"], last["severity"]) == (
        "left_out",
        "no-such:8",
        "WARNING",
    )
    failure = Failure.find(tmp_path / "candidate")
    assert failure and (failure.candidate, failure.step, failure.error) == (
        "no-such:8",
        "quantize",
        "InputError",
    )
    assert failure.message == last["message"] and "use one of" in failure.message
    build = tmp_path / "history/builds/abc"
    assert not (build / "quantize.error.json").exists()
    # the next run hands this to the step, which no cache knows then
    assert last_failure(str(build)) > "2026"


def test_in_a_sweep_a_method_that_works_leaves_a_candidate(tmp_path: Path) -> None:
    done = run_component(tmp_path, "none", sweep="yes")
    assert done.returncode == 0, done.stdout
    assert (
        Model.load(tmp_path / "candidate").method == "none"
        and Failure.find(tmp_path / "candidate") is None
    )
    assert last_failure(str(tmp_path / "history/builds/abc")) == ""
