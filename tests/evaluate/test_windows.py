import json
import shutil
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.evaluate.windows import WINDOW, Reader, check_tokenizer, windows
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(open_checkpoint("baseline", TINY))


def test_every_token_is_a_target_once(reader: Reader) -> None:
    ids = list(range(100, 100 + 2 * WINDOW + 7))
    pieces = windows(ids, reader.start, reader.window)
    assert [token for _, targets in pieces for token in targets] == ids
    for inputs, targets in pieces:
        assert inputs == [0, *targets[:-1]]  # 0 starts a text
        assert len(inputs) <= WINDOW


def test_bytes_are_those_of_the_text(reader: Reader) -> None:
    assert reader.read("für").bytes == 4


def test_short_contexts_are_respected(tmp_path: Path) -> None:
    folder = _with_config(tmp_path, max_position_embeddings=64)
    assert Reader(open_checkpoint("baseline", folder)).window == 64
    assert max(len(inputs) for inputs, _ in windows([5] * 300, 0, 64)) == 64


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ({"bos_token_id": None}, 2),
        ({"bos_token_id": None, "eos_token_id": [3, 2]}, 3),
        ({"bos_token_id": 7}, 7),
    ],
)
def test_text_starts_with_what_the_config_names(tmp_path: Path, config: dict, first: int) -> None:
    folder = _with_config(tmp_path, **config)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = (
        None  # a tokenizer that puts nothing before a text, such as Qwen's
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert Reader(open_checkpoint("baseline", folder)).start == first


def test_text_without_a_start_is_refused(tmp_path: Path) -> None:
    folder = _with_config(tmp_path, bos_token_id=None, eos_token_id=None)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(GreenlightError, match="bos_token_id"):
        Reader(open_checkpoint("baseline", folder))


def test_another_tokenizer_is_noticed(tmp_path: Path, reader: Reader) -> None:
    text = (
        "The try statement specifies exception handlers and cleanup code for a group of statements"
    )
    check_tokenizer(TINY, {each: reader.encode(each) for each in ("", text)})
    tokenizer = json.loads((TINY / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-500]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(IntegrityError, match="not made from this baseline"):
        check_tokenizer(tmp_path, {text: reader.encode(text)})


def _with_config(tmp_path: Path, **changes: object) -> Path:
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_the_window_is_what_the_context_allows_by_any_name(tmp_path: Path) -> None:
    """32: GPT-2 calls it n_positions."""
    folder = _with_config(tmp_path, n_positions=128)
    config = json.loads((folder / "config.json").read_text())
    config.pop("max_position_embeddings")
    (folder / "config.json").write_text(json.dumps(config))
    found = Reader(open_checkpoint("baseline", folder))
    assert (found.context, found.window) == (128, 128)


def test_a_token_without_weights_is_named(tmp_path: Path) -> None:
    """27: it is read as transformers reads it, and the model has no embedding for it."""
    folder = _with_config(tmp_path, vocab_size=2048)
    path = folder / "tokenizer_config.json"
    extra = {"extra_special_tokens": ["<|im_start|>", "<tool>"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | extra))
    found = Reader(open_checkpoint("baseline", folder))
    assert found.read("plain").ids
    with pytest.raises(GreenlightError, match=r"the token '<tool>' \(id 2048\)"):
        found.read("a <tool> b")
