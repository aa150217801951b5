"""Answers to tasks, item by item: how many are right, which of them the candidate changed, and how
both are kept as files.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.core.errors import IntegrityError
from greenlight.core.records import TaskResult, TaskScore

ANSWERS_FILE = "tasks.parquet"
METRIC = "acc"


@dataclass(frozen=True)
class Answered:
    """What a model made of a task.

    Attributes:
        prompts: of each item, the digest of what the model was shown, choices included.
        right: of each item, whether its answer was.
    """

    name: str
    few_shot: int
    chat_template: bool
    prompts: list[str]
    right: list[bool]

    def score(self) -> TaskScore:
        items = len(self.right)
        accuracy = sum(self.right) / items
        return TaskScore(
            name=self.name,
            few_shot=self.few_shot,
            chat_template=self.chat_template,
            items=items,
            accuracy=accuracy,
            accuracy_stderr=standard_error(accuracy, items),
        )


def digest_of(shown: Any) -> str:
    """Of the texts that a model was shown."""
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def standard_error(share: float, items: int) -> float:
    """Of a share of right items, from their standard deviation as lm-eval has it. Infinite with one
    item, of which nothing is known.
    """
    return math.sqrt(share * (1 - share) / (items - 1)) if items > 1 else math.inf


def compare_answers(
    baseline: Sequence[Answered], candidate: Sequence[Answered]
) -> list[TaskResult]:
    """Both models' answers to the same tasks.

    Raises:
        IntegrityError: they were not asked the same.
    """
    results = []
    for before, after in zip(baseline, candidate, strict=True):
        if (before.name, before.prompts) != (after.name, after.prompts):
            raise IntegrityError(
                f"The candidate was asked other items of {before.name} than its baseline: its chat"
                " template is another, or the task's data changed. Run the step reference again."
            )
        theirs, ours = before.score(), after.score()
        results.append(
            TaskResult(
                **ours.model_dump(),
                metric=METRIC,
                baseline_accuracy=theirs.accuracy,
                baseline_stderr=theirs.accuracy_stderr,
                right_to_wrong=sum(
                    was and not now for was, now in zip(before.right, after.right, strict=True)
                ),
                wrong_to_right=sum(
                    now and not was for was, now in zip(before.right, after.right, strict=True)
                ),
            )
        )
    return results


def write_answers(answered: Sequence[Answered], folder: Path) -> None:
    """A row per item: its task, its number, the digest of what was shown, and whether the answer
    was right.
    """
    _write(
        folder,
        answered,
        {
            "prompt": [each for task in answered for each in task.prompts],
            "right": [each for task in answered for each in task.right],
        },
    )


def write_both(baseline: Sequence[Answered], candidate: Sequence[Answered], folder: Path) -> None:
    """A row per item: its task, its number, and whether each model answered right."""
    rows = {
        role: [each for task in tasks for each in task.right]
        for role, tasks in (("baseline", baseline), ("candidate", candidate))
    }
    _write(folder, candidate, rows)


def read_answers(folder: Path, scores: Sequence[TaskScore]) -> list[Answered]:
    """What `write_answers` wrote. Raises IntegrityError where it is not there, or not what the
    record says.
    """
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(folder / ANSWERS_FILE).to_pylist()
        own = {score.name: [row for row in rows if row["task"] == score.name] for score in scores}
        found = [
            Answered(
                score.name,
                score.few_shot,
                score.chat_template,
                [row["prompt"] for row in own[score.name]],
                [row["right"] for row in own[score.name]],
            )
            for score in scores
        ]
        complete = [each.score() for each in found] == list(scores)
    except (OSError, ValueError, KeyError, ZeroDivisionError) as error:
        raise IntegrityError(
            f"{folder / ANSWERS_FILE} cannot be read ({error}). Run the step reference again."
        ) from None
    if not complete:
        raise IntegrityError(
            f"{folder / ANSWERS_FILE} does not hold the answers that its record counts. Run the"
            " step reference again."
        )
    return found


def _write(folder: Path, answered: Sequence[Answered], columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [task.name for task in answered for _ in task.right]
    numbers = [number for task in answered for number in range(len(task.right))]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"task": names, "item": numbers, **columns}), folder / ANSWERS_FILE)
