"""The public face: what `import greenlight` costs, what it offers, and that the two agree."""

import contextlib
import inspect
import io
import json
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import greenlight
from greenlight.core import errors
from greenlight.core.step import StepEvent
from greenlight.pipelines.run_arguments import RunArguments, checked_parameters
from greenlight.pipelines.runners.interface import Listener
from greenlight.pipelines.start import with_absolute_paths
from greenlight.resolve.parameters import Parameters
from greenlight.version import VERSION
from tests.report.run_factory import RunFactory

LIST_MODULES = """
import json, sys
before = set(sys.modules)
import greenlight
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_it_imports_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES], capture_output=True, text=True, check=True
    )
    imported = json.loads(done.stdout)
    ours = {name for name in imported if name.startswith("greenlight")}
    assert ours == {"greenlight", "greenlight.version"}
    others = {name.split(".")[0] for name in imported} - {"greenlight"}
    assert others <= set(sys.stdlib_module_names)


def test_every_public_name_can_be_had_and_no_other() -> None:
    assert greenlight.__version__ == VERSION
    assert dir(greenlight) == sorted(greenlight.__all__)
    for name in greenlight.__all__:
        assert getattr(greenlight, name) is not None, name
    assert set(greenlight._MODULE_OF) <= set(greenlight.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'promote'"):
        greenlight.promote  # noqa: B018


def test_every_function_and_class_says_what_it_does() -> None:
    for name in set(greenlight.__all__) - {"__version__"}:
        found = getattr(greenlight, name)
        assert inspect.getdoc(found), name


def test_the_error_tree_is_whole() -> None:
    ours = {
        name
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, errors.GreenlightError)
    }
    assert ours <= set(greenlight.__all__)
    assert issubclass(greenlight.UnavailableError, greenlight.GreenlightError)


def test_the_arguments_of_run_are_the_parameters_of_the_pipeline() -> None:
    arguments = typing.get_type_hints(RunArguments)
    assert arguments == {name: info.annotation for name, info in Parameters.model_fields.items()}


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(greenlight.InputError, match="did you mean method") as caught:
        checked_parameters({"methd": "bnb"})
    assert caught.value.field == "methd"
    with pytest.raises(greenlight.InputError) as caught:
        greenlight.run(bits="many")  # type: ignore[arg-type]
    assert caught.value.field == "bits"
    with pytest.raises(greenlight.InputError) as caught:
        greenlight.run(gate="no-such-gate")
    assert caught.value.field == "gate"


def test_paths_of_a_run_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    found = with_absolute_paths(Parameters(model="model"))
    assert found.model == str(tmp_path / "model")
    assert found.home == str(tmp_path / ".greenlight")
    assert found.history == str(tmp_path / ".greenlight" / "history")
    assert found.text == "builtin"
    away = with_absolute_paths(Parameters(home="h", history="gs://bucket/prefix"))
    assert (away.home, away.history) == (str(tmp_path / "h"), "gs://bucket/prefix")


def test_runs_are_listed_loaded_and_compared(tmp_path: Path) -> None:
    RunFactory(tmp_path, "20261120-100000-aaaa", method="bnb", bits=4).through("gate")
    newest = RunFactory(tmp_path).through("gate").moved()
    assert greenlight.runs(tmp_path)[0].run_id == newest.run_id
    assert len(greenlight.runs(tmp_path, limit=1)) == 1
    assert greenlight.load_run(history=tmp_path).outcome == "promoted"
    found = greenlight.compare("20261120-100000-aaaa", newest.run_id, tmp_path)
    assert {"method", "bits"} <= {change.name for change in found.changes}
    with pytest.raises(greenlight.InputError, match="no such run"):
        greenlight.load_run("20261120-100000-bbbb", tmp_path)
    with pytest.raises(greenlight.InputError, match="holds no run"):
        greenlight.load_run(history=tmp_path / "nothing")


def test_samples_without_a_gate_cannot_be_drawn_again(tmp_path: Path) -> None:
    RunFactory(tmp_path).through("gate")
    with pytest.raises(greenlight.InputError, match="hold no run"):
        greenlight.resample(greenlight.load_frames(tmp_path))


def test_what_a_listener_prints_goes_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The local runner sends what is printed during a run to its log."""
    from greenlight.pipelines import start
    from greenlight.pipelines.runners.local import LocalRunner

    def run(self: LocalRunner, parameters: Parameters, run_id: str, listener: Listener) -> bool:
        event = StepEvent(time="", run=run_id, step="resolve", event="started", message="")
        with contextlib.redirect_stdout(io.StringIO()):
            listener(event)
        return True

    monkeypatch.setattr(LocalRunner, "run", run)
    monkeypatch.setattr(start, "prepare_here", lambda parameters: parameters)
    history = str(tmp_path)
    outcome = start.run_here(Parameters(history=history), lambda event: print(event.step))
    assert capsys.readouterr().out == "resolve\n"
    assert outcome.exit_code == 1 and outcome.verdict is None
    assert outcome.report == f"{history}/{outcome.run_id}/report.html"
