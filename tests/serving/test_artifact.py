"""Which engine serves an artifact, from its config alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.errors import InputError
from greenlight.models.builtin import TINY
from greenlight.serving.artifact import Artifact
from greenlight.serving.engines.registry import ENGINES, HAS_GPU, EngineKind
from tests.models.cases.case import edit

W4A16 = {"config_groups": {"group_0": {"weights": {"num_bits": 4}, "input_activations": None}}}


@pytest.fixture
def every_engine_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineKind, "missing", lambda self: None)


def artifact(folder: Path, **config: Any) -> Artifact:
    shutil.copytree(TINY, folder)
    edit(folder / "config.json", **config)
    return Artifact.open(str(folder))


def quantized(bits: int) -> dict[str, Any]:
    changed = json.loads(json.dumps(W4A16))
    changed["config_groups"]["group_0"]["weights"]["num_bits"] = bits
    return {"quant_method": "compressed-tensors", **changed}


@pytest.mark.usefixtures("every_engine_here")
def test_auto_passes_over_an_engine_that_does_not_serve_the_family(tmp_path: Path) -> None:
    stable = artifact(tmp_path / "m", model_type="stablelm", architectures=["StableLmForCausalLM"])
    assert stable.choose_engine("auto").name == "vllm"
    with pytest.raises(InputError, match=r"no paged attention for stablelm; use vllm"):
        stable.choose_engine("transformers")


@pytest.mark.usefixtures("every_engine_here")
def test_an_engine_by_name_is_refused_where_it_cannot_compute_the_weights(tmp_path: Path) -> None:
    eight = artifact(tmp_path / "m", quantization_config=quantized(8))
    if not HAS_GPU:
        with pytest.raises(InputError, match=r"of 4 bits, and of no others; use transformers"):
            eight.choose_engine("vllm")
    assert eight.choose_engine("transformers").name == "transformers"


@pytest.mark.usefixtures("every_engine_here")
def test_where_no_engine_serves_it_all_reasons_are_said(tmp_path: Path) -> None:
    """A mixture whose experts vLLM has no kernels for on a CPU, of a family without paging."""
    refused = artifact(
        tmp_path / "m",
        model_type="gpt_oss",
        architectures=["GptOssForCausalLM"],
        num_local_experts=4,
        quantization_config=quantized(4),
    )
    if HAS_GPU:
        pytest.skip("a GPU is here, on which vLLM computes quantized experts")
    with pytest.raises(InputError, match=r"none serves it: .*paged.*; .*experts of a mixture"):
        refused.choose_engine("auto")


@pytest.mark.parametrize(
    ("engine", "family", "architecture", "bits", "says"),
    [
        ("openvino", "mamba", "MambaForCausalLM", None, "no paged cache for the state of mamba"),
        ("openvino", "mpt", "MptForCausalLM", None, "something else than mpt"),
        ("openvino", "bloom", "BloomForCausalLM", None, ""),
        ("transformers", "mamba", "MambaForCausalLM", None, "no paged attention for mamba"),
        ("transformers", "granitemoehybrid", "GraniteMoeHybridForCausalLM", None, "the state of"),
        ("vllm", "mpt", "MptForCausalLM", None, "does not know MptForCausalLM"),
        ("vllm", "gpt_neox", "GPTNeoXForCausalLM", 4, "packed weights of gpt_neox"),
        ("vllm", "gpt_neox", "GPTNeoXForCausalLM", None, ""),
        ("vllm", "mamba", "MambaForCausalLM", None, ""),
    ],
)
def test_families_that_an_engine_does_not_serve(
    engine: str, family: str, architecture: str, bits: int | None, says: str
) -> None:
    config = {"model_type": family, "architectures": [architecture]}
    refused = ENGINES[engine].refuses(config, bits)
    assert (says in refused) if says else refused == ""
    if family == "mamba" and engine == "vllm":
        assert "32 bits" in ENGINES[engine].refuses(config, bits, on_cpu=True)


@pytest.mark.parametrize(
    ("config", "bits", "says"),
    [
        ({}, None, ""),
        ({}, 4, ""),
        ({}, 8, "of 4 bits"),
        ({"num_local_experts": 8}, 4, "experts of a mixture"),
        ({"num_local_experts": 8}, None, ""),
        ({"kv_lora_rank": 512}, None, "latent attention"),
        ({"text_config": {"n_routed_experts": 8}}, 4, "experts of a mixture"),
    ],
)
def test_what_vllm_computes_on_a_cpu(config: dict[str, Any], bits: int | None, says: str) -> None:
    refused = ENGINES["vllm"].refuses(config, bits, on_cpu=True)
    assert (says in refused) if says else refused == ""
    assert ENGINES["vllm"].refuses(config, bits, on_cpu=False) == ""
