"""A million requests, summed up: seconds and peak memory of a process that does nothing else. Run
as a module; prints one JSON object.
"""

import array
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from greenlight.benchmark.plan import Plan, Side
from greenlight.benchmark.run import assemble
from greenlight.benchmark.samples import Block, Request, schema_of
from greenlight.benchmark.workload import Slo, Workload

ROWS, GAPS = 1_000_000, 32
SIDES = [
    Side(role=role, color=color, endpoints=(f"http://{color}",))
    for role, color in (("candidate", "green"), ("live", "blue"))
]


def requests(rows: int) -> pa.Table:
    """Pairs in their order, with log-normal latencies."""
    random = np.random.default_rng(1)
    number = np.arange(rows)
    gaps = random.lognormal(np.log(0.02), 0.3, (rows, GAPS)).astype(np.float32)
    ttft = random.lognormal(np.log(0.1), 0.3, rows)
    index = pa.array((number % 2).astype(np.int8))
    words = {"phase": "pairs", "pod": "pod-0", "error": "", "detail": "", "release": "release"}
    columns = {
        name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), [word]).cast(
            pa.string()
        )
        for name, word in words.items()
    }
    for name, pair in (
        ("role", ["candidate", "live"]),
        ("color", ["green", "blue"]),
        ("endpoint", ["http://green", "http://blue"]),
    ):
        columns[name] = pa.DictionaryArray.from_arrays(index, pair).cast(pa.string())
    offsets = pa.array(np.arange(0, (rows + 1) * GAPS, GAPS, dtype=np.int32))
    columns |= {
        "itls": pa.ListArray.from_arrays(offsets, pa.array(gaps.ravel())),
        "ttft": ttft,
        "e2e": ttft + gaps.sum(axis=1),
    }
    columns |= {
        "pair": number // 2,
        "block": number // 10,
        "order": number % 2,
        "prompt": number % 97,
        "intended": number / 100.0,
        "sent": number / 100.0,
    }
    columns |= {
        "asked": np.full(rows, GAPS + 1),
        "tokens_out": np.full(rows, GAPS + 1),
        "tokens_in": np.full(rows, 100),
        "status": np.full(rows, 200),
    }
    columns["lag"] = np.zeros(rows)
    schema = schema_of(Request)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    made = requests(ROWS)
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        workload = Workload(slo=Slo(ttft=0.2, itl=0.03))
        result = assemble(
            Path(folder),
            None,
            SIDES,
            Plan(pairs=ROWS // 2),
            workload,
            made,
            list[Block](),
            array.array("f"),
            "",
            1.0,
        )
        seconds = time.perf_counter() - began
    assert result.pairs == ROWS // 2 and result.candidate.ttft
    print(
        json.dumps(
            {
                "rows": ROWS,
                "seconds": round(seconds, 2),
                "peak_mb": round(peak()),
                "peak_before_mb": round(before),
            }
        )
    )


if __name__ == "__main__":
    main()
