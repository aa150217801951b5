"""Tasks through lm-eval: it writes the prompts and says what is right, and the loaded model is
asked by its scorer. Importing this takes seconds.

Only tasks are run here whose answers are choices that a model is shown, and that are right or
wrong, one by one: then the answers of a candidate can be held against those of its baseline.
lm-eval's own standard errors and groups are not used.
"""

import contextlib
import io
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from greenlight.core.errors import GreenlightError, InputError
from greenlight.evaluate.answers import METRIC, Answered, digest_of
from greenlight.evaluate.compare import predict
from greenlight.evaluate.scorers import Scorer
from greenlight.evaluate.tasks import Item, Tasks, load_items, own_file, registered_tasks, task_name
from greenlight.evaluate.windows import PROGRESS_SECONDS, Reader
from greenlight.models.checkpoint import Checkpoint
from greenlight.serving.chat import ChatTemplate

log = logging.getLogger("greenlight.evaluate")

SEED = 1234
"""Of the examples that are shown before an item."""
ANSWERED = ("multiple_choice", "loglikelihood")


class LoadedTasks:
    """Tasks, ready to be asked. Data of lm-eval's own tasks comes from a hub, or from where it was
    kept of an earlier time.
    """

    def __init__(self, tasks: Tasks) -> None:
        """Raises InputError: lm-eval has no such task, cannot get its data, or its items are not
        right or wrong.
        """
        self.limit = tasks.limit or None
        self._tasks: dict[str, Task] = {}
        with quiet():
            for file in tasks.files:
                self._tasks[task_name(file)] = _from_file(task_name(file), load_items(file))
            registered = _load_registered(tasks.registered) if tasks.registered else {}
            if twice := self._tasks.keys() & registered.keys():
                raise InputError(
                    "tasks",
                    ", ".join(tasks.names),
                    f"a file is called as a task of lm-eval, {min(twice)}; give it another name",
                )
            self._tasks |= registered
            for name, task in self._tasks.items():
                _check(name, task)
                if isinstance(task, ConfigurableTask) and not callable(task.config.process_results):
                    # the others are not used, and some take more packages or twice the time
                    task.override_metric(METRIC)
                if task.get_config("num_fewshot") != 0:  # 0: its prompts hold examples already
                    task.set_config("num_fewshot", tasks.few_shot)

    def ask(self, role: str, scorer: Scorer, checkpoint: Checkpoint) -> list[Answered]:
        """Ask them all, through the model's chat template where it has one.

        Args:
            role: of the model, for errors.

        Raises:
            GreenlightError: a task does not work with this model, or the model gives logits that
                are not finite.
        """
        model = ScorerLM(role, scorer, checkpoint)
        chats = bool(model.template)
        log.info(
            "asking %d task%s%s",
            len(self._tasks),
            "s"[: len(self._tasks) > 1],
            " through the chat template" if chats else "",
        )
        try:
            with quiet():
                for task in self._tasks.values():
                    task.set_fewshot_seed(SEED)
                found = evaluate(
                    model,
                    {"tasks": self._tasks},
                    limit=self.limit,
                    bootstrap_iters=0,
                    apply_chat_template=chats,
                    fewshot_as_multiturn=True,
                )
        except GreenlightError:
            raise
        except Exception as error:  # whatever a task makes of its data
            raise GreenlightError(
                f"The tasks cannot be asked ({type(error).__name__}: {error}). Leave out the one"
                " that fails."
            ) from error
        return [
            _collect_answers(name, task, found["samples"][name], chats)
            for name, task in self._tasks.items()
        ]


class ScorerLM(TemplateLM):
    """A loaded model as lm-eval asks it: how likely it finds each text after a context. A text is
    read in one piece, in full precision of its engine.
    """

    def __init__(self, role: str, scorer: Scorer, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._role, self._scorer = role, scorer
        self._reader = Reader(checkpoint)
        self._starts_with = self._reader.decode([self._reader.start])
        self._stderr = sys.stderr
        self.template = ChatTemplate.open(checkpoint.folder)

    @property
    def eot_token_id(self) -> int:
        """What stands before a text without a context."""
        return self._reader.start

    @property
    def tokenizer_name(self) -> str:
        """Names what lm-eval would keep of its prompts, which it is not asked to."""
        return self._role

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """With the special tokens that the model wants around a text, unless the text has them
        already.
        """
        special = (
            not string.startswith(self._starts_with)
            if add_special_tokens is None
            else add_special_tokens
        )
        return self._reader.encode(string, special)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """As text. Without `add_generation_prompt` the last message is left open, to be
        continued.
        """
        try:
            text = self.template.render(chat_history, ask=add_generation_prompt)
        except ValueError:  # some templates know no system message
            chat_history = [message for message in chat_history if message["role"] != "system"]
            text = self.template.render(chat_history, ask=add_generation_prompt)
        if add_generation_prompt:
            return text
        last = chat_history[-1]["content"].strip()
        return text[: text.rindex(last) + len(last)]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """In nats, and whether the model would have written it itself, greedily."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        found, told = [], time.monotonic()
        before, logits = list[int](), None
        for number, ((_, text), context, continuation) in enumerate(requests, start=1):
            size = len(continuation)
            if not 0 < size <= self._reader.context:
                raise GreenlightError(
                    f"A choice is {size} tokens long, and the model reads 1 to"
                    f" {self._reader.context}: {text[:60]!r}. Leave it out."
                )
            # what is too long loses its beginning
            ids = [*context, *continuation][-(self._reader.context + 1) :][:-1]
            # choices of one token follow the same text
            if logits is None or ids != before or len(logits) < size:
                logits = self._scorer.logits(ids, size)
            before = ids
            score, greedy = 0.0, True
            for part, at in _parts(self._role, logits[-size:], continuation):
                score += part.target.double().sum().item()
                greedy = greedy and part.top1.tolist() == at
            found.append((score, greedy))
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                with contextlib.redirect_stderr(self._stderr):
                    log.info(
                        "scored %d of %d choices",
                        number,
                        len(requests),
                        extra={"figure": f"{number / len(requests):.0%}"},
                    )
        return found

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Perplexity is measured on the held-out text. Tasks that ask for it are refused before
        they come here.
        """
        raise GreenlightError(
            "A task asks how likely whole texts are. Give the text by the parameter text instead."
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Tasks that ask for it are refused before they come here."""
        raise GreenlightError(
            "A task asks for generated text, and only choices can be scored here. Leave it out."
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of lm-eval and datasets. Errors are raised all the same."""
    for name in ("lm_eval", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _from_file(name: str, items: list[Item]) -> Task:
    data = datasets.Dataset.from_list([vars(item) for item in items])
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: {"test": data},
            "output_type": "multiple_choice",
            "test_split": "test",
            "fewshot_split": "test",  # never the item itself
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
        }
    )


def _load_registered(names: tuple[str, ...]) -> dict[str, Task]:
    known = registered_tasks()
    files = [own_file(name, known.get(name, [])) for name in names]
    try:
        if all(files):  # by its file a task is there at once, and the index takes ten seconds
            return TaskManager(include_defaults=False).load([str(file) for file in files])["tasks"]
        return TaskManager().load(list(names))["tasks"]
    except KeyError as error:
        raise InputError(
            "tasks", ", ".join(names), f"lm-eval has no such task ({error.args[0]})"
        ) from None
    except Exception as error:  # a hub, a mirror, or a task's own code
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = (
            "see that its data can be reached, by HF_ENDPOINT or from the cache of HF_HOME, or give"
            " a file of items instead"
        )
        raise InputError(
            "tasks", ", ".join(names), f"lm-eval cannot load them ({said}); {fix}"
        ) from error


def _check(name: str, task: Task) -> None:
    """Raises InputError when a task's items are not right or wrong by what the model finds
    likely.
    """
    kind = str(task.OUTPUT_TYPE)
    if kind == "generate_until":
        raise InputError(
            "tasks",
            name,
            "is answered with text that is generated; only tasks whose answers are choices can be"
            " scored here",
        )
    if kind == "loglikelihood_rolling":
        raise InputError(
            "tasks",
            name,
            "measures how likely whole texts are; give them by the parameter text instead, which"
            " compares token by token",
        )
    if kind not in ANSWERED or METRIC not in task.aggregation():
        raise InputError(
            "tasks",
            name,
            "does not say of each item whether it was answered right (it measures"
            f" {', '.join(task.aggregation())}); leave it out",
        )


def _parts(role: str, logits: Any, continuation: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """What the model predicts for some tokens of a text at a time, and those tokens."""
    at = 0
    for part in predict(role, logits, continuation):
        yield part, continuation[at : at + len(part.target)]
        at += len(part.target)


def _collect_answers(name: str, task: Task, samples: list[dict[str, Any]], chats: bool) -> Answered:
    """In the order of the items. Raises InputError when one is not simply right or wrong."""
    chosen = sorted(
        (sample for sample in samples if sample["filter"] == samples[0]["filter"]),
        key=lambda sample: sample["doc_id"],
    )
    if strange := [sample[METRIC] for sample in chosen if sample[METRIC] not in (0, 1)]:
        raise InputError(
            "tasks",
            name,
            f"gives an item {strange[0]:.3g} points, neither right nor wrong; leave it out",
        )
    return Answered(
        name=name,
        few_shot=int(task.get_config("num_fewshot") or 0),
        chat_template=chats,
        prompts=[digest_of(sample["arguments"]) for sample in chosen],
        right=[bool(sample[METRIC]) for sample in chosen],
    )
