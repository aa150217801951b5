"""What keeps llm-compressor's memory small: weights that stay on disk, and predict as those in
memory do. And what is done on a GPU instead.
"""

from pathlib import Path
from typing import Any

import pytest

from greenlight.evaluate.scorers import load_scorer, silence
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from greenlight.quantize.llm_compressor import OFFLOADED, _as_saved_on_gpu, _load
from greenlight.quantize.methods import methods
from greenlight.quantize.methods.fp8 import Fp8
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow
IDS = list(range(5, 40))


def test_a_loaded_model_stays_on_disk_as_it_is(tmp_path: Path) -> None:
    import torch
    from compressed_tensors.offload import disable_onloading
    from transformers import AutoModelForCausalLM

    loaded = _load(TINY, tmp_path / OFFLOADED)
    with disable_onloading():
        assert {parameter.device.type for parameter in loaded.parameters()} == {"meta"}
    assert all(path.resolve().parent == TINY for path in (tmp_path / OFFLOADED).iterdir()), (
        "no copy has been written"
    )
    whole = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, local_files_only=True)
    with torch.inference_mode():
        here, there = (
            model(input_ids=torch.tensor([IDS]), use_cache=False).logits
            for model in (loaded, whole)
        )
    assert here.dtype == torch.float32 and torch.equal(here, there)


@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("w8a8", 8)])
def test_a_candidate_unpacked_to_disk_predicts_the_same(
    candidates: Candidates, tmp_path: Path, method: str, bits: int
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, whose memory holds the candidate")
    artifact = open_checkpoint("candidate", candidates.make(method, bits))
    with silence():
        here = load_scorer(artifact, 1, "float32").logits(IDS)
        there = load_scorer(artifact, 1, "float32", tmp_path / "unpacked").logits(IDS)
    assert torch.equal(here, there)
    assert any(not path.is_symlink() for path in (tmp_path / "unpacked").iterdir())


def test_on_a_gpu_the_model_predicts_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving rounds there by a kernel that divides in 32 bits. On a machine without a GPU the same
    arithmetic stands in for it.
    """
    import torch
    from compressed_tensors.offload import dispatch_model
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM

    if not torch.cuda.is_available():
        _divide_in_32_bits(monkeypatch)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"

    def predict(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            return (
                model(input_ids=torch.tensor([IDS], device=device), use_cache=False)
                .logits[0]
                .float()
                .cpu()
            )

    fp8 = methods()["fp8"]
    assert isinstance(fp8, Fp8)
    loaded = AutoModelForCausalLM.from_pretrained(TINY, dtype="auto", local_files_only=True)
    oneshot(model=loaded, recipe=fp8.recipe(loaded, 8))
    dispatch_model(loaded)
    otherwise = predict(loaded)
    with _as_saved_on_gpu(loaded):
        here = predict(loaded)
    loaded.save_pretrained(tmp_path, save_compressed=True)
    there = predict(
        AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype="auto", local_files_only=True, device_map={"": device}
        )
    )
    assert torch.equal(here, there)
    assert not torch.equal(otherwise, there), (
        "the library predicts what it saves by itself: this can go"
    )


def _divide_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressed_tensors.quantization.lifecycle.forward_helpers import (
        round_to_quantized_type_args,
    )
    from compressed_tensors.utils.impl_backend import ImplBackend

    def kernel(
        x: Any,
        scale: Any,
        zero_point: Any,
        q_min: Any,
        q_max: Any,
        args: Any,
        dtype: Any = None,
        global_scale: Any = None,
    ) -> Any:
        return round_to_quantized_type_args(
            tensor=x.float() / scale.float(), args=args, min=q_min, max=q_max
        ).to(dtype or x.dtype)

    monkeypatch.setitem(
        ImplBackend._backends, "_quantize", [(kernel, lambda *given, **named: True, 0)]
    )
