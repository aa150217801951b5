"""What a library saved against what it quantized: damage between the two, in a checkpoint whose
record fits it, as a faulty library leaves it.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.core.records import Model
from greenlight.evaluate.scorers import load_scorer, silence
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from greenlight.quantize import hardware
from greenlight.quantize.candidate import quantize_model
from greenlight.quantize.methods import methods
from greenlight.quantize.methods.base import Job
from greenlight.quantize.openvino_graph import save_graph
from greenlight.quantize.reload_check import (
    PREDICTIONS_FILE,
    check_reload,
    compare,
    save_predictions,
    write_probe,
)
from tests.evaluate.test_evaluation import damaged, rerecord
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow

Change = Callable[[dict], dict]


@pytest.fixture(scope="module")
def kept(
    candidates: Candidates, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Path]:
    """A scratch folder with what a candidate predicts. `make` has already seen that the model in
    memory predicted the same.
    """

    def scratch(method: str, bits: int) -> Path:
        folder = tmp_path_factory.mktemp("kept")
        write_probe(TINY, folder)
        with silence():
            save_predictions(
                load_scorer(
                    open_checkpoint("candidate", candidates.make(method, bits)), 1, "float32"
                ).logits,
                folder,
                "float32",
            )
        return folder

    return scratch


@pytest.fixture(scope="module")
def gptq(kept: Callable[[str, int], Path]) -> Path:
    return kept("gptq", 4)


def swap_layers(tensors: dict) -> dict:
    return {
        name.replace("layers.0.", "layers.X.")
        .replace("layers.1.", "layers.0.")
        .replace("layers.X.", "layers.1."): t
        for name, t in tensors.items()
    }


def double_one_scale(tensors: dict) -> dict:
    return tensors | {(name := "model.layers.2.mlp.up_proj.weight_scale"): tensors[name] * 2}


def poison(tensors: dict) -> dict:
    tensors["model.layers.2.mlp.up_proj.weight_scale"][5, 0] = float("nan")
    return tensors


def test_what_is_saved_is_what_was_quantized(candidates: Candidates, gptq: Path) -> None:
    difference = compare(candidates.make("gptq", 4), gptq)
    assert (difference.kl_mean, difference.kl_max, difference.problem) == (0, 0, "")


@pytest.mark.parametrize(
    ("method", "bits"),
    [("bnb", 4), ("gptq", 4), ("gptq", 8), ("awq", 4), ("optimum", 8), ("w8a8", 8)],
)
def test_every_record_says_how_far_the_reloaded_model_was(
    candidates: Candidates, method: str, bits: int
) -> None:
    record, limit = Model.load(candidates.make(method, bits)), methods()[method].tolerance
    assert limit is not None
    assert 0 < record.reload_seconds < record.seconds
    # however deep a model is: what is saved in 16 bits was rounded to them before
    assert 0 <= record.reload_kl <= limit / 10


@pytest.mark.parametrize("change", [swap_layers, double_one_scale])
def test_wrong_tensors_are_noticed(
    candidates: Candidates, gptq: Path, tmp_path: Path, change: Change
) -> None:
    difference = compare(damaged(candidates.make("gptq", 4), tmp_path, change), gptq)
    assert difference.problem == ""
    assert difference.kl_mean > 100 * (methods()["gptq"].tolerance or 0)


def test_nan_is_noticed(candidates: Candidates, gptq: Path, tmp_path: Path) -> None:
    assert (
        "not finite" in compare(damaged(candidates.make("gptq", 4), tmp_path, poison), gptq).problem
    )


def test_truncated_shard_is_noticed(candidates: Candidates, gptq: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(candidates.make("gptq", 4), tmp_path / "artifact"))
    with open(artifact / "model/model.safetensors", "r+b") as file:
        file.truncate(2_000_000)
    assert "model.safetensors has 2000000 bytes" in compare(artifact, gptq).problem
    rerecord(artifact)
    assert "could not be loaded" in compare(artifact, gptq).problem


@pytest.fixture
def exported(candidates: Candidates, tmp_path: Path) -> Path:
    """A copy of an OpenVINO artifact to be damaged; beside it what its graph held before."""
    import openvino

    artifact = Path(shutil.copytree(candidates.make("optimum", 8), tmp_path / "artifact"))
    save_graph(openvino.Core().read_model(artifact / "model/openvino_model.xml"), tmp_path)
    return artifact


def test_the_graph_that_was_saved_is_the_one_in_memory(exported: Path) -> None:
    difference = compare(exported, exported.parent)
    assert (difference.kl_mean, difference.problem) == (0, "")


def test_wrong_openvino_weights_are_noticed(exported: Path) -> None:
    weights = exported / "model/openvino_model.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert (
        "the bytes of openvino_model.bin have changed" in compare(exported, exported.parent).problem
    )
    rerecord(exported)
    assert "is not what was in memory" in compare(exported, exported.parent).problem


def test_truncated_openvino_weights_are_noticed(exported: Path) -> None:
    with open(exported / "model/openvino_model.bin", "r+b") as file:
        file.truncate(2_000_000)
    rerecord(exported)
    assert "OpenVINO cannot read it" in compare(exported, exported.parent).problem


def test_an_openvino_graph_that_is_joined_otherwise_is_noticed(exported: Path) -> None:
    """Two layers of the same shapes, one in place of the other."""
    graph = exported / "model/openvino_model.xml"
    text = graph.read_text()
    one, other = (f'name="__module.model.layers.{n}.mlp/aten::mul/Multiply"' for n in (0, 1))
    assert one in text and other in text
    swapped = text.replace(one, "name=between").replace(other, one).replace("name=between", other)
    graph.write_text(swapped)
    rerecord(exported)
    assert "is not what was in memory" in compare(exported, exported.parent).problem


def test_an_operation_with_another_setting_is_noticed(exported: Path) -> None:
    graph = exported / "model/openvino_model.xml"
    text = graph.read_text()
    assert 'transpose_b="true"' in text
    graph.write_text(text.replace('transpose_b="true"', 'transpose_b="false"', 1))
    rerecord(exported)
    # OpenVINO refuses shapes that do not fit; square matrices fit
    problem = compare(exported, exported.parent).problem
    assert "is not what was in memory" in problem or "OpenVINO cannot read it" in problem


@pytest.mark.parametrize(
    ("name", "value", "sound"),
    [
        ("other/scale", float("nan"), False),
        ("self.model.norm.weight", float("inf"), False),
        ("self.model.norm.weight", float("-inf"), False),
        ("Constant_7", float("nan"), False),
        ("Constant_7", float("inf"), False),
        ("Constant_7", float("-inf"), True),  # a mask
    ],
)
def test_constants_that_are_not_finite_are_refused_before_they_are_saved(
    exported: Path, tmp_path: Path, name: str, value: float, sound: bool
) -> None:
    import numpy as np
    import openvino

    model = openvino.Core().read_model(exported / "model/openvino_model.xml")
    scale = next(each for each in model.get_ops() if each.get_friendly_name().endswith("/scale"))
    constant = openvino.opset13.constant(np.full(scale.data.shape, value, scale.data.dtype))
    constant.set_friendly_name(name)
    scale.output(0).replace(constant.output(0))
    if sound:
        save_graph(model, tmp_path)
        return
    with pytest.raises(IntegrityError, match=f"constant {name} is not finite"):
        save_graph(model, tmp_path)


def test_step_that_saved_something_else_fails_and_leaves_nothing(
    candidates: Candidates, gptq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole step, with the check in its fresh process."""

    def faulty(self: object, job: Job) -> int:
        shutil.copy(gptq / PREDICTIONS_FILE, job.scratch)
        shutil.copytree(
            damaged(candidates.make("gptq", 4), job.scratch, double_one_scale) / "model",
            job.output,
            dirs_exist_ok=True,
        )
        return 0

    monkeypatch.setattr(type(methods()["gptq"]), "quantize", faulty)
    with pytest.raises(
        IntegrityError,
        match=(
            r"What llm-compressor saved is not what it quantized: reloaded.*KL .* nats.*take"
            r" another method"
        ),
    ):
        quantize_model(TINY, tmp_path / "out", "gptq", 4)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert not list((tmp_path / "out").iterdir())


def test_fp8_checkpoint_is_what_vllm_multiplies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arithmetic can be simulated on a CPU, so the method is seen to work where it may not be
    used.
    """
    monkeypatch.setattr(hardware, "_capability_here", lambda: 8.9)
    record = quantize_model(TINY, tmp_path / "out", "fp8", 8)
    scheme = json.loads((tmp_path / "out/model/config.json").read_text())["quantization_config"]
    (group,) = scheme["config_groups"].values()
    assert (scheme["format"], scheme["ignore"]) == ("float-quantized", ["lm_head"])
    assert [
        (part["type"], part["num_bits"], part["strategy"])
        for part in (group["weights"], group["input_activations"])
    ] == [
        ("float", 8, "channel"),
        ("float", 8, "token"),
    ]
    assert 0 <= record.reload_kl < (methods()["fp8"].tolerance or 0) / 10


def test_method_that_keeps_nothing_fails(tmp_path: Path, candidates: Candidates) -> None:
    with pytest.raises(GreenlightError, match="did not say what the quantized model predicts"):
        check_reload(candidates.make("none", 16), tmp_path, 0.001, "some library")


def test_quantized_model_that_predicts_nan_is_not_kept(tmp_path: Path) -> None:
    import torch

    write_probe(TINY, tmp_path)
    with pytest.raises(IntegrityError, match="before it was saved"):
        save_predictions(lambda ids: torch.full((len(ids), 4), float("nan")), tmp_path)
    assert not (tmp_path / PREDICTIONS_FILE).exists()


def test_copy_that_is_none_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = type(methods()["none"]).quantize

    def faulty(self: object, job: Job) -> int:
        original(methods()["none"], job)
        weights = job.output / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        return 0

    monkeypatch.setattr(type(methods()["none"]), "quantize", faulty)
    with pytest.raises(IntegrityError, match=r"The copy of model\.safetensors differs"):
        quantize_model(TINY, tmp_path / "out", "none", 16)
