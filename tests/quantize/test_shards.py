"""Candidates whose weights take several files."""

import json
from pathlib import Path

import pytest

from components.download.builtin import TINY
from components.download.checks import shards_in
from components.download.integrity import verify_model
from components.download.selection import INDEX
from components.quantize.calibration import Calibration
from components.quantize.methods import methods
from components.quantize.methods.base import SHARD_BYTES
from components.quantize.work import quantize_model
from tests.components.quantize.candidates import Candidates

SMALL = 1_000_000
EMBEDDINGS = 2048 * 256 * 2
HEADER = 20_000
"""Room for the names of the tensors, which the limit does not count."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bnb", "gptq"])
def test_small_files_are_reloaded_and_listed_whole(candidates: Candidates, tmp_path: Path, method: str) -> None:
    record = quantize_model(TINY, tmp_path / "out", method, 4, Calibration(str(candidates.calibration), length=32), shard_bytes=SMALL)
    assert record.reload_kl <= (methods()[method].tolerance or 0)
    assert verify_model(tmp_path / "out") == record
    model = tmp_path / "out/model"
    index = (model / INDEX).read_bytes()
    shards = {name for name in record.files if name.endswith(".safetensors")}
    assert shards == shards_in("candidate", index) and len(shards) > 2
    sizes = {name: record.files[name].size for name in shards}
    assert max(sizes.values()) <= EMBEDDINGS + HEADER  # one tensor is not split
    held = json.loads(index)["metadata"]["total_size"]
    assert 0 < sum(sizes.values()) - held < HEADER * len(sizes)


def test_the_usual_limit_is_5_gb() -> None:
    assert SHARD_BYTES == 5_000_000_000
