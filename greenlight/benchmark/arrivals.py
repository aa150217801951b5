"""When the pairs of open loop are due. Every worker goes through the same times and sends its own
share of them.
"""

import itertools
import random
from collections.abc import Iterator, Sequence

from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.workload import Workload


def due_times(
    workload: Workload, planned: Sequence[PlannedRequest], source: random.Random
) -> Iterator[float]:
    """Seconds after the begin of the pairs, rising, without end. A trace that has ended begins
    again.
    """
    if workload.arrivals == "trace":
        last = planned[-1].at or 0.0
        # one mean gap between its end and its next begin
        lap = last * len(planned) / max(1, len(planned) - 1) or 1.0
        yield from (
            round_ * lap + (request.at or 0.0)
            for round_ in itertools.count()
            for request in planned
        )
    begin = 0.0
    for number, stage in enumerate(workload.rated, 1):
        assert stage.rate is not None
        end = begin + stage.seconds if number < len(workload.rated) else float("inf")
        due = begin
        while True:
            # A Poisson process has no memory: it may be begun anew where its rate changes.
            due += (
                source.expovariate(stage.rate) if workload.arrivals == "poisson" else 1 / stage.rate
            )
            if due >= end:
                break
            yield due
        begin = end
