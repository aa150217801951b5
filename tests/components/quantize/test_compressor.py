"""What keeps llm-compressor's memory small: weights that stay on disk, and predict as those in memory do."""

from pathlib import Path

import pytest

from components.download.builtin import TINY
from components.evaluate.scorers import load_scorer, silence
from components.quantize.checkpoint import open_checkpoint
from components.quantize.compressor import OFFLOADED, _load
from tests.components.quantize.candidates import Candidates

pytestmark = pytest.mark.slow
IDS = list(range(5, 40))


def test_a_loaded_model_stays_on_disk_as_it_is(tmp_path: Path) -> None:
    import torch
    from compressed_tensors.offload import disable_onloading
    from transformers import AutoModelForCausalLM

    loaded = _load(TINY, tmp_path / OFFLOADED)
    with disable_onloading():
        assert {parameter.device.type for parameter in loaded.parameters()} == {"meta"}
    assert all(path.resolve().parent == TINY for path in (tmp_path / OFFLOADED).iterdir()), "no copy has been written"
    whole = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, local_files_only=True)
    with torch.inference_mode():
        here, there = (model(input_ids=torch.tensor([IDS]), use_cache=False).logits for model in (loaded, whole))
    assert here.dtype == torch.float32 and torch.equal(here, there)


@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("w8a8", 8)])
def test_a_candidate_unpacked_to_disk_predicts_the_same(candidates: Candidates, tmp_path: Path, method: str, bits: int) -> None:
    import torch

    artifact = open_checkpoint("candidate", candidates.make(method, bits))
    with silence():
        here = load_scorer(artifact, 1, "float32").logits(IDS)
        there = load_scorer(artifact, 1, "float32", tmp_path / "unpacked").logits(IDS)
    assert torch.equal(here, there)
    assert any(not path.is_symlink() for path in (tmp_path / "unpacked").iterdir())
