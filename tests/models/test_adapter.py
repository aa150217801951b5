"""An adapter and the base that it names become one ordinary baseline."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.adapter_merge import work
from greenlight.models.builtin import TINY
from greenlight.models.download import download_model
from greenlight.models.open_source import check_source, parse_source
from tests.models.cases.case import edit, read_tensors, write_tensors
from tests.models.hub_server import COMMIT, HubServer, folder_files

TOKENS = torch.arange(10, 40).reshape(1, -1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(TINY, tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the built-in model that changes what it says."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "adapter")


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model(TOKENS).logits
    return found.float()


def test_the_merged_model_says_what_base_and_adapter_say(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copy(TINY / "tokenizer.json", adapter)
    check_source(f"adapter:{adapter}")
    source = parse_source(f"adapter:{adapter}")
    commit = source.resolve()
    assert parse_source(str(base)).resolve() in commit
    record = download_model(source, commit, tmp_path / "out")
    assert record.source == f"adapter:{adapter}"
    assert record.made == f"adapter {adapter} merged into {base}"
    assert (record.role, record.format, record.bits) == ("baseline", "safetensors", 16)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out/model", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = logits(plain)
    together = logits(PeftModel.from_pretrained(plain, adapter))
    assert (logits(merged) - together).abs().mean() < 0.05 * (before - together).abs().mean()
    template = (tmp_path / "out" / "model" / "chat_template.jinja").read_text()
    assert template == (adapter / "chat_template.jinja").read_text()
    edit(base / "generation_config.json", temperature=0.5)
    assert parse_source(f"adapter:{adapter}").resolve()[:16] != commit[:16]


def test_an_adapter_on_the_hub_is_looked_at_without_its_weights(
    base: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer(folder_files(trained)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        check_source("adapter:org/name", "main")
        commit = parse_source("adapter:org/name", "main").resolve()
        assert commit.split(".", 1)[1] == f"{COMMIT}.{parse_source(str(base)).resolve()}"
        assert not hub.fetched or {asked.path.rpartition("/")[2] for asked in hub.fetched} == {
            "adapter_config.json"
        }
        with pytest.raises(InputError, match="write adapter: before its name"):
            check_source("org/name")


def change(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "adapter_config.json", **values)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (change(base_model_name_or_path="/gone/llama"), "there is no such folder"),
        (change(base_model_name_or_path="what is this"), "neither a folder here nor a hub id"),
        (change(base_model_name_or_path=None), "names no base"),
        (change(peft_type="PROMPT_TUNING"), "PROMPT_TUNING, which cannot be merged"),
        (change(task_type="SEQ_CLS"), "an adapter for SEQ_CLS"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "so it is no adapter"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(
                folder / "adapter_model.bin"
            ),
            "weights are pickled",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_at_once(
    adapter: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(adapter)
    with pytest.raises(InputError, match=says):
        check_source(f"adapter:{adapter}")


def test_only_places_hold_adapters() -> None:
    with pytest.raises(InputError, match="after adapter: goes"):
        parse_source("adapter:builtin:smollm2")


def test_weights_that_do_not_fit_are_not_left_out_in_silence(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = read_tensors(weights)
    write_tensors(
        weights, {name.replace("layers.3", "layers.9"): value for name, value in tensors.items()}
    )
    with pytest.raises(GreenlightError, match=r"does not fit its base: 8 of its weights"):
        work(str(base), str(adapter), str(tmp_path / "out"))
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
