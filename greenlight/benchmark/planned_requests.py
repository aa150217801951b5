"""The requests that a benchmark plans: prompts of the wanted lengths, and the length of answers."""

import json
import logging
import random
from typing import Any

from pydantic import BaseModel, Field

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.prompts import Chat, Prompt, chat_problem, load_prompts, read_objects
from greenlight.benchmark.workload import Workload
from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.core.records import MODEL_FOLDER, Release
from greenlight.models.context import context_length

log = logging.getLogger("greenlight.benchmark")

VARIETY = 512
"""Number of requests drawn from distributions of lengths; the pairs take them in turn."""
CHARACTERS_PER_TOKEN = 4
"""In English text, where no tokenizer is at hand."""
SPARE = 16
"""Tokens of a model's context left for what a server puts around a text."""


class PlannedRequest(BaseModel):
    """One request as both colors get it."""

    text: str = Field("", description="The prompt, unless it is a chat.")
    messages: Chat | None = None
    output_tokens: int = Field(ge=1)
    at: float | None = Field(
        None, description="For a trace: seconds after its beginning at which it is sent."
    )

    @classmethod
    def of(cls, prompt: Prompt, output_tokens: int, at: float | None = None) -> "PlannedRequest":
        if isinstance(prompt, str):
            return cls(text=prompt, output_tokens=output_tokens, at=at)
        return cls(messages=prompt, output_tokens=output_tokens, at=at)


class ServedModel:
    """What the artifact of a release says about lengths, where it can be read from here.

    Attributes:
        tokenizer: as `tokenizers` loads it; None where there is none.
        context: tokens of prompt and answer together; None when it does not say.
    """

    def __init__(self, release: Release | None) -> None:
        self.tokenizer: Any = None
        self.context: int | None = None
        if release is None:
            return
        try:
            self.context = context_length(json.loads(self._read(release, "config.json")))
        except (ValueError, AttributeError):  # not there, or no JSON object
            self.context = None
        if tokenizer := self._read(release, "tokenizer.json"):
            from tokenizers import Tokenizer

            self.tokenizer = Tokenizer.from_str(tokenizer)
            self.tokenizer.no_truncation()
            self.tokenizer.no_padding()

    @staticmethod
    def _read(release: Release, name: str) -> str:
        try:
            return storage.read_bytes(storage.join(release.model_uri, MODEL_FOLDER, name)).decode()
        except (OSError, ValueError):
            return ""

    def count(self, text: str) -> set[int]:
        """How many tokens a text may be: with what the model wants around it, and without. Empty
        where no tokenizer is at hand.
        """
        return (
            {
                len(self.tokenizer.encode(text, add_special_tokens=special).ids)
                for special in (True, False)
            }
            if self.tokenizer
            else set()
        )

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text that has this many tokens, or about; all of it when it has
        fewer.
        """
        if self.tokenizer is None:
            return text[: tokens * CHARACTERS_PER_TOKEN]
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= tokens else text[: offsets[tokens - 1][1]]


def prepare(workload: Workload, plan: Plan, model: ServedModel) -> list[PlannedRequest]:
    """Plan the requests of a benchmark. Pairs take them in turn, in a new order each time round;
    those of a trace as they come.

    Raises:
        InputError: the prompts or the trace cannot be read.
    """
    prompts = load_prompts(workload.prompts)
    if workload.trace:
        return _trace(workload, plan, prompts, model)
    if workload.input_tokens is None and workload.output_tokens is None:
        return [PlannedRequest.of(prompt, plan.max_tokens) for prompt in prompts]
    source = random.Random(f"{workload.seed if workload.seed is not None else plan.seed} lengths")
    planned, left = [], list[int]()
    for _ in range(max(len(prompts), VARIETY)):
        left = left or source.sample(range(len(prompts)), len(prompts))
        output = workload.output_tokens.draw(source) if workload.output_tokens else plan.max_tokens
        length = workload.input_tokens.draw(source) if workload.input_tokens else None
        planned.append(_plan_request(prompts, left.pop(), length, output, model))
    return planned


def _plan_request(
    prompts: list[Prompt],
    start: int,
    length: int | None,
    output: int,
    model: ServedModel,
    at: float | None = None,
) -> PlannedRequest:
    """A request whose prompt has `length` tokens, made of prompts from number `start` on. Both
    lengths are cut to what the model's context holds.
    """
    if model.context and output + (length or 0) + SPARE > model.context:
        output = max(1, min(output, model.context // 2))
        length = min(length, max(1, model.context - output - SPARE)) if length else length
    prompt = prompts[start]
    return PlannedRequest.of(
        prompt if length is None else _of_length(prompts, start, length, model), output, at
    )


def _of_length(prompts: list[Prompt], start: int, tokens: int, model: ServedModel) -> Prompt:
    """Texts from number `start` on, joined until there are enough tokens and cut there. Of a chat,
    what was said last is made so long.
    """
    parts, characters, number = list[str](), 0, start
    while characters < tokens * 2 * CHARACTERS_PER_TOKEN:  # room for text whose tokens are long
        prompt = prompts[number % len(prompts)]
        parts.append(prompt if isinstance(prompt, str) else prompt[-1]["content"])
        characters, number = characters + len(parts[-1]) + 1, number + 1
    text, first = model.cut("\n".join(parts), tokens), prompts[start]
    return (
        text
        if isinstance(first, str)
        else [*first[:-1], {"role": first[-1]["role"], "content": text}]
    )


def _trace(
    workload: Workload, plan: Plan, prompts: list[Prompt], model: ServedModel
) -> list[PlannedRequest]:
    """What was sent once, sent again: when, and how long. Lines without a text or a chat get one of
    the prompts, cut to their length.
    """
    planned: list[PlannedRequest] = []
    for number, line in read_objects("trace", workload.trace, workload.trace):
        if not isinstance(line, dict):
            raise _bad(
                workload,
                number,
                'is no object; write {"timestamp": 0.5, "input_tokens": 200, "output_tokens": 100}',
            )
        at = _number(workload, number, line, "timestamp", 0, 0)
        output = _number(workload, number, line, "output_tokens", 1, plan.max_tokens)
        if "messages" in line and (problem := chat_problem(line["messages"])):
            raise _bad(workload, number, problem)
        own = line.get("prompt") or line.get("messages")
        length = None if own else int(_number(workload, number, line, "input_tokens", 1, None))
        planned.append(
            _plan_request(
                [own] if own else prompts,
                0 if own else number % len(prompts),
                length,
                int(output),
                model,
                at,
            )
        )
    if not planned:
        raise InputError(
            "trace",
            workload.trace,
            'holds no request; write one JSON object per line, such as {"timestamp": 0.5,'
            ' "input_tokens": 200}',
        )
    planned.sort(key=lambda request: request.at or 0)
    begin = planned[0].at or 0
    return [
        request.model_copy(update={"at": ((request.at or 0) - begin) / workload.speed})
        for request in planned
    ]


def _number(
    workload: Workload,
    number: int,
    line: dict[str, Any],
    key: str,
    least: float,
    default: float | None,
) -> float:
    value = line.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e15:
        raise _bad(workload, number, f"{key} is {value!r} and must be a number of {least} or more")
    return value


def _bad(workload: Workload, number: int, problem: str) -> InputError:
    return InputError("trace", workload.trace, f"line {number}: {problem}")
