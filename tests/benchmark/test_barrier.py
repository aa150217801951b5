"""Workers that wait for each other through files."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenlight.benchmark import barrier
from greenlight.benchmark.barrier import START_DELAY_SECONDS, Barrier


def test_all_workers_begin_at_the_same_time_after_the_last_came(tmp_path: Path) -> None:
    def arrive(worker: int) -> tuple[float, float]:
        time.sleep(0.2 * worker)
        return time.time(), Barrier(str(tmp_path), worker, 3).wait("pairs")

    with ThreadPoolExecutor(3) as pool:
        arrived, begins = zip(*pool.map(arrive, range(3)), strict=True)
    assert len(set(begins)) == 1, "all read the same time"
    assert begins[0] >= max(arrived) + START_DELAY_SECONDS


def test_each_phase_has_its_own_barrier(tmp_path: Path) -> None:
    for phase in ("block-0", "pairs"):
        with ThreadPoolExecutor(2) as pool:
            begins = list(
                pool.map(
                    lambda worker, phase=phase: Barrier(str(tmp_path), worker, 2).wait(phase),
                    range(2),
                )
            )
        assert begins[0] == begins[1]


def test_a_single_worker_waits_for_nobody(tmp_path: Path) -> None:
    before = time.time()
    assert before <= Barrier(str(tmp_path), 0, 1).wait("pairs") <= time.time()
    assert not list(tmp_path.iterdir())


def test_a_worker_that_does_not_come_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=r"only 1 of 2 workers .* barrier pairs within 0.2 s"):
        Barrier(str(tmp_path), 0, 2).wait("pairs")
