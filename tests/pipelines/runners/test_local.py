"""Finding the steps' events in what kfp.local prints."""

import io

import yaml

from greenlight.core.step import StepEvent
from greenlight.pipelines.compiler import compile_promotion
from greenlight.pipelines.runners.local import _EventStream, run_loops_in_order

STARTED = (
    '    {"time":"2026-11-23T19:13:53+00:00","severity":"INFO","run":"r","step":"quantize",'
    '"event":"started","message":"","figure":""}\n'
)
FAILED = STARTED.replace("started", "failed").replace('"message":""', '"message":"disk full"')


def events(*texts: str) -> list[StepEvent]:
    heard: list[StepEvent] = []
    stream = _EventStream("r", io.StringIO(), heard.append)
    for text in texts:
        stream.write(text)
    return heard


def test_an_event_split_over_writes_is_heard_once() -> None:
    assert [event.event for event in events(STARTED[:30], STARTED[30:])] == ["started"]


def test_a_cache_hit_is_a_reused_step() -> None:
    (event,) = events("Task deploy-green cache hit (key=0123456789ab); skipping execution.\n")
    assert (event.step, event.event) == ("deploy_green", "reused")


def test_a_step_that_died_silently_has_failed() -> None:
    line = (
        "19:13:53.523 - ERROR - Task \x1b[96m'quantize'\x1b[0m finished with status"
        " \x1b[91mFAILURE\x1b[0m\n"
    )
    heard = events(STARTED, "    Killed\n", line)
    assert [event.event for event in heard] == ["started", "failed"]
    assert "Killed" in heard[-1].message


def test_a_step_that_said_why_is_not_reported_twice() -> None:
    line = (
        "19:13:53.523 - ERROR - Task \x1b[96m'quantize'\x1b[0m finished with status"
        " \x1b[91mFAILURE\x1b[0m\n"
    )
    assert [event.message for event in events(FAILED, line)] == ["disk full"]


def test_json_of_a_library_is_not_an_event() -> None:
    assert events('{"time": "now", "level": "info"}\n', "plain text\n") == []


def test_loops_take_one_item_after_the_other() -> None:
    spec = yaml.safe_load(run_loops_in_order(compile_promotion()))
    loops = [
        task
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    assert [loop["iteratorPolicy"] for loop in loops] == [{"parallelismLimit": 1}]
    assert "iteratorPolicy" not in compile_promotion()  # in a cloud each has a machine of its own
