"""The order in which a load generator sends, without a server: each call is answered at once."""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import gevent
import pytest

from greenlight.benchmark import barrier
from greenlight.benchmark.barrier import Barrier
from greenlight.benchmark.client import Reply
from greenlight.benchmark.plan import Plan, Side
from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.samples import BLOCK_LINES, REQUEST_LINES, STOP
from greenlight.benchmark.scheduler import Caller, Recorder, Scheduler
from greenlight.benchmark.workload import Workload

SIDES = [
    Side(role="candidate", color="green", endpoints=("http://a", "http://b")),
    Side(role="live", color="blue", endpoints=("http://c",)),
]
PLANNED = [PlannedRequest(text=f"prompt {number}", output_tokens=3) for number in range(7)]


class Answering(Caller):
    """Answers at once, and keeps which seed each call had."""

    def __init__(self) -> None:
        super().__init__(timeout=1)
        self.calls: list[tuple[str, str, int]] = []

    def generate(self, endpoint: str, request: PlannedRequest, max_tokens: int, seed: int) -> Reply:
        self.calls.append((endpoint, request.text, seed))
        gevent.sleep(0.001)
        now = time.perf_counter()
        return Reply(sent=now, status=200, stamps=[now] * max_tokens, ended=now)


def run(
    folder: Path, plan: Plan, workload: Workload | None = None, own: Barrier | None = None
) -> tuple[list[dict[str, Any]], list[tuple[str, str, int]]]:
    """Run a whole benchmark; returns the recorded requests and all calls."""
    folder.mkdir(exist_ok=True)
    scheduler = Scheduler(
        plan, workload or Workload(), SIDES, PLANNED, lambda *_: None, Recorder(folder), own
    )
    callers = [Answering() for _ in range(plan.concurrency)]

    def work(caller: Caller) -> None:
        while True:
            scheduler.work(caller)

    users = [gevent.spawn(work, caller) for caller in callers]
    scheduler.run()
    gevent.killall(users)
    assert scheduler.recorder
    scheduler.recorder.requests.close()
    scheduler.recorder.blocks.close()
    lines = (folder / REQUEST_LINES).read_text().splitlines()
    return [json.loads(line) for line in lines], [call for each in callers for call in each.calls]


def by_pair(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    pairs = defaultdict(list)
    for row in rows:
        if row["phase"] == "pairs":
            pairs[row["pair"]].append(row)
    return pairs


def test_a_pair_is_the_same_request_to_both_colors_in_random_order(tmp_path: Path) -> None:
    plan = Plan(pairs=70, users=1, concurrency=2, throughput_blocks=0)
    rows, calls = run(tmp_path, plan)
    pairs = by_pair(rows)
    assert sorted(pairs) == list(range(70))
    for number, (first, second) in pairs.items():
        assert {first["role"], second["role"]} == {"candidate", "live"}
        assert (first["order"], second["order"]) == (0, 1)
        assert first["prompt"] == second["prompt"] and first["intended"] <= second["intended"]
        assert first["block"] == number // plan.pairs_per_block
    firsts = [first["role"] for first, _ in pairs.values()]
    assert 15 < firsts.count("live") < 55, "neither color always comes first"
    prompts = [pairs[number][0]["prompt"] for number in range(70)]
    for begin in range(0, 70, 7):
        assert sorted(prompts[begin : begin + 7]) == list(range(7)), "each pass has every prompt"
    assert prompts[:7] != prompts[7:14]
    seeds = defaultdict(set)
    for endpoint, text, seed in calls:
        if seed:
            seeds[seed].add((endpoint == "http://c", text))
    assert all(len(each) == 2 for each in seeds.values()), "one seed for both requests of a pair"
    replicas = [row["endpoint"] for row in rows if row["role"] == "candidate"]
    assert abs(replicas.count("http://a") - replicas.count("http://b")) <= 1


def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    def order(name: str, seed: int) -> list[tuple[int, str]]:
        plan = Plan(pairs=20, concurrency=1, throughput_blocks=0, seed=seed)
        return [(row["prompt"], row["role"]) for row in run(tmp_path / name, plan)[0]]

    assert order("one", 1) == order("again", 1) != order("other", 2)


def test_warm_up_is_sent_and_not_recorded(tmp_path: Path) -> None:
    plan = Plan(pairs=3, concurrency=4, throughput_blocks=0)
    rows, calls = run(tmp_path, plan)
    assert len(rows) == 2 * 3
    # to each color: one for each user, and two as the pairs will be
    assert len(calls) - len(rows) == 2 * (4 + 2)


def test_throughput_windows_load_one_color_at_a_time(tmp_path: Path) -> None:
    plan = Plan(
        pairs=1, concurrency=3, throughput_blocks=2, block_seconds=0.05, settle_seconds=0.01
    )
    rows, _ = run(tmp_path, plan)
    blocks = [json.loads(line) for line in (tmp_path / BLOCK_LINES).read_text().splitlines()]
    assert [(each["block"], each["pair"], each["order"]) for each in blocks] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
    for each in blocks:
        own = [r for r in rows if r["phase"] == "throughput" and r["block"] == each["block"]]
        assert own and {row["role"] for row in own} == {each["role"]}


@pytest.mark.parametrize("workload", [Workload(), Workload(arrivals="constant", rate=500)])
def test_workers_share_the_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workload: Workload
) -> None:
    monkeypatch.setattr(barrier, "START_DELAY_SECONDS", 0.01)
    plan = Plan(pairs=21, users=2, concurrency=2, throughput_blocks=0)
    sent: dict[int, tuple[int, tuple[str, ...]]] = {}
    for worker in range(2):
        place = tmp_path / f"barrier-{worker}"
        (place / "pairs").mkdir(parents=True)
        # the other worker is there already
        (place / "pairs" / str(1 - worker)).write_text(repr(time.time()))
        rows, _ = run(tmp_path / str(worker), plan, workload, Barrier(str(place), worker, 2))
        own = by_pair(rows)
        assert {number % 2 for number in own} == {worker}
        for number, pair in own.items():
            sent[number] = pair[0]["prompt"], pair[1]["prompt"]
    assert sorted(sent) == list(range(21)), "every pair is sent by one of them"


def test_the_file_stop_ends_the_pairs(tmp_path: Path) -> None:
    (tmp_path / STOP).touch()
    rows, _ = run(tmp_path, Plan(pairs=1000, concurrency=1, throughput_blocks=0))
    assert rows == []
