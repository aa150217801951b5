"""Candidates whose weights take several files."""

import json
from pathlib import Path

import pytest

from greenlight.models.builtin import TINY
from greenlight.models.file_selection import INDEX, read_places
from greenlight.models.integrity import verify_model
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import quantize_model
from greenlight.quantize.methods import methods
from greenlight.quantize.methods.base import SHARD_BYTES
from tests.quantize.candidates import Candidates

SMALL = 1_000_000
EMBEDDINGS = 2048 * 256 * 2
HEADER = 20_000
"""Room for the names of the tensors, which the limit does not count."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bnb", "gptq"])
def test_small_files_are_reloaded_and_listed_whole(
    candidates: Candidates, tmp_path: Path, method: str
) -> None:
    record = quantize_model(
        TINY,
        tmp_path / "out",
        method,
        4,
        Calibration(str(candidates.calibration), length=32),
        shard_bytes=SMALL,
    )
    assert record.reload_kl <= (methods()[method].tolerance or 0)
    assert verify_model(tmp_path / "out") == record
    model = tmp_path / "out/model"
    index = (model / INDEX).read_bytes()
    shards = {name for name in record.files if name.endswith(".safetensors")}
    assert shards == set(read_places("candidate", INDEX, index).values()) and len(shards) > 2
    sizes = {name: record.files[name].size for name in shards}
    assert max(sizes.values()) <= EMBEDDINGS + HEADER  # one tensor is not split
    held = json.loads(index)["metadata"]["total_size"]
    assert 0 < sum(sizes.values()) - held < HEADER * len(sizes)


def test_the_usual_limit_is_5_gb() -> None:
    assert SHARD_BYTES == 5_000_000_000
