"""Tasks: questions that have a right answer, by the names of lm-eval's tasks or from files of one's
own. What is asked, read and checked.

A file has a question per line: {"question": "…", "choices": ["…", "…"], "answer": 0}. The question
is put to the model as it is written, and the choice that the model finds likeliest after it is its
answer. Nothing here imports lm-eval, which takes seconds: that is
`greenlight.evaluate.lm_eval_harness`.
"""

import difflib
import hashlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from greenlight.core.errors import InputError
from greenlight.core.extras import require
from greenlight.evaluate.text_files import read_rows

COLUMNS = ("question", "choices", "answer")
EXAMPLE = '{"question": "…", "choices": ["…", "…"], "answer": 0}'
SUFFIXES = (".jsonl", ".parquet")
TOLD = 3
"""Names like a misspelt one that are told."""
_NAMES = re.compile(rb"""^["']?(task|group|tag)["']?:[ \t]*(.*(?:\n[ \t]*-.*)*)""", re.MULTILINE)
_NAME = re.compile(rb"""[^\s'"\[\],#:{}]+""")
_GENERATES = re.compile(rb"^output_type:[ \t]*[\"']?generate_until", re.MULTILINE)


@dataclass(frozen=True)
class Item:
    """A question, its possible answers, and which of them is right."""

    question: str
    choices: list[str]
    answer: int


@dataclass(frozen=True)
class Tasks:
    """What a model is asked.

    Attributes:
        names: of tasks of lm-eval, paths and gs:// URIs of files.
        limit: items of each task at most, from its start. 0: all.
        few_shot: items with their answers that are shown before each.
    """

    names: tuple[str, ...] = ()
    limit: int = 0
    few_shot: int = 0

    @classmethod
    def parse(cls, tasks: str, limit: int = 0, few_shot: int = 0) -> "Tasks":
        """From the parameters of a run: names, paths and URIs with commas between them.

        Raises:
            InputError: a number is below 0, an entry is empty, or two would have the same name.
        """
        for field, value, meaning in (
            ("task_limit", limit, "all items"),
            ("few_shot", few_shot, "no examples"),
        ):
            if value < 0:
                raise InputError(field, value, f"use 0 for {meaning}, or more")
        names = tuple(each.strip() for each in tasks.split(",")) if tasks.strip() else ()
        if "" in names:
            raise InputError(
                "tasks",
                tasks,
                "an entry is empty; write names of lm-eval's tasks and paths of files, with one"
                " comma between two",
            )
        called = [task_name(each) for each in names]
        if twice := [each for each in called if called.count(each) > 1]:
            raise InputError(
                "tasks",
                tasks,
                f"two are called {twice[0]}; give each file a name of its own, and each task once",
            )
        return cls(names, limit, few_shot)

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(each for each in self.names if is_file(each))

    @property
    def registered(self) -> tuple[str, ...]:
        """Names that lm-eval knows."""
        return tuple(each for each in self.names if not is_file(each))

    @property
    def items(self) -> int:
        """Of all files, as many as are asked. Raises InputError as `load_items`."""
        return sum(
            min(size, self.limit or size) for size in (len(load_items(file)) for file in self.files)
        )

    def kept_in(self, folder: Path) -> "Tasks":
        """The same, with the copies of the files that `keep` put into a folder."""
        names = tuple(
            str(folder / f"{task_name(each)}.jsonl") if is_file(each) else each
            for each in self.names
        )
        return replace(self, names=names)

    def keep(self, folder: Path) -> None:
        """Copy the files of items into a folder."""
        for file in self.files:
            path = folder / f"{task_name(file)}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(vars(item)) + "\n" for item in load_items(file)))

    def digest(self) -> str:
        """Of all that decides what is asked, whatever the folders of the files are called. Empty
        without tasks. Raises InputError as `load_items`.
        """
        if not self:
            return ""
        asked = [
            [
                task_name(each),
                [[*vars(item).values()] for item in load_items(each)] if is_file(each) else None,
            ]
            for each in self.names
        ]
        return hashlib.sha256(json.dumps([asked, self.limit, self.few_shot]).encode()).hexdigest()


NO_TASKS = Tasks()


def is_file(entry: str) -> bool:
    """Whether an entry is a file of items; no task of lm-eval has such a name."""
    return "/" in entry or entry.endswith(SUFFIXES)


def task_name(entry: str) -> str:
    """What results call it: of a file its name without the suffix."""
    return Path(entry).stem if is_file(entry) else entry


def check_tasks(tasks: str, limit: int, few_shot: int) -> None:
    """Whether these tasks can be asked. Costs milliseconds for local files, and a second where
    tasks of lm-eval are named and lm-eval is here.

    Raises:
        InputError: they cannot; names the task, and of a file the line and the field.
    """
    asked = Tasks.parse(tasks, limit, few_shot)
    for file in asked.files:
        items = load_items(file)
        if few_shot >= len(items):
            raise InputError(
                "few_shot",
                few_shot,
                f"{file} has {len(items)} items, and one of them is the question; use"
                f" {len(items) - 1} or less",
            )
    if asked.registered and installed():
        known = registered_tasks()
        for name in asked.registered:
            if name not in known:
                near = " or ".join(difflib.get_close_matches(name, known, n=TOLD))
                raise InputError(
                    "tasks",
                    name,
                    f"lm-eval has no such task{f', did you mean {near}' if near else ''}; the name"
                    " of a file ends with .jsonl",
                )
            if (path := own_file(name, known[name])) and generates(path):
                raise InputError(
                    "tasks",
                    name,
                    "is answered with text that is generated; only tasks whose answers are choices"
                    " can be scored here",
                )


def load_items(file: str) -> list[Item]:
    """The items of a file.

    Raises:
        InputError: there is no such file, or a line is no item; names the line and the field.
    """
    items = []
    for row in read_rows(file, file, "tasks", COLUMNS, EXAMPLE):
        if problem := _problem(row.value):
            raise InputError(
                "tasks", file, f"{row.where}: {problem} ({row.shown!r}); write {EXAMPLE}"
            )
        items.append(Item(row.value["question"], list(row.value["choices"]), row.value["answer"]))
    return items


def _problem(value: Any) -> str:
    """What is wrong with a row; empty when nothing is."""
    if not isinstance(value, dict):
        return "is not a JSON object"
    question, choices, answer = (value.get(name) for name in COLUMNS)
    if not isinstance(question, str) or not question.strip():
        return "question is not a text"
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(each, str) and each.strip() for each in choices)
    ):
        return "choices is not a list of two or more texts"
    if len(set(choices)) < len(choices):
        return "choices has a text twice"
    if not isinstance(answer, int) or isinstance(answer, bool):
        return "answer is not the index of a choice"
    return (
        ""
        if 0 <= answer < len(choices)
        else f"answer is {answer}, and the choices are 0 to {len(choices) - 1}"
    )


def installed() -> bool:
    """Whether lm-eval is here."""
    return importlib.util.find_spec("lm_eval") is not None


def check_installed() -> None:
    """Raises MissingExtraError where lm-eval is not installed."""
    require("tasks", "The parameter `tasks`", "lm_eval")


class Mention(NamedTuple):
    """Where lm-eval's files name a task, group or tag, and as which: `task` is said of a task, and
    of the members of a group.
    """

    key: str
    file: Path


def registered_tasks() -> dict[str, list[Mention]]:
    """Every name that lm-eval knows.

    Its own index takes ten seconds: it parses 14,000 YAML files. Here only the lines with names are
    looked for.
    """
    spec = importlib.util.find_spec("lm_eval")
    assert spec and spec.origin
    found: dict[str, list[Mention]] = {}
    for folder, _, files in os.walk(Path(spec.origin).parent / "tasks"):
        for file in files:
            if Path(file).suffix in (".yaml", ""):  # what tasks include has no suffix
                path = Path(folder, file)
                for key, values in _NAMES.findall(path.read_bytes()):
                    for name in _NAME.findall(values):
                        found.setdefault(name.decode(), []).append(Mention(key.decode(), path))
    return found


def own_file(name: str, mentions: list[Mention]) -> Path | None:
    """The file of a single task. None: the name is also, or only, that of a group or a tag."""
    line = re.compile(
        rb"""^["']?task["']?:[ \t]*["']?%s["']?[ \t]*$""" % re.escape(name.encode()), re.MULTILINE
    )
    own = [each.file for each in mentions if line.search(each.file.read_bytes())]
    return own[0] if len(own) == 1 and all(each.key == "task" for each in mentions) else None


def generates(file: Path) -> bool:
    """Whether a task's file says that its answers are generated. What files that it includes say is
    seen when the task is loaded.
    """
    return bool(_GENERATES.search(file.read_bytes()))
