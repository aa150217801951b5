"""GGUF files become ordinary baselines: the same weights, the same tokens, wherever they lie."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from greenlight.core.errors import GreenlightError, InputError
from greenlight.models.builtin import HELDOUT, TINY
from greenlight.models.download import download_model
from greenlight.models.gguf import architectures
from greenlight.models.gguf_conversion import work
from greenlight.models.gguf_tokenizer import SPLITS, build_tokenizer
from greenlight.models.open_source import check_source, parse_source
from tests.models.gguf_files import CONFIG, write_gguf
from tests.models.hub_server import COMMIT, HubServer

TEXTS = [json.loads(line)["text"] for line in HELDOUT.read_text().splitlines()[:20]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "full.gguf")
    write_gguf(folder / "q8.gguf", "Q8_0")
    (folder / "LICENSE").write_text("Apache-2.0")
    return folder


def test_full_precision_comes_back_bit_by_bit_with_the_same_tokens(
    files: Path, tmp_path: Path
) -> None:
    source = parse_source(str(files / "full.gguf"))
    check_source(str(files / "full.gguf"))
    record = download_model(source, source.resolve(), tmp_path)
    assert record.made == "converted from GGUF F32 (full.gguf)"
    assert (record.role, record.format, record.bits) == ("baseline", "safetensors", 16)
    assert record.source == str(files / "full.gguf")
    assert record.libraries.keys() >= {"gguf", "transformers"}
    model = tmp_path / "model"
    ours, theirs = (load_file(place / "model.safetensors") for place in (model, TINY))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    new, old = (Tokenizer.from_file(str(place / "tokenizer.json")) for place in (model, TINY))
    for text in [*TEXTS, "<|im_start|>user\nHi ▁ 12345<|im_end|>"]:
        assert new.encode(text).ids == old.encode(text).ids
        assert new.decode(new.encode(text).ids, skip_special_tokens=False) == text
    config = json.loads((model / "config.json").read_text())
    same = ("eos_token_id", "bos_token_id", "pad_token_id", "max_position_embeddings", "head_dim")
    assert {name: config[name] for name in same} == {name: CONFIG[name] for name in same}
    assert "quantization_config" not in config
    settings = json.loads((model / "tokenizer_config.json").read_text())
    assert (settings["bos_token"], settings["eos_token"]) == ("<|endoftext|>", "<|im_end|>")
    assert (model / "chat_template.jinja").read_text() == (TINY / "chat_template.jinja").read_text()
    assert (model / "LICENSE").read_text() == "Apache-2.0"
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_quantized_one_on_the_hub_is_looked_at_fetched_and_said_to_be_quantized(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    served = {
        "q8.gguf": (files / "q8.gguf").read_bytes(),
        "other.gguf": b"GGUF",
        "LICENSE": b"free",
    }
    with HubServer(served) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        check_source("org/name", from_gguf="q8.gguf")
        assert not hub.fetched
        with pytest.raises(InputError, match=r"no such file; it holds other\.gguf, q8\.gguf"):
            check_source("org/name/q4.gguf")
        source = parse_source("org/name", "main", "q8.gguf")
        commit = source.resolve()
        assert commit.endswith(f".{COMMIT}")
        hub.cut_after["q8.gguf"] = [100_000]
        record = download_model(source, commit, tmp_path)
        assert {asked.path.rpartition("/")[2] for asked in hub.fetched} == {"q8.gguf", "LICENSE"}
    assert record.source == "org/name/q8.gguf"
    assert record.made == "dequantized from GGUF Q8_0 (q8.gguf)"
    assert record.peak_memory_bytes > 0
    assert "was dequantized from GGUF Q8_0" in caplog.text and "GB of memory" in caplog.text
    name = "model.layers.0.mlp.up_proj.weight"
    ours, theirs = (
        load_file(place / "model.safetensors")[name].float() for place in (tmp_path / "model", TINY)
    )
    assert 0 < (ours - theirs).abs().max() < 0.02 * theirs.abs().max()


def test_the_commit_follows_the_bytes_of_the_file_alone(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes((files / "q8.gguf").read_bytes())
    first = parse_source(str(path)).resolve()
    (tmp_path / "notes.txt").write_text("x")
    assert parse_source(str(path)).resolve() == first
    path.write_bytes((files / "full.gguf").read_bytes())
    assert parse_source(str(path)).resolve()[:16] != first[:16]


def test_it_goes_on_after_a_kill(files: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from greenlight.models.download import download_model\n"
        "from greenlight.models.open_source import parse_source\n"
        "source = parse_source(sys.argv[1])\n"
        "download_model(source, source.resolve(), sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(files / "q8.gguf"), str(tmp_path)])
    while not (tmp_path / ".making" / "converted").is_dir():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model").exists()
    source = parse_source(str(files / "q8.gguf"))
    download_model(source, source.resolve(), tmp_path)
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"architecture": "whisper"}, "architecture 'whisper', which transformers"),
        ({"split": "tekken"}, "splits texts as 'tekken', which is not rebuilt"),
        ({"split_count": 3}, r"one of 3 parts; join them with llama-gguf-split --merge"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_it_is_fetched(
    tmp_path: Path, options: dict, says: str
) -> None:
    path = write_gguf(tmp_path / "a.gguf", **options)
    with pytest.raises(InputError, match=says):
        check_source(str(path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1000], r"has \d+ bytes where its header says \d+"),
        (lambda data: data[:2000], "has a broken header"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (lambda data: b"", "has a broken header"),
        (lambda data: b"PK" + data, "is no GGUF file"),
        (lambda data: data[:4] + b"\x01" + data[5:], "GGUF of version 1"),
    ],
)
def test_a_broken_file_is_refused(files: Path, tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(change((files / "q8.gguf").read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=says):
        check_source(str(path))


def test_weights_that_transformers_leaves_out_are_not_lost_in_silence(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", more={"blk.0.odd.weight": np.ones(8, np.float32)})
    with pytest.raises(GreenlightError, match=r"takes 4,196,608 weights .* holds 4,196,616"):
        work(str(path), str(tmp_path / "out"))


@pytest.mark.parametrize("as_llama3", [True, False])
def test_stretched_positions_are_kept_or_refused(tmp_path: Path, as_llama3: bool) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stretch = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(**{**CONFIG, "rope_parameters": stretch})
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 10000.0 ** (-np.arange(32) / 32)
    factors = (plain / frequencies.numpy()).astype(np.float32)
    if not as_llama3:
        factors[3] *= 1.5
    path = write_gguf(tmp_path / "a.gguf", more={"rope_freqs.weight": factors})
    if as_llama3:
        work(str(path), str(tmp_path / "out"))
        saved = json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"]
        assert saved["rope_type"] == "llama3"
        assert saved["factor"] == pytest.approx(8.0, rel=1e-5)
    else:
        with pytest.raises(GreenlightError, match="in another way than Llama 3"):
            work(str(path), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("gpt-2", ["It", "'s", "Ġ12345", "!!", "ĊĊ"]),
        ("smollm", ["It", "'s", "Ġ", "1", "2", "3", "4", "5", "!!", "ĊĊ"]),
        ("llama-bpe", ["It", "'s", "Ġ", "123", "45", "!!ĊĊ"]),
        ("qwen2", ["It", "'s", "Ġ", "1", "2", "3", "4", "5", "!!ĊĊ"]),
    ],
)
def test_texts_are_split_as_the_model_was_trained(name: str, pieces: list[str]) -> None:
    settings = {
        "general.architecture": "llama",
        "llama.context_length": 8,
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": ["a"],
        "tokenizer.ggml.merges": [],
    }
    split = build_tokenizer(settings).backend_tokenizer.pre_tokenizer  # type: ignore[attr-defined]
    assert [piece for piece, _ in split.pre_tokenize_str("It's 12345!!\n\n")] == pieces
    assert name in SPLITS


def test_the_architectures_are_those_that_transformers_reads() -> None:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    known = {name.replace("_", "") for name in GGUF_SUPPORTED_ARCHITECTURES}
    assert architectures() == known - {"general", "tokenizer", "t5", "umt5"}


@pytest.mark.parametrize("value", ["model.safetensors", "q8"])
def test_from_gguf_names_a_gguf_file(files: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"from_gguf.*\.gguf file"):
        parse_source(str(files), from_gguf=value)
    with pytest.raises(InputError, match="from_gguf"):
        parse_source("builtin:tiny", from_gguf="a.gguf")
