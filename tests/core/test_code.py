"""The keys of caches: they move with the code that decides a result, and with nothing else."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.core.code import PACKAGE, closure, release_key, step_key
from greenlight.models.builtin import HELDOUT

CACHED = ("download", "reference", "quantize", "evaluate")


def keys(package: Path) -> dict[str, str]:
    return {step: step_key(step, package) for step in CACHED} | {"release": release_key(package)}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """The package as a wheel would hold it: real folders, and no link."""
    copied = tmp_path / "somewhere" / "greenlight"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    yield copied


EVERYTHING = {*CACHED, "release"}
MADE = {"quantize", "release"}
MODELS = {"reference", "quantize", "evaluate", "release"}
MOVES = {
    # what only judges, shows, steers or tells moves nothing
    "report/charts.py": set(),
    "report/page.css": set(),
    "cli/main.py": set(),
    "pipelines/promotion.py": set(),
    "pipelines/gates/default.yaml": set(),
    "resolve/plan.py": set(),
    "select/choose.py": set(),
    "benchmark/locustfile.py": set(),
    "components/report/component.py": set(),
    "components/gate/component.py": set(),
    "rollout/bluegreen.py": set(),
    "rollout/bake.py": set(),
    "gate/replay.py": set(),
    "__init__.py": set(),
    # the ground
    "core/storage.py": EVERYTHING,
    "core/history.py": set(),
    # models
    "models/download.py": {"download", "release"},
    "models/integrity.py": EVERYTHING,
    # what makes a candidate
    "components/quantize/component.py": MADE,
    "quantize/reload_check.py": MADE,
    "quantize/methods/gptq.py": MADE,
    "quantize/openvino_export.py": MADE,
    "quantize/openvino_search.py": MADE,
    "gate/quality_limits.py": MADE,
    # what scores it
    "components/evaluate/component.py": {"evaluate"},
    "components/reference/component.py": {"reference"},
    "evaluate/speed.py": {"evaluate"},
    "evaluate/scorers.py": MODELS,
    # what serves it
    "serving/app.py": {"release"},
    "serving/engines/openvino.py": {"evaluate", "release"},
    "rollout/kubernetes/manifests.py": {"release"},
    "rollout/local/processes.py": {"release"},
    "k8s/rollout/deployment.yaml": {"release"},
    "k8s/base/hpa.yaml": set(),
}


@pytest.mark.parametrize("file", MOVES)
def test_an_edit_moves_the_keys_of_what_it_decides(copy: Path, file: str) -> None:
    """A comment at the end counts as an edit: keys go by bytes."""
    edited = copy.parent / "edited"
    shutil.copytree(copy, edited)
    with open(edited / file, "a") as target:
        target.write("# edited\n")
    before, after = keys(copy), keys(edited)
    assert {name for name in before if before[name] != after[name]} == MOVES[file]


@pytest.mark.parametrize(
    ("pins", "line", "moved"),
    [
        # a download reads the tokenizer before it takes a model
        ("main", "torch==", {*MODELS, "download"}),
        ("main", "llmcompressor==", {*MODELS, "download"}),
        ("main", "locust==", set()),
        ("openvino-export", "optimum-intel==", MADE),
        ("vllm", "transformers==", {"evaluate", "release"}),
    ],
)
def test_a_pinned_library_moves_what_uses_it(
    copy: Path, pins: str, line: str, moved: set[str]
) -> None:
    edited = copy.parent / "edited"
    shutil.copytree(copy, edited)
    file = edited / "pins" / f"{pins}.txt"
    text = file.read_text()
    assert f"\n{line}" in text
    file.write_text(text.replace(f"\n{line}", f"\n{line}9"))
    before, after = keys(copy), keys(edited)
    assert {name for name in before if before[name] != after[name]} == moved


def test_a_method_that_is_new_moves_the_key(copy: Path) -> None:
    """The package of methods scans itself."""
    edited = copy.parent / "edited"
    shutil.copytree(copy, edited)
    (edited / "quantize" / "methods" / "new.py").write_text("method = None\n")
    assert step_key("quantize", edited) != step_key("quantize", copy)


def test_keys_are_the_same_for_the_same_files_anywhere(copy: Path) -> None:
    assert keys(copy) == keys(PACKAGE)
    assert len(set(keys(PACKAGE).values())) == 5
    assert all(len(key) == 12 for key in keys(PACKAGE).values())


def test_a_key_is_cheap_and_imports_nothing() -> None:
    script = """
import sys, time
before = time.process_time()
from greenlight.core.code import step_key
step_key("quantize")
print(time.process_time() - before, *sorted(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    seconds, *modules = done.stdout.split()
    assert float(seconds) < 0.5  # 0.15 s on an idle machine
    ours = {name for name in modules if name.startswith("greenlight")}
    assert ours == {"greenlight", "greenlight.version", "greenlight.core", "greenlight.core.code"}
    assert not {"torch", "numpy", "pydantic", "kfp"} & set(modules)


def test_quantize_knows_nothing_above_it() -> None:
    rooms = {name.split(".")[1] for name in closure(["greenlight.components.quantize.component"])}
    assert not rooms & {"report", "cli", "pipelines", "rollout", "resolve", "select"}


STEPS = """
import runpy, sys
from types import SimpleNamespace as Artifact
folder = sys.argv[1]
history = f"{folder}/history"
at = lambda name: Artifact(path=f"{folder}/{name}", uri=f"{folder}/{name}", metadata={})
def download():
    from greenlight.components.download.component import download
    from greenlight.models.open_source import parse_source
    commit = parse_source("builtin:tiny").resolve()
    download.python_func(at("baseline"), source="builtin:tiny", commit=commit, build="a",
                         history=history)
def reference():
    from greenlight.components.reference.component import reference
    reference.python_func(at("baseline"), at("reference"), text=sys.argv[3], tasks=sys.argv[4],
                          task_limit=2, few_shot=0, build="a", history=history)
way = dict(bits="8", sweep="yes", attempt="", build="a", history=history)
def quantize(method="bnb"):
    from greenlight.components.quantize.component import quantize
    quantize.python_func(at("baseline"), at("candidate"), method=method, calibration="builtin",
                         calibration_samples=2, calibration_length=32, limits="", **way)
def evaluate():
    from greenlight.components.evaluate.component import evaluate
    evaluate.python_func(at("reference"), at("candidate"), at("evaluation"), method="bnb", **way)
globals()[sys.argv[2]]()
"""
DUMP = """
import atexit, os, sys
def dump():
    with open(os.environ["MODULES_LOADED"], "a") as file:
        file.writelines(f"{name}\\n" for name in list(sys.modules) if name.startswith("greenlight"))
        main = sys.modules["__main__"].__spec__
        file.write(f"{main.name if main else ''}\\n")
atexit.register(dump)
"""


@pytest.mark.slow
def test_no_module_that_a_step_loads_is_missing_from_its_key(tmp_path: Path) -> None:
    """The steps for real, with the processes that they start: each notes at its end what it has
    loaded.
    """
    from tests.evaluate.questions import write_questions

    startup = tmp_path / "startup"
    startup.mkdir()
    (startup / "sitecustomize.py").write_text(DUMP)
    questions = write_questions(tmp_path / "endings.jsonl")
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text("".join(HELDOUT.read_text().splitlines(keepends=True)[:3]))
    for step in CACHED:
        loaded = tmp_path / f"{step}.modules"
        done = subprocess.run(
            [sys.executable, "-c", STEPS, str(tmp_path), step, str(heldout), str(questions)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(startup),
                "MODULES_LOADED": str(loaded),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "left_out" not in done.stdout, done.stdout
        names = set(loaded.read_text().split()) - {"greenlight"}
        assert f"greenlight.components.{step}.component" in names
        assert len(names) > 10
        assert names <= set(closure([f"greenlight.components.{step}.component"])), step
