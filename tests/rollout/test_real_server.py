"""The whole way on the real server and the built-in model: deploy, promote and roll back under a
streaming load.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.core.errors import DeployError
from greenlight.core.records import Golden
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.reference import make_reference
from greenlight.models.builtin import HELDOUT, TINY
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.local.target import LocalTarget
from greenlight.rollout.target import Timings
from tests.rollout.stage import Load, Stage, decision_on, make_model

pytestmark = pytest.mark.slow


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.target = LocalTarget("llm", "default", str(made.home), made.port, Timings(ready=180))
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    made.baseline = make_model(tmp_path / "tiny", "baseline", files)
    made.candidate = make_model(
        tmp_path / "tiny-candidate", "candidate", {**files, "NOTE": b"another digest"}
    )
    yield made
    made.close()


def golden_of_the_candidate(stage: Stage) -> list[Golden]:
    text = stage.folder / "text.jsonl"
    text.write_text("".join(HELDOUT.read_text().splitlines(keepends=True)[:16]))
    make_reference(stage.baseline, stage.folder / "reference", str(text)).save(
        stage.folder / "reference"
    )
    return evaluate_model(
        stage.folder / "reference", stage.candidate, stage.folder / "evaluation"
    ).golden


def swapped_layers(weights: bytes) -> bytes:
    from safetensors.torch import load, save

    names = {"model.layers.0.": "model.layers.1.", "model.layers.1.": "model.layers.0."}
    return save(
        {
            names.get(name[:15], name[:15]) + name[15:]: tensor
            for name, tensor in load(weights).items()
        },
        metadata={"format": "pt"},
    )


def test_deploy_promote_rollback_down(real: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUM_THREADS", "1")
    began = time.monotonic()
    golden = golden_of_the_candidate(real)
    deployment = real.deploy(engine="auto", golden=golden)
    print(f"first deploy of both colors: {time.monotonic() - began:.1f} s")
    assert deployment.candidate.engine == deployment.live.engine == "transformers"
    results = {}
    for how in ("keepalive", "new"):
        with Load(real, how, connections=4, tokens=20) as load:
            decision = decision_on(deployment, bake_seconds=1)
            assert bluegreen.promote(real.target, decision).outcome == "promoted"
            time.sleep(1)
            assert bluegreen.rollback(real.target).outcome == "rolled_back"
            time.sleep(1)
            results[how] = load.stop()
        deployment = real.deploy(engine="auto")
    for result in results.values():
        assert (result["failed"], result["cut"]) == (0, 0), result
        assert {"blue", "green"} == {color for _, color in result["order"]}
    damaged = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    damaged["model.safetensors"] = swapped_layers(damaged["model.safetensors"])
    with pytest.raises(DeployError, match="of 8 golden prompts differently"):
        real.deploy(
            make_model(real.folder / "damaged", "candidate", damaged),
            engine="auto",
            run_id="run-2",
            golden=golden,
        )
    began = time.monotonic()
    lifecycle.down(real.target)
    print(
        f"down: {time.monotonic() - began:.1f} s; requests:"
        f" {[result['requests'] for result in results.values()]}"
    )
    assert real.processes() == []
    assert [
        real.target.processes.log_path(name).read_text().count("Traceback")
        for name in ("blue-0", "green-0", "proxy")
    ] == [0, 0, 0]
