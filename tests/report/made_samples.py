"""What the records of a made run hold: objectives, trials of a search, and samples."""

import math
import random
from dataclasses import asdict

import numpy as np

from greenlight.benchmark.plan import ROLES, Role
from greenlight.benchmark.samples import (
    Block,
    CountedBlock,
    Request,
)
from greenlight.benchmark.summary import percentiles
from greenlight.core.records import (
    ColorSummary,
    Metric,
    ObjectiveResult,
    Trial,
)

COLORS = {"candidate": "green", "live": "blue"}


def objective(
    name: str,
    metric: str,
    estimate: float | None,
    bound: float | None,
    limit: float,
    status: str = "pass",
    **changes: object,
) -> ObjectiveResult:
    values: dict[str, object] = {
        "scope": "vs_live" if "vs live" in name else "absolute",
        "comparison": f"<= {limit:.2f}x live" if "vs live" in name else f"<= {limit:g}",
        "unit": "x live" if "vs live" in name else "",
        "confidence": 0.95,
        "reason": f"{name} is {estimate}; at 95% confidence at most {bound}; limit {limit}",
    }
    values |= {
        "name": name,
        "metric": metric,
        "estimate": estimate,
        "bound": bound,
        "limit": limit,
        "status": status,
    }
    return ObjectiveResult.model_validate(values | changes)


def passing() -> list[ObjectiveResult]:
    return [
        objective("mean KL divergence", "kl_mean", 0.0031, 0.0036, 0.05, unit="nats"),
        objective("perplexity ratio", "perplexity_ratio", 1.0004, 1.0021, 1.03, unit="x"),
        objective("top-1 agreement", "top1_agreement", 0.978, 0.974, 0.9, comparison=">= 90.00%"),
        objective("p50 of TTFT vs live", "ttft", 0.31, 0.36, 1.05),
        objective("p95 of TTFT vs live", "ttft", 0.42, 0.71, 1.10),
        objective("p50 of E2E vs live", "e2e", 0.24, 0.25, 1.05),
        objective("p95 of E2E vs live", "e2e", 0.26, 0.31, 1.10),
        objective(
            "output tokens/s vs live",
            "output_tokens_per_second",
            4.61,
            4.40,
            0.95,
            comparison=">= 0.95x live",
        ),
        objective(
            "error rate vs live",
            "error_rate",
            0.0,
            0.018,
            0.03,
            comparison="<= +3.00 points against live",
            unit="points",
        ),
    ]


def trials() -> list[Trial]:
    """Of the method `smallest`."""
    kl = {"kl_mean": Metric(value=0.06, low=0.058, high=0.062)}
    told = (
        "mean KL divergence is 0.06 nats; at 95% confidence at least 0.058 nats, beyond the limit"
        " 0.05 nats"
    )
    return [
        Trial(
            scheme="100.0% int4 per channel",
            group_size=-1,
            ratio=1.0,
            bytes=2_480_000,
            metrics=kl,
            passed=False,
            reason=told,
        ),
        Trial(
            scheme="100.0% int4 in groups of 128",
            group_size=128,
            ratio=1.0,
            bytes=2_550_000,
            metrics=kl,
            passed=True,
            reason="keeps the limits",
        ),
        Trial(
            scheme="50.0% int4 per channel",
            group_size=-1,
            ratio=0.5,
            bytes=3_600_000,
            passed=False,
            too_large=True,
            reason="larger than one that keeps them",
        ),
    ]


def measured(
    pairs: int, errors: int, tokens: int, began: float = 1000
) -> tuple[list[Request], list[CountedBlock]]:
    """Samples of a candidate about four times as fast as live, with a tail; the candidate's first
    `errors` requests failed.
    """
    draw = random.Random(7)
    requests, blocks = [], []
    for pair in range(pairs):
        for order, role in enumerate(draw.sample(ROLES, 2)):
            scale = (
                (1.0 if role == "candidate" else 4.1)
                * draw.lognormvariate(0, 0.25)
                * (5 if draw.random() < 0.02 else 1)
            )
            requests.append(
                _request(
                    pair, order, role, scale, tokens, failed=role == "candidate" and pair < errors
                )
            )
    for number in range(10):
        role = ROLES[number % 2]
        rate = (2410 if role == "candidate" else 523) * draw.lognormvariate(0, 0.05)
        block = Block(
            number, number // 2, number % 2, role, COLORS[role], began + 1.6 * number, 1.2
        )
        blocks.append(
            CountedBlock(
                **asdict(block),
                output_tokens=round(1.2 * rate),
                tokens_per_second=rate,
                requests=80,
                errors=0,
            )
        )
    return requests, blocks


def _request(pair: int, order: int, role: Role, scale: float, tokens: int, failed: bool) -> Request:
    ttft, itls = (math.nan, []) if failed else (0.0031 * scale, [0.0008 * scale] * (tokens - 1))
    return Request(
        phase="pairs",
        pair=pair,
        block=pair // 5,
        order=order,
        role=role,
        color=COLORS[role],
        endpoint="http://127.0.0.1:8001",
        pod="",
        prompt=pair,
        asked=tokens,
        intended=1000 + pair,
        lag=0.0,
        sent=1000 + pair,
        ttft=ttft,
        e2e=60.0 if failed else ttft + sum(itls),
        itls=itls,
        tokens_in=12,
        tokens_out=0 if failed else tokens,
        status=0 if failed else 200,
        error="timeout" if failed else "",
        detail="",
        release="",
    )


def summarize(role: str, requests: list[Request], blocks: list[CountedBlock]) -> ColorSummary:
    own = [request for request in requests if request.role == role]
    good = [request for request in own if not request.error]
    rates = sorted(block.tokens_per_second for block in blocks if block.role == role)
    return ColorSummary(
        release_id="rel",
        requests=len(own),
        errors=len(own) - len(good),
        output_tokens=sum(request.tokens_out for request in own),
        output_tokens_per_second=rates[len(rates) // 2],
        requests_per_second=3.98,
        goodput=len(good) / len(own),
        price_per_hour=1.2,
        cost_per_million_tokens=1.2 / 3600 / rates[len(rates) // 2] * 1e6,
        ttft=percentiles(np.array([request.ttft for request in good])),
        itl=percentiles(np.array([sum(request.itls) / len(request.itls) for request in good])),
        e2e=percentiles(np.array([request.e2e for request in good])),
    )
