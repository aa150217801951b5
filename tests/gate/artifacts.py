"""Artifacts as the steps before the gate leave them, made from simulated samples with known
truth.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenlight.benchmark.plan import ROLES
from greenlight.benchmark.samples import (
    BLOCKS,
    REQUESTS,
    CountedBlock,
    Request,
    write_parquet,
)
from greenlight.core.files import file_digest
from greenlight.core.records import (
    BenchmarkResult,
    Color,
    ColorSummary,
    Deployment,
    Evaluation,
    Metric,
    Release,
)
from greenlight.gate.objectives import Gate, load_gate

TOKENS = 24
COLORS: dict[str, Color] = {"candidate": "green", "live": "blue"}


def release(role: str) -> Release:
    return Release(
        release_id=f"{role}-release",
        color=COLORS[role],
        service="s",
        model_uri="m",
        digest=f"{role}-digest",
        source="s",
        commit="c",
        method="none",
        bits=16,
        engine="e",
    )


DEPLOYMENT = Deployment(candidate=release("candidate"), live=release("live"))


@dataclass
class World:
    """What is true of a simulated candidate.

    Latencies are log-normal (sigma 0.25, 80% of the variance shared within a pair, drift shared by
    neighbours) with a tail of 5x.
    """

    slower: float = 1.0
    slower_tail: float = 1.0
    pairs: int = 100
    tail: float = 0.02
    failing: dict[str, float] = field(default_factory=dict)
    kl: float = 0.001
    throughput: float = 1.0
    blocks: int = 5
    seed: int = 0


def make_artifacts(folder: Path, world: World) -> tuple[Path, Path]:
    """The folders of an Evaluation and of a BenchmarkResult."""
    random = np.random.default_rng(world.seed)
    evaluation, benchmark = folder / "evaluation", folder / "benchmark"
    write_evaluation(evaluation, documents(world, random))
    requests, blocks = paired_requests(world, random), throughput_blocks(world, random)
    write_benchmark(benchmark, requests, blocks)
    return evaluation, benchmark


def documents(world: World, random: np.random.Generator) -> dict[str, list[float]]:
    tokens = random.integers(80, 250, 60)
    baseline = tokens * random.normal(3.8, 0.3, 60)
    kl = tokens * world.kl * random.gamma(4, 0.25, 60)
    return {
        "document": list(range(60)),
        "tokens": tokens.tolist(),
        "bytes": (tokens * 4).tolist(),
        "nll_baseline": baseline.tolist(),
        "nll_candidate": (baseline + kl * random.normal(1, 0.3, 60)).tolist(),
        "kl_sum": kl.tolist(),
        "top1_agree": np.floor(tokens * (1 - np.minimum(0.9, 3 * kl / tokens)))
        .astype(int)
        .tolist(),
    }


def write_evaluation(
    folder: Path, columns: dict[str, list[float]], candidate: str = "candidate-digest"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "documents.parquet")
    sums = {name: float(np.sum(values)) for name, values in columns.items()}
    metrics = {
        "kl_mean": sums["kl_sum"] / sums["tokens"],
        "top1_agreement": sums["top1_agree"] / sums["tokens"],
        "perplexity_ratio": float(
            np.exp((sums["nll_candidate"] - sums["nll_baseline"]) / sums["tokens"])
        ),
        "bits_per_byte": sums["nll_candidate"] / np.log(2) / sums["bytes"],
    }
    Evaluation(
        baseline_digest="baseline-digest",
        candidate_digest=candidate,
        documents=len(columns["tokens"]),
        tokens=int(sums["tokens"]),
        metrics={
            name: Metric(value=value, low=value, high=value) for name, value in metrics.items()
        },
    ).save(folder)


def paired_requests(world: World, random: np.random.Generator) -> list[Request]:
    drift = np.zeros(world.pairs)
    for pair in range(1, world.pairs):
        drift[pair] = 0.9 * drift[pair - 1] + random.normal(0, 0.02)
    shared = random.normal(0, 0.25 * np.sqrt(0.8), world.pairs) + drift
    rows = []
    for pair in range(world.pairs):
        for order, role in enumerate(random.permutation(ROLES)):
            factor = world.slower if role == "candidate" else 1.0
            if random.random() < world.tail:
                factor *= 5 * (world.slower_tail if role == "candidate" else 1.0)
            factor *= float(np.exp(shared[pair] + random.normal(0, 0.25 * np.sqrt(0.2))))
            failed = random.random() < world.failing.get(role, 0)
            rows.append(request(role, pair, order, 0.0 if failed else factor))
    return rows


def request(role: str, pair: int, order: int, factor: float) -> Request:
    """`factor` 1 is a typical request, 0 a failed one."""
    return Request(
        phase="pairs",
        pair=pair,
        block=pair // 5,
        order=order,
        role=role,  # type: ignore[arg-type]
        color=COLORS[role],
        endpoint=f"http://{role}",
        pod="",
        prompt=pair % 7,
        asked=TOKENS,
        intended=1e9 + pair + order / 2,
        lag=0.0,
        sent=1e9 + pair + order / 2,
        ttft=0.02 * factor if factor else float("nan"),
        e2e=0.2 * factor if factor else 0.001,
        itls=[0.0078 * factor] * (TOKENS - 1) if factor else [],
        tokens_in=3,
        tokens_out=TOKENS if factor else 0,
        status=200 if factor else 0,
        error="" if factor else "connect",
        detail="",
        release=f"{role}-release",
    )


def throughput_blocks(world: World, random: np.random.Generator) -> list[CountedBlock]:
    rows = []
    for pair in range(world.blocks):
        speed = 1000 * float(np.exp(random.normal(0, 0.1)))
        for order, role in enumerate(ROLES):
            tokens = int(
                speed
                * (world.throughput if role == "candidate" else 1)
                * np.exp(random.normal(0, 0.01))
            )
            start = 2e9 + 4 * pair + 2 * order
            rows.append(
                CountedBlock(
                    2 * pair + order,
                    pair,
                    order,
                    role,
                    COLORS[role],
                    start,
                    1.0,
                    tokens,
                    float(tokens),
                    tokens // TOKENS,
                    0,
                )
            )
    return rows


def write_benchmark(
    folder: Path, requests: list[Request], blocks: list[CountedBlock], **changes: Any
) -> BenchmarkResult:
    """Samples, and the record that `run_benchmark` would make of them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / REQUESTS, Request, requests)
    write_parquet(folder / BLOCKS, CountedBlock, blocks)
    own = {role: [row for row in requests if row.role == role] for role in ROLES}
    summaries = {
        role: ColorSummary(
            release_id=f"{role}-release",
            digest=f"{role}-digest",
            requests=len(own[role]),
            errors=sum(1 for row in own[role] if row.error),
            output_tokens=sum(row.tokens_out for row in own[role]),
            output_tokens_per_second=1.0,
        )
        for role in ROLES
    }
    result = BenchmarkResult(
        complete=True,
        candidate=summaries["candidate"],
        live=summaries["live"],
        pairs=len({row.pair for row in own["candidate"]} & {row.pair for row in own["live"]}),
        concurrency=8,
        max_tokens=TOKENS,
        block_tokens=128,
        seed=1,
        seconds=30,
        requests_digest=file_digest(folder / REQUESTS),
        blocks_digest=file_digest(folder / BLOCKS),
    ).model_copy(update=changes)
    result.save(folder)
    return result


def lenient_gate(**benchmark: Any) -> Gate:
    """The gate `quick` with the error objective out of the way, of which 100 simulated pairs alone
    show too little.
    """
    gate = load_gate("quick")
    objectives = [each for each in gate.objectives if each.metric != "error_rate"]
    return gate.model_copy(
        update={"objectives": objectives, "benchmark": gate.benchmark.model_copy(update=benchmark)}
    )
