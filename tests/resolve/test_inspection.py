"""What a model is and what can be made of it, from its small files and headers alone."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from greenlight.core.errors import InputError
from greenlight.models.builtin import TINY
from greenlight.models.open_source import check_source
from greenlight.models.source import Description
from greenlight.quantize.methods import capabilities
from greenlight.resolve.inspection import (
    check_takes,
    inspect,
    inspect_description,
    say_takes,
)
from greenlight.serving.engines.registry import ENGINES
from tests.models.cases import cases_tokens, cases_weights  # noqa: F401  add their cases
from tests.models.cases.case import CASES
from tests.models.cases.cases_kinds import FOLDERS_ONLY
from tests.models.gguf_files import write_gguf
from tests.quantize.test_suitability import dense, tensors

EVERY = {**CASES, **FOLDERS_ONLY}
REFUSED = sorted(name for name, case in EVERY.items() if case.says)
TAKEN = sorted(name for name, case in EVERY.items() if not case.says)
TIED = 2048 * 256
"""Weights of a head that is the embedding."""


def described(family: str, architecture: str, **config: Any) -> Description:
    settings = {"model_type": family, "architectures": [architecture], "vocab_size": 1000}
    return Description("m", settings | config, {}, {}, tensors(dense()), {})


def test_the_built_in_model() -> None:
    found = inspect("builtin:tiny")
    assert (found.architecture, found.model_type) == ("LlamaForCausalLM", "llama")
    assert (found.parameters, found.bytes, found.dtype) == (4_196_608, 8_393_216, "BF16")
    assert (found.context, found.vocabulary, found.tied) == (1024, 2048, False)
    assert found.tokenizer == "tokenizer.json" and found.chat_template
    assert found.baseline_engines == ["transformers", "vllm"]
    assert [(each.method, each.bits) for each in found.methods] == [
        (each.method, each.bits) for each in capabilities()
    ]
    assert not any(each.refused for each in found.methods)
    assert found.fit("fp8", 8).needs.startswith("an NVIDIA GPU")


@pytest.mark.parametrize(
    ("recipe", "measured"),
    # bytes of the weights that the step quantize left of the built-in model, docs/quantization.md
    [(("optimum", 8), 4.3e6), (("optimum", 4), 2.8e6), (("bnb", 4), 3.9e6), (("gptq", 8), 5.4e6)],
)
def test_estimated_sizes_are_near_what_was_made(recipe: tuple[str, int], measured: float) -> None:
    assert inspect("builtin:tiny").fit(*recipe).bytes == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "m")
    EVERY[name].make(tmp_path / "m")
    with pytest.raises(InputError, match=EVERY[name].says) as refusal:
        inspect(str(tmp_path / "m"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_is_described(name: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "m")
    EVERY[name].make(tmp_path / "m")
    found = inspect(str(tmp_path / "m"))
    tied = TIED * (name == "tied_head")
    assert found.parameters == 4_196_608 - tied and found.vocabulary == 2048
    assert not found.fit("optimum", 8).refused


def test_a_gguf_file_is_described_as_what_it_becomes(tmp_path: Path) -> None:
    whole = inspect("builtin:tiny")
    found = inspect(str(write_gguf(tmp_path / "m.gguf", "Q8_0")))
    assert (found.architecture, found.tokenizer) == (whole.architecture, "m.gguf")
    assert (found.parameters, found.context) == (whole.parameters, whole.context)
    assert (found.vocabulary, found.dtype) == (whole.vocabulary, "BF16")
    assert "converted from GGUF Q8_0" in found.notes
    for each, other in zip(found.methods, whole.methods, strict=True):
        assert (each.refused, each.engines) == (other.refused, other.engines)
        assert each.bytes == pytest.approx(other.bytes, rel=0.01)


def test_the_licence_of_the_model_card_is_said(tmp_path: Path) -> None:
    model = shutil.copytree(TINY, tmp_path / "m")
    (model / "LICENSE.txt").write_text("Do as you like.")
    assert inspect(str(model)).licence == "see LICENSE.txt"
    (model / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# M\n")
    assert inspect(str(model)).licence == "apache-2.0"
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: own-1\n---\n")
    assert inspect(str(model)).licence == "own-1"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% bad %}", "unknown tag 'bad'"),
        ("{{ raise_exception('no system prompt') }}", "no system prompt"),
        ("{{ bos_token + messages[0].tool.name }}", "no attribute 'tool'"),
        ("nothing", "leaves out what the user says"),
    ],
)
def test_a_template_that_fails_is_named_and_stops_nothing(
    template: str, says: str, tmp_path: Path
) -> None:
    model = shutil.copytree(TINY, tmp_path / "m")
    (model / "chat_template.jinja").write_text(template)
    found = inspect(str(model))
    assert found.chat_template and says in found.chat_refused
    assert not any(each.refused for each in found.methods)


def test_one_line_says_what_a_run_takes() -> None:
    described = check_source("builtin:tiny")
    assert described is not None
    line = say_takes(described, [("optimum", 8), ("bnb", 4)])
    assert line.startswith("takes builtin:tiny (LlamaForCausalLM, 4.2 million weights) with")
    assert "optimum:8, bnb:4, served by openvino or transformers; quantizing needs" in line


def test_families_that_an_engine_does_not_serve() -> None:
    for family, architecture in (
        ("falcon", "FalconForCausalLM"),
        ("gptj", "GPTJForCausalLM"),
        ("stablelm", "StableLmForCausalLM"),
        ("bloom", "BloomForCausalLM"),
    ):
        found = inspect_description(described(family, architecture))
        assert "transformers" not in found.baseline_engines
        assert found.fit("optimum", 8).engines == ["openvino"]
        assert found.fit("bnb", 4).refused
    latent = {"model_type": "deepseek_v2", "kv_lora_rank": 32}
    for config in ({"model_type": "gpt_oss"}, latent):
        assert "no paged" in ENGINES["transformers"].refuses(config)
    for family in ("llama", "qwen3", "gemma3_text", "gpt2", "mixtral", "smollm3", "phi3", "opt"):
        assert ENGINES["transformers"].refuses({"model_type": family}) == ""


def test_a_method_that_no_engine_serves_is_refused() -> None:
    stable = described("stablelm", "StableLmForCausalLM")
    says = r"'bnb:4': no engine serves .* no paged attention for stablelm"
    with pytest.raises(InputError, match=says):
        check_takes(stable, [("bnb", 4)], "auto", here=False, first=False)
    check_takes(stable, [("optimum", 8)], "auto", here=False, first=False)


def test_an_engine_that_does_not_serve_the_family_is_refused() -> None:
    stable = described("stablelm", "StableLmForCausalLM")
    with pytest.raises(InputError, match="engine: 'transformers': cannot serve m"):
        check_takes(stable, [("gptq", 4)], "transformers", here=False, first=False)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_an_engine_that_is_not_installed_does_not_count_where_this_machine_serves() -> None:
    stable = described("stablelm", "StableLmForCausalLM")
    check_takes(stable, [("gptq", 4)], "auto", here=False, first=False)
    with pytest.raises(
        InputError, match=r"'gptq:4': no engine serves .*vllm is not installed here"
    ):
        check_takes(stable, [("gptq", 4)], "auto", here=True, first=False)


def test_the_first_deployment_needs_an_engine_for_the_model_itself() -> None:
    stable = described("stablelm", "StableLmForCausalLM")
    with pytest.raises(InputError, match=r"nothing is live yet.*`greenlight deploy`"):
        check_takes(stable, [("optimum", 8)], "auto", here=True, first=True)
    check_takes(
        described("llama", "LlamaForCausalLM"), [("optimum", 8)], "auto", here=True, first=True
    )


def test_a_method_that_does_not_take_the_model_is_refused() -> None:
    falcon = described("falcon", "FalconForCausalLM")
    with pytest.raises(InputError, match=r"FalconLinear.*use optimum:4"):
        check_takes(falcon, [("optimum", 8), ("bnb", 4)], "auto", here=False, first=False)
