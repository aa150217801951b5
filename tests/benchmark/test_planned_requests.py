"""What is asked, with the tokenizer of the built-in model."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from greenlight.benchmark import planned_requests
from greenlight.benchmark.plan import Plan
from greenlight.benchmark.planned_requests import ServedModel, plan_requests
from greenlight.benchmark.workload import Workload
from greenlight.core.errors import InputError
from greenlight.core.records import Release
from greenlight.models.builtin import TINY

PLAN = Plan(max_tokens=24)


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "model").symlink_to(TINY)
    values = dict.fromkeys(
        ("release_id", "service", "digest", "source", "commit", "method", "engine"), "x"
    )
    return ServedModel(
        Release(color="green", bits=8, model_uri=str(tmp_path / "artifact"), **values)
    )  # type: ignore[arg-type]


def test_prompts_as_they_are(model: ServedModel) -> None:
    prepared = plan_requests(Workload(), PLAN, model)
    assert len(prepared) == 96
    assert {ask.output_tokens for ask in prepared} == {24}


def test_prompts_have_the_wanted_tokens(model: ServedModel) -> None:
    lengths: Any = {"distribution": "uniform", "min": 20, "max": 60}
    workload = Workload(
        input_tokens=lengths,
        output_tokens={"distribution": "normal", "mean": 40, "sd": 10, "min": 8, "max": 80},
    )  # type: ignore[arg-type]
    prepared = plan_requests(workload, PLAN, model)
    assert len(prepared) == planned_requests.VARIETY
    counts = [min(model.count(ask.text)) for ask in prepared]
    assert min(counts) >= 19 and max(counts) <= 61, (
        "cutting in the middle of a word may make another token of it"
    )
    assert statistics.mean(counts) == pytest.approx(40, abs=2)
    assert (
        min(ask.output_tokens for ask in prepared) >= 8
        and max(ask.output_tokens for ask in prepared) <= 80
    )
    assert plan_requests(workload, PLAN, model) == prepared, "the same seed asks the same"
    assert plan_requests(workload, Plan(seed=2), model) != prepared


def test_lengths_fit_the_context(model: ServedModel) -> None:
    assert model.context == 1024
    workload = Workload(input_tokens=2000, output_tokens=700)  # type: ignore[arg-type]
    for ask in plan_requests(workload, PLAN, model):
        assert ask.output_tokens + max(model.count(ask.text)) <= 1024
        assert ask.output_tokens == 512


def test_without_a_tokenizer_four_characters_are_a_token() -> None:
    prepared = plan_requests(Workload(input_tokens=100), PLAN, ServedModel(None))  # type: ignore[arg-type]
    assert {len(ask.text) for ask in prepared} == {400}


def test_of_a_chat_the_last_message_gets_the_length(tmp_path: Path, model: ServedModel) -> None:
    path = tmp_path / "chats.jsonl"
    chat = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "tell me about types and values in this language"},
    ]
    path.write_text(json.dumps({"messages": chat}) + "\n")
    ask = plan_requests(Workload(prompts=str(path), input_tokens=30), PLAN, model)[0]  # type: ignore[arg-type]
    assert ask.messages and ask.messages[0] == chat[0]
    assert 29 <= min(model.count(ask.messages[1]["content"])) <= 31


def trace(tmp_path: Path, *lines: object) -> Workload:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Workload(arrivals="trace", trace=str(path), speed=2)


def test_a_trace(tmp_path: Path, model: ServedModel) -> None:
    lines = [
        {"timestamp": 12, "prompt": "b", "output_tokens": 3},
        {"timestamp": 10, "input_tokens": 20, "output_tokens": 7},
        {"timestamp": 11, "prompt": "c"},
    ]
    prepared = plan_requests(trace(tmp_path, *lines), PLAN, model)
    assert [(ask.at, ask.output_tokens) for ask in prepared] == [(0, 7), (0.5, 24), (1, 3)], (
        "in the order of their times, twice as fast"
    )
    assert 19 <= min(model.count(prepared[0].text)) <= 21
    assert [ask.text for ask in prepared[1:]] == ["c", "b"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"input_tokens": 0}, "line 1: input_tokens is 0"),
        ({"timestamp": "now", "prompt": "a"}, "timestamp is 'now'"),
        ({"timestamp": True, "prompt": "a"}, "timestamp is True"),
        ({"timestamp": 1}, "input_tokens is None"),
        ({"timestamp": 1, "messages": []}, "messages is not a list"),
        ([1], "is no object"),
    ],
)
def test_a_bad_trace_names_the_line(tmp_path: Path, line: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_requests(trace(tmp_path, line), PLAN, ServedModel(None))
    assert says in str(caught.value) and caught.value.field == "trace"


def test_no_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no request"):
        plan_requests(trace(tmp_path), PLAN, ServedModel(None))
    with pytest.raises(InputError, match="no such file"):
        plan_requests(Workload(arrivals="trace", trace="/nothing.jsonl"), PLAN, ServedModel(None))
