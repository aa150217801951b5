"""The search on the built-in model, with the real export, compression and measurement."""

import logging
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.records import Model
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.reference import make_reference
from greenlight.models.builtin import TINY
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.candidate import quantize_model
from tests.quantize.candidates import Candidates

LIMIT = 0.03
"""Of mean KL. Everything in 4 bits with one scale per channel keeps it, so the search ends with its
first trial.
"""


def test_beats_the_smallest_uniform_methods_at_the_same_limit(
    candidates: Candidates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "greenlight.quantize"):
        found = quantize_model(
            TINY,
            tmp_path / "smallest",
            "smallest",
            8,
            Calibration(length=64),
            f"kl_mean max {LIMIT} at 0.95",
        )
    assert (found.method, found.bits, found.format) == ("smallest", 4, "openvino")
    assert found == Model.load(tmp_path / "smallest")
    (trial,) = found.search
    assert (trial.passed, trial.ratio, set(trial.metrics)) == (True, 1.0, {"kl_mean"})
    assert any("100.0% int4 per channel" in line for line in caplog.messages)
    assert found.reload_kl == 0.0

    # text that the search has not seen
    make_reference(TINY, tmp_path / "reference").save(tmp_path / "reference")
    judged = evaluate_model(tmp_path / "reference", tmp_path / "smallest", tmp_path / "evaluation")
    assert judged.metrics["kl_mean"].high < LIMIT
    for method in ("optimum", "gptq"):
        uniform = Model.load(candidates.make(method, 4))
        assert found.bytes < 0.9 * uniform.bytes, (method, uniform.bytes)


def test_limits_that_nothing_keeps_fail_the_step(tmp_path: Path) -> None:
    """Five trials. No mix of 4 and 8 bits predicts what the baseline does to a millionth of a
    nat.
    """
    with pytest.raises(
        GreenlightError,
        match=r"No mix of 4 and 8 bits keeps the limits.*8 bits, mean KL divergence is",
    ):
        quantize_model(
            TINY,
            tmp_path / "out",
            "smallest",
            8,
            Calibration(samples=10, length=16),
            "kl_mean max 0.000001 at 0.95",
        )
    assert not list((tmp_path / "out").iterdir())


def test_bad_input_costs_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limits"):
        quantize_model(TINY, tmp_path / "out", "smallest", 8)
    with pytest.raises(
        InputError, match=r"calibration.*gives 9 documents; method smallest needs 10"
    ):
        quantize_model(
            TINY,
            tmp_path / "out",
            "smallest",
            8,
            Calibration(samples=9),
            "kl_mean max 0.05 at 0.95",
        )
