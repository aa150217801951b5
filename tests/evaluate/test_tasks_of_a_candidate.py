"""From a file of items to the flips of a candidate, without a network; and what may not be
compared.
"""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.core.records import Evaluation, Reference
from greenlight.evaluate import reference as reference_module
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.reference import make_reference, open_reference
from greenlight.evaluate.tasks import Tasks
from greenlight.models.builtin import TINY
from tests.evaluate.questions import write_questions
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow

ITEMS = 12


@pytest.fixture(scope="module")
def asked(candidates: Candidates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, whose file of items is gone since."""
    folder = tmp_path_factory.mktemp("asked")
    file = write_questions(folder / "endings.jsonl", ITEMS)
    make_reference(
        TINY, folder / "reference", str(candidates.heldout), Tasks.parse(str(file), 0, 1)
    ).save(folder / "reference")
    file.unlink()
    return folder / "reference"


def test_flips_of_a_candidate_against_its_baseline(
    asked: Path, candidates: Candidates, tmp_path: Path
) -> None:
    (score,) = Reference.load(asked).tasks
    assert (score.name, score.items, score.few_shot, score.chat_template) == (
        "endings",
        ITEMS,
        1,
        True,
    )
    record = evaluate_model(asked, candidates.make("bnb", 4), tmp_path / "evaluation")
    (result,) = record.tasks
    assert (result.baseline_accuracy, result.baseline_stderr, result.items) == (
        score.accuracy,
        score.accuracy_stderr,
        ITEMS,
    )
    rows = pq.read_table(tmp_path / "evaluation/tasks.parquet").to_pandas()
    assert (
        len(rows) == ITEMS
        and rows["candidate"].mean() == result.accuracy
        and rows["baseline"].mean() == score.accuracy
    )
    assert result.right_to_wrong == (rows["baseline"] & ~rows["candidate"]).sum()
    assert result.wrong_to_right == (~rows["baseline"] & rows["candidate"]).sum()
    record.save(tmp_path / "evaluation")
    assert Evaluation.load(tmp_path / "evaluation").tasks == record.tasks


def test_a_ruined_candidate_answers_otherwise(asked: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    for name in tensors:
        if "down_proj" in name:
            tensors[name].zero_()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    (result,) = evaluate_model(asked, copy, tmp_path / "evaluation").tasks
    assert result.right_to_wrong + result.wrong_to_right >= 2
    assert (
        round(ITEMS * (result.accuracy - result.baseline_accuracy))
        == result.wrong_to_right - result.right_to_wrong
    )


def test_an_equal_candidate_changes_nothing(asked: Path, tmp_path: Path) -> None:
    (result,) = evaluate_model(asked, TINY, tmp_path).tasks
    assert (result.right_to_wrong, result.wrong_to_right, result.accuracy) == (
        0,
        0,
        result.baseline_accuracy,
    )
    assert 0 < result.accuracy < 1


def test_another_chat_template_is_not_compared(asked: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(
        IntegrityError,
        match="asked other items of endings than its baseline: its chat template is another",
    ):
        evaluate_model(asked, copy, tmp_path / "evaluation")


def test_is_made_anew_of_other_tasks_only(
    asked: Path, candidates: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = open_reference(asked).tasks
    # whoever loads the model again, fails
    monkeypatch.setattr(reference_module, "load_scorer", None)
    assert make_reference(TINY, asked, str(candidates.heldout), same) == Reference.load(asked)
    other = write_questions(tmp_path / "endings.jsonl", ITEMS - 1)
    with pytest.raises(TypeError):
        make_reference(
            TINY,
            Path(shutil.copytree(asked, tmp_path / "copy")),
            str(candidates.heldout),
            Tasks.parse(str(other), 0, 1),
        )


def test_without_lm_eval_tasks_say_so_before_a_model_is_loaded(
    asked: Path, candidates: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.core.extras.is_installed", lambda module: module != "lm_eval")
    with pytest.raises(
        GreenlightError, match=r"lm_eval, which is not installed.*make install.*\[tasks\]"
    ):
        evaluate_model(asked, TINY, tmp_path)


def test_a_record_from_before_there_were_tasks_still_loads(asked: Path, tmp_path: Path) -> None:
    content = json.loads((asked / "record.json").read_text())
    for name in ("tasks", "tasks_asked", "tasks_digest", "task_limit", "few_shot"):
        del content[name]
    (tmp_path / "record.json").write_text(json.dumps(content))
    assert Reference.load(tmp_path).tasks == []
