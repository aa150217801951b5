"""lm-eval with our scorers: the answers are those that its own model class gives, and none of it
asks a network.
"""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import GreenlightError, InputError
from greenlight.evaluate.answers import digest_of
from greenlight.evaluate.scorers import Scorer, load_scorer
from greenlight.evaluate.tasks import Tasks
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from tests.evaluate.questions import write_questions
from tests.quantize.candidates import Candidates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer(open_checkpoint("baseline", TINY), 1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model without its chat template."""
    copy = Path(shutil.copytree(TINY, tmp_path_factory.mktemp("models") / "plain"))
    (copy / "chat_template.jinja").unlink()
    return copy


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("asked a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(("chats", "few_shot"), [(True, 2), (False, 0), (False, 2)])
def test_answers_are_those_of_lm_evals_own_model(
    scorer: Scorer, plain: Path, tmp_path: Path, chats: bool, few_shot: int
) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from greenlight.evaluate.lm_eval_harness import SEED, LoadedTasks, ScorerLM

    folder = TINY if chats else plain
    tasks = Tasks((str(write_questions(tmp_path / "endings.jsonl")),), 0, few_shot)
    loaded = LoadedTasks(tasks)
    checkpoint = open_checkpoint("baseline", folder)
    (ours,) = loaded.ask("baseline", scorer, checkpoint)
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    asked = {"tasks": LoadedTasks(tasks)._tasks}
    asked["tasks"]["endings"].set_fewshot_seed(SEED)
    samples = evaluate(
        theirs, asked, bootstrap_iters=0, apply_chat_template=chats, fewshot_as_multiturn=True
    )["samples"]["endings"]  # type: ignore[index]
    assert [digest_of(sample["arguments"]) for sample in samples] == ours.prompts
    assert [bool(sample["acc"]) for sample in samples] == ours.right
    assert 0 < sum(ours.right) <= 12 == len(ours.right)
    assert (ours.name, ours.few_shot, ours.chat_template) == ("endings", few_shot, chats)
    assert ("<|im_start|>assistant" in samples[0]["arguments"][0][0]) == chats
    requests = [instance for task in asked["tasks"].values() for instance in task.instances]
    own = ScorerLM("baseline", scorer, checkpoint).loglikelihood(requests)
    for (score, greedy), (other, other_greedy) in zip(
        own, (each for sample in samples for each in sample["filtered_resps"]), strict=True
    ):
        assert score == pytest.approx(other, abs=1e-3) and greedy == other_greedy


def test_the_same_model_gives_the_same_answers_and_a_limit_takes_the_first(
    scorer: Scorer, tmp_path: Path
) -> None:
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    file = str(write_questions(tmp_path / "endings.jsonl"))
    checkpoint = open_checkpoint("baseline", TINY)
    (first,), (again,), (few,) = (
        LoadedTasks(Tasks((file,), limit, 1)).ask("baseline", scorer, checkpoint)
        for limit in (0, 0, 5)
    )
    assert first == again
    assert (few.prompts, few.right) == (first.prompts[:5], first.right[:5])
    (other,) = LoadedTasks(Tasks((file,), 0, 2)).ask("baseline", scorer, checkpoint)
    assert not set(other.prompts) & set(first.prompts)


def test_an_openvino_candidate_is_asked_the_same(
    scorer: Scorer, candidates: Candidates, tmp_path: Path
) -> None:
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    tasks = Tasks((str(write_questions(tmp_path / "endings.jsonl")),))
    artifact = open_checkpoint("candidate", candidates.make("optimum", 8))
    (before,) = LoadedTasks(tasks).ask("baseline", scorer, open_checkpoint("baseline", TINY))
    (after,) = LoadedTasks(tasks).ask("candidate", load_scorer(artifact, 1), artifact)
    assert after.prompts == before.prompts
    assert sum(was != now for was, now in zip(before.right, after.right, strict=True)) <= 2


def test_a_task_of_lm_eval_with_its_data_at_hand(
    scorer: Scorer, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` takes a folder of the data set's name before it asks a hub."""
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    data = {
        "support": ["A lock is acquired.", "A list is sorted."],
        "question": ["What is acquired?", "What is sorted?"],
        **{f"distractor{number}": [f"wrong {number}", f"false {number}"] for number in (1, 2, 3)},
        "correct_answer": ["lock", "list"],
    }
    folder = tmp_path / "allenai/sciq/data"
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        pq.write_table(pa.table(data), folder / f"{split}-00000-of-00001.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (answered,) = LoadedTasks(Tasks(("sciq",), 0, 1)).ask(
        "baseline", scorer, open_checkpoint("baseline", plain)
    )
    assert (answered.name, answered.few_shot, answered.chat_template, len(answered.right)) == (
        "sciq",
        1,
        False,
        2,
    )


def test_the_quick_search_finds_every_name_of_the_index() -> None:
    from lm_eval.tasks import TaskManager

    from greenlight.evaluate.tasks import registered_tasks

    assert not set(TaskManager().all_tasks) - set(registered_tasks())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sciq", "lm-eval cannot load them .*HF_ENDPOINT"),
        ("bigbench_emoji_movie_multiple_choice_of_no_such_name", "lm-eval has no such task"),
    ],
)
def test_tasks_that_cannot_be_asked_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=says):
        LoadedTasks(Tasks((name,)))


def test_a_model_without_finite_logits_is_named(tmp_path: Path) -> None:
    import torch

    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    class Broken:
        at_once = 1

        def logits(self, ids: list[int], last: int = 0) -> torch.Tensor:
            return torch.full((last or len(ids), 2048), float("nan"))

    with pytest.raises(GreenlightError, match="The candidate gives logits that are not finite"):
        LoadedTasks(Tasks((str(write_questions(tmp_path / "a.jsonl")),))).ask(
            "candidate", Broken(), open_checkpoint("candidate", TINY)
        )


def test_a_choice_that_the_model_cannot_read_is_named(scorer: Scorer, tmp_path: Path) -> None:
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    file = tmp_path / "long.jsonl"
    file.write_text(
        json.dumps({"question": "q", "choices": ["a", "b " * 3000], "answer": 0}) + "\n"
    )
    with pytest.raises(GreenlightError, match="tokens long, and the model reads 1 to"):
        LoadedTasks(Tasks((str(file),))).ask("baseline", scorer, open_checkpoint("baseline", TINY))


@pytest.mark.parametrize("method", ["none", "optimum"])
def test_the_last_logits_are_those_of_all(
    scorer: Scorer, candidates: Candidates, method: str
) -> None:
    import torch

    loaded = (
        scorer
        if method == "none"
        else load_scorer(open_checkpoint("candidate", candidates.make("optimum", 8)), 1)
    )
    ids = [number % 500 for number in range(100)]
    whole = loaded.logits(ids).clone()
    for last in (1, 30, 70, 100):
        part = loaded.logits(ids, last)
        assert part.shape == (last, whole.shape[1])
        assert torch.allclose(part, whole[-last:], atol=1e-4)
