import itertools
import random
import statistics

import pytest

from greenlight.benchmark.arrivals import due_times
from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.workload import Stage, Workload


def times(
    workload: Workload, count: int, planned: list[PlannedRequest] | None = None, seed: int = 1
) -> list[float]:
    return list(itertools.islice(due_times(workload, planned or [], random.Random(seed)), count))


def gaps(due: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(due)]


def test_constant_rate() -> None:
    assert gaps(times(Workload(arrivals="constant", rate=4), 50)) == pytest.approx([0.25] * 49)


def test_poisson() -> None:
    found = gaps(times(Workload(arrivals="poisson", rate=4), 20_000))
    assert statistics.mean(found) == pytest.approx(0.25, rel=0.03)
    assert statistics.pstdev(found) == pytest.approx(0.25, rel=0.03), (
        "exponential: as wide as its mean"
    )


def test_stages_change_the_rate_and_the_last_one_lasts() -> None:
    stages = (Stage(seconds=100, rate=1), Stage(seconds=100, rate=10), Stage(seconds=1, rate=5))
    for arrivals in ("poisson", "constant"):
        due = times(Workload(arrivals=arrivals, stages=stages), 2000)  # type: ignore[arg-type]
        assert due == sorted(due)
        counts = [sum(begin <= each < begin + 100 for each in due) for begin in (0, 100, 200)]
        assert counts == pytest.approx([100, 1000, 500], rel=0.25)


def test_a_trace_begins_again_when_it_has_ended() -> None:
    planned = [PlannedRequest(text="a", output_tokens=1, at=at) for at in (0.0, 1.0, 4.0)]
    assert times(Workload(arrivals="trace", trace="t"), 7, planned) == [0, 1, 4, 6, 7, 10, 12]
    assert times(Workload(arrivals="trace", trace="t"), 3, planned[:1]) == [0, 1, 2]
