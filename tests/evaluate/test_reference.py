"""What a baseline predicts, kept: complete, exact where it must be, and refused when it is
damaged.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.records import Reference
from greenlight.evaluate import reference
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.reference import LOGPROBS_FILE, make_reference, open_reference
from greenlight.evaluate.scorers import load_scorer
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow


@pytest.fixture
def heldout(candidates: Candidates) -> str:
    return str(candidates.heldout)


@pytest.fixture
def made(reference_of: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(reference_of(TINY), tmp_path / "reference"))


def test_holds_what_the_baseline_predicts(made: Path) -> None:
    import torch

    opened = open_reference(made)
    record = opened.record
    assert (
        record.bytes
        == record.tokens * record.vocabulary * 2
        == (made / LOGPROBS_FILE).stat().st_size
    )
    assert (record.documents, record.vocabulary, record.opening, record.start) == (8, 2048, [], 0)
    windows = list(opened.windows())
    assert sum(len(each.targets) for each in windows) == record.tokens
    assert [each.document for each in windows] == sorted(each.document for each in windows)
    window = windows[-1]
    logprobs = (
        load_scorer(open_checkpoint("baseline", TINY), 2)
        .logits(window.inputs)
        .float()
        .log_softmax(-1)
    )
    assert torch.equal(window.baseline.top1, logprobs.argmax(-1))
    assert torch.allclose(
        window.baseline.target, logprobs[range(len(window.targets)), window.targets], atol=1e-6
    )
    assert (window.baseline.logprobs.float() - logprobs).abs().max() < 0.01


def test_is_made_once(made: Path, heldout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "load_scorer", None)  # whoever loads the model again, fails
    assert make_reference(TINY, made, text=heldout) == Reference.load(made)


def test_is_made_anew_of_another_text(made: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "A lock that was acquired must be released."}) + "\n")
    before = Reference.load(made)
    record = make_reference(TINY, made, text=str(text))
    assert record.text_digest != before.text_digest and record.documents == 1 and record.tokens < 40
    assert (made / LOGPROBS_FILE).stat().st_size == record.tokens * record.vocabulary * 2
    assert not (
        made / "record.json"
    ).exists()  # which is the caller's to save: until then, the artifact is incomplete


def test_what_a_killed_attempt_left_is_incomplete(made: Path) -> None:
    with open(made / LOGPROBS_FILE, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(IntegrityError, match="1000 bytes of"):
        open_reference(made)
    (made / LOGPROBS_FILE).unlink()
    with pytest.raises(IntegrityError, match="no complete reference"):
        open_reference(made)
    (made / "record.json").unlink()
    with pytest.raises(IntegrityError, match=r"no record\.json"):
        open_reference(made)


def test_another_file_of_the_same_size_is_refused(
    made: Path, candidates: Candidates, tmp_path: Path
) -> None:
    size = (made / LOGPROBS_FILE).stat().st_size // 2
    np.random.default_rng(1).normal(-8, 2, size).astype(np.float16).tofile(made / LOGPROBS_FILE)
    with pytest.raises(IntegrityError, match=r"logprobs\.f16 is not the file that was written"):
        evaluate_model(made, candidates.make("none", 16), tmp_path / "evaluation")
    # an older record has no digests
    Reference.load(made).model_copy(update={"digests": {}}).save(made)
    with pytest.raises(IntegrityError, match="no log-probabilities"):
        evaluate_model(made, candidates.make("none", 16), tmp_path / "evaluation")


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        make_reference(tmp_path / "nothing", tmp_path / "out")
    assert caught.value.field == "baseline"
    with pytest.raises(InputError) as caught:
        make_reference(TINY, tmp_path / "out", text="nowhere.jsonl")
    assert caught.value.field == "text"
