"""Gate files: the objectives that decide, read and checked. Every limit that decides something is
in one of these, none in code.
"""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from greenlight.benchmark.plan import Count, Number, Plan
from greenlight.core.errors import IntegrityError
from greenlight.core.records import Part
from greenlight.core.records.decisions import KEEP_WARM_SECONDS
from greenlight.core.yaml_file import load_yaml, nearest, shipped
from greenlight.gate.catalogue import METRICS, PERCENTILES, Comparison, MetricKind, Scope

MIN_TAIL_PAIRS = 5
"""Requests that must lie beyond a percentile for its bound to mean anything: p95 needs 100 pairs,
p90 needs 50.
"""
MIN_BLOCK_PAIRS = 3
"""Pairs of throughput windows below which a t interval is too wide to decide anything."""
MIN_ITEMS = 20
"""Items of tasks below which the approximation of their bound is too rough."""

MIN_REFERENCE_PAIRS = 30
"""Reference pairs below which the normal approximation of their bound is too rough."""


def _refuse_percent(confidence: float) -> float:
    if not 0.5 < confidence < 1:
        raise ValueError("must lie between 0.5 and 1; write 0.95 for 95%")
    return confidence


Confidence = Annotated[Number, AfterValidator(_refuse_percent)]


class Objective(Part):
    """One line of a gate: a metric, and the limit that its confidence bound has to keep."""

    metric: str
    statistic: str = Field(
        "", description="p50, p90, p95, mean or over_slo, for metrics of single requests."
    )
    slo: Number | None = Field(
        None,
        gt=0,
        description="Only with statistic over_slo: maximum seconds that a request may take.",
    )
    scope: Scope = Field(
        "absolute",
        description=(
            "absolute: the value itself. vs_live: its ratio to, or its difference from, the value"
            " of the live color."
        ),
    )
    max: Number | None = Field(
        None, description="Upper limit, which the confidence bound must not exceed."
    )
    min: Number | None = Field(
        None, description="Lower limit, which the confidence bound must not fall below."
    )
    better_by: Number | None = Field(
        None,
        gt=0,
        lt=1,
        description=(
            "Instead of a limit, for ratios to live: 0.1 means at least 10% better than live."
        ),
    )
    confidence: Confidence = Field(
        description="One-sided confidence of its bound. Default: the gate's confidence."
    )
    name: str = Field(
        "", description="Name in tables and messages. Default: made from the other keys."
    )

    @property
    def kind(self) -> MetricKind:
        return METRICS[self.metric]

    @property
    def limit(self) -> float:
        if self.better_by is not None:
            return 1 - self.better_by if self.at_most else 1 + self.better_by
        # one of them is there
        return self.max if self.max is not None else self.min  # type: ignore[return-value]

    @property
    def at_most(self) -> bool:
        """Whether the limit is an upper one."""
        return self.max is not None if self.better_by is None else self.kind.better == "lower"

    @property
    def comparison(self) -> Comparison:
        return "difference" if self.statistic == "over_slo" else self.kind.comparison

    @property
    def title(self) -> str:
        return self.name or self.phrase + (" vs live" if self.scope == "vs_live" else "")

    @property
    def phrase(self) -> str:
        if self.statistic == "over_slo":
            return f"share of {self.kind.label} over {1000 * (self.slo or 0):g} ms"
        return f"{self.statistic} of {self.kind.label}" if self.statistic else self.kind.label

    def need(self, key: str, given: int, least: int) -> None:
        """Raises ValueError when a size of the benchmark is too small for this objective to be
        judged.
        """
        if given < least:
            raise ValueError(
                f"{self.title} needs benchmark.{key} to be {least} or more, and it is {given};"
                " raise it, or take the objective out"
            )

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"no such metric; {nearest(metric, METRICS)}")
        return metric

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        kind = self.kind
        if self.statistic and self.statistic not in kind.statistics:
            if self.statistic in ("p99", "p99.9", "p999") and kind.statistics:
                raise ValueError(
                    f"statistic {self.statistic} cannot be judged: its bound needs tens of"
                    " thousands of pairs; use p95, over_slo, or metric longest_gap"
                )
            allowed = (
                f"use one of {', '.join(kind.statistics)}"
                if kind.statistics
                else f"{self.metric} is one number; leave statistic out"
            )
            raise ValueError(
                f"statistic {self.statistic} is not known for {self.metric}; {allowed}"
            )
        if kind.statistics and not self.statistic:
            raise ValueError(f"statistic is missing; use one of {', '.join(kind.statistics)}")
        if (self.statistic == "over_slo") != (self.slo is not None):
            raise ValueError(
                "slo is missing; add the seconds that a request should take at most"
                if self.slo is None
                else "slo belongs to statistic over_slo"
            )
        if self.scope not in kind.scopes:
            raise ValueError(
                f"scope {self.scope} is not known for {self.metric}, which compares with the"
                " baseline already; leave scope out"
            )
        if self.better_by is not None:
            if self.scope != "vs_live" or self.comparison != "ratio":
                raise ValueError(
                    "better_by compares with live as a ratio; use it with scope: vs_live, and not"
                    " with error_rate or over_slo"
                )
            if self.max is not None or self.min is not None:
                raise ValueError(
                    "has better_by and a limit; better_by is a limit itself, so leave max and min"
                    " out"
                )
            return self
        if self.max is None and self.min is None:
            raise ValueError("the limit is missing; add max: or min:")
        if self.max is not None and self.min is not None:
            raise ValueError("has both max and min; make two objectives of it")
        if self.scope == "vs_live" and self.comparison == "ratio" and self.limit <= 0:
            raise ValueError(
                f"limit {self.limit:g} is not a ratio; 1.10 means at most 10% more than live"
            )
        return self


class Bake(Part):
    """The bake: the watch after a switch, with the old color as control."""

    seconds: Number = Field(
        0, ge=0, le=7 * 86_400, description="Seconds for which the new live color is probed."
    )
    max_errors: Count = Field(
        0,
        ge=0,
        description=(
            "Number of failed probes that are tolerated, and 2 more for each that only the old"
            " color fails."
        ),
    )
    probes_per_second: Number = Field(
        2,
        gt=0,
        le=50,
        description=(
            "Pairs of probes per second: the same short prompt to both colors, in random order."
        ),
    )
    max_slower: Number | None = Field(
        None,
        gt=1,
        le=100,
        description=(
            "Maximum ratio of the new color's latency to the old one's. Default: not compared."
        ),
    )
    confidence: Confidence = Field(
        0.99,
        description=(
            "One-sided confidence with which the latency ratio must exceed max_slower for a"
            " rollback. It holds over the whole bake."
        ),
    )
    largest_ratio: Number = Field(
        1.3,
        gt=1,
        le=100,
        description=(
            "Each pair of probes counts as at most this many times above or below max_slower, so"
            " that one stall or failure proves nothing."
        ),
    )
    reference_pairs: Count = Field(
        0,
        le=1000,
        description=(
            "Number of pairs of probes before the switch, which show how much the load slows the"
            " color that has it. 0: the load is not accounted for."
        ),
    )
    max_seconds: Number | None = Field(
        None, gt=0, description="Seconds after which a probe counts as failed. Default: 60."
    )
    keep_warm_seconds: Number = Field(
        KEEP_WARM_SECONDS,
        ge=0,
        le=30 * 86_400,
        description=(
            "Seconds for which the old color stays up for an instant rollback. Then a cluster"
            " scales it to zero."
        ),
    )

    @field_validator("reference_pairs")
    @classmethod
    def _check_reference_pairs(cls, pairs: int) -> int:
        if 0 < pairs < MIN_REFERENCE_PAIRS:
            raise ValueError(
                f"is too few for a bound; write {MIN_REFERENCE_PAIRS} or more, or 0 for a service"
                " that load does not slow"
            )
        return pairs


class Select(Part):
    """Which candidate of a sweep is deployed, of those that keep the objectives on quality."""

    prefer: Literal["speed", "memory", "size", "cost", "quality"] = Field(
        "speed",
        description=(
            "What is weighed against the mean KL divergence. speed, memory and cost are measured on"
            " the engine alone, in the step that evaluates."
        ),
    )
    within: Number = Field(
        0.05,
        ge=0,
        lt=1,
        description=(
            "Share by which a candidate may be worse than the best one and still count as equally"
            " good; among those the lowest KL divergence decides."
        ),
    )


class Gate(Part):
    """A gate file."""

    name: str = Field(min_length=1)
    confidence: Confidence = Field(
        description="One-sided confidence of the bounds of objectives that do not set their own."
    )
    objectives: list[Objective] = Field(min_length=1)
    select: Select = Select()
    benchmark: Plan = Plan()
    bake: Bake = Bake()

    @model_validator(mode="before")
    @classmethod
    def _pass_on_confidence(cls, values: Any) -> Any:
        """Objectives without a confidence of their own take the gate's."""
        if not isinstance(values, dict):
            raise ValueError(
                "holds no keys; write name:, confidence: and objectives:, as the gate `default`"
                " does"
            )
        if isinstance(values.get("objectives"), list) and "confidence" in values:
            shared = {"confidence": values["confidence"]}
            return values | {
                "objectives": [
                    shared | entry if isinstance(entry, dict) else entry
                    for entry in values["objectives"]
                ]
            }
        return values

    @model_validator(mode="after")
    def _check_can_be_judged(self) -> Self:
        """Refuse a benchmark that could never show what an objective asks for."""
        titles: set[str] = set()
        for objective in self.objectives:
            if objective.title in titles:
                raise ValueError(
                    f"two objectives are called {objective.title!r}; give one of them a name:"
                )
            titles.add(objective.title)
            if objective.statistic in PERCENTILES:
                needed = -(-100 * MIN_TAIL_PAIRS // (100 - PERCENTILES[objective.statistic]))
                objective.need("pairs", self.benchmark.pairs, needed)
            if objective.kind.source == "blocks":
                objective.need(
                    "throughput_blocks", self.benchmark.throughput_blocks, MIN_BLOCK_PAIRS
                )
            if objective.metric in ("itl", "longest_gap"):
                objective.need("max_tokens", self.benchmark.max_tokens, 2)
        return self

    @property
    def digest(self) -> str:
        """sha256 over what the gate says; comments and order of keys do not matter."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_gate(gate: str) -> Gate:
    """Read and check a gate.

    Args:
        gate: the name of a shipped gate, a path, a gs:// URI, or the YAML itself.

    Raises:
        InputError: names the key, its value and what to write instead.
    """
    return load_yaml("gate", gate, Gate, "gates")


def read_recorded(gate: str) -> Gate:
    """The gate that a decision holds as JSON. Fields that a newer version has added are left out
    with a warning, as in other records; in a gate file they are refused.

    Raises:
        IntegrityError: it is no gate.
    """
    try:
        return Gate.model_validate_json(gate)
    except ValidationError as error:
        raise IntegrityError(
            f"the decision does not hold a gate that this version can read"
            f" ({error.errors()[0]['msg']}). Name one with --gate."
        ) from None


def shipped_gates() -> list[str]:
    return shipped("gates")
