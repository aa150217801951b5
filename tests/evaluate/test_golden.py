"""Golden prompts of real candidates: each answers its own, and another candidate does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.core.records import Golden
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.golden import ANSWER, OPENINGS, TELLING
from greenlight.evaluate.scorers import load_scorer
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from greenlight.rollout.preconditions import GOLDEN_TOLERANCE
from greenlight.serving.detokenizer import Vocabulary
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def golden(
    candidates: Candidates,
    reference_of: Callable[[Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Golden]:
    return evaluate_model(
        reference_of(TINY), candidates.make("optimum", 4), tmp_path_factory.mktemp("evaluation")
    ).golden


def share_answered_otherwise(golden: list[Golden], artifact: Path) -> float:
    checkpoint = open_checkpoint("candidate", artifact)
    scorer, vocabulary = load_scorer(checkpoint, 2), Vocabulary(checkpoint.folder, 0)
    otherwise = 0
    for each in golden:
        ids = vocabulary.encode(each.prompt)
        tokens: list[int] = []
        for _ in range(each.tokens):
            tokens.append(int(scorer.logits(ids + tokens)[-1].argmax()))
        stream = vocabulary.stream(ids)
        otherwise += stream.push(tokens) + stream.finish() != each.text
    return otherwise / len(golden)


def test_a_candidate_answers_its_own(golden: list[Golden], candidates: Candidates) -> None:
    assert OPENINGS < len(golden) <= OPENINGS + TELLING, "some tell it from its baseline"
    assert all(each.prompt.strip() and each.text and 1 <= each.tokens <= ANSWER for each in golden)
    assert len({each.prompt for each in golden}) == len(golden)
    assert share_answered_otherwise(golden, candidates.make("optimum", 4)) == 0


@pytest.mark.parametrize(("method", "bits"), [("none", 16), ("bnb", 4), ("optimum", 8)])
def test_another_candidate_does_not(
    golden: list[Golden], candidates: Candidates, method: str, bits: int
) -> None:
    assert share_answered_otherwise(golden, candidates.make(method, bits)) > GOLDEN_TOLERANCE


def test_a_candidate_that_is_as_good_as_its_baseline_has_openings_only(
    candidates: Candidates, reference_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = evaluate_model(reference_of(TINY), candidates.make("none", 16), tmp_path).golden
    assert 0 < len(found) <= OPENINGS
