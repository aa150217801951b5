"""What was decided and why, and what came of it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from greenlight.core.records.base import Action, Part, Record, Verdict, utc_now
from greenlight.core.records.models import Metric, Speed
from greenlight.core.records.serving import Deployment, Release

KEEP_WARM_SECONDS = 1800.0
"""How long the old color stays up for an instant rollback, where a gate does not say otherwise."""


class ObjectiveResult(Part):
    """One line of a gate, judged."""

    name: str
    metric: str
    scope: Literal["absolute", "vs_live"]
    comparison: str = Field(description="The comparison in words: `<= 1.10 x live`, `<= 0.05`.")
    estimate: float | None
    bound: float | None = Field(description="The confidence bound that was judged.")
    limit: float
    confidence: float
    unit: str = ""
    status: Literal["pass", "fail", "inconclusive"]
    reason: str


class Look(Part):
    """One planned look of the gate at the pairs measured until then."""

    pairs: int = Field(description="Number of pairs that were measured by then.")
    fraction: float = Field(description="Share of the planned pairs.")
    passed: int
    failed: int
    verdict: Verdict = Field(
        description="Verdict of this look; the first that is not inconclusive decides."
    )
    bounds: list[float | None] = Field(
        default_factory=list,
        description=(
            "Confidence bound of each objective at this look, in their order. None: not judged."
        ),
    )


class BakeTest(Part):
    """How a bake compares the new live color with its control: what the gate file says of it."""

    probes_per_second: float = 1.0
    max_slower: float | None = Field(
        None, description="Times the control's latency. None: not compared."
    )
    confidence: float = 0.99
    largest_ratio: float = 1.3
    reference_pairs: int = 0
    max_seconds: float | None = Field(
        None, description="A probe that takes longer has failed. None: that of the target."
    )


class BakeReference(Part):
    """The colors compared before a switch, in ln(new / old): new is idle then, old has the load."""

    pairs: int
    lower: float = Field(description="Lower confidence bound of its middle.")


class BakeResult(Part):
    """What a bake saw beside failed probes: pairs of probes to the new live color and its
    control.
    """

    pairs: int
    control_errors: int = Field(0, description="Pairs of which the control's probe alone failed.")
    ratio: float | None = Field(
        None,
        description=(
            "Latency of the new color over the control's, beyond what load explains: the median."
            " None: no pairs."
        ),
    )
    bound: float | None = Field(
        None,
        description=(
            "It is at least this, whenever one looks; drawn towards the limit by the clipping."
        ),
    )
    limit: float | None = Field(None, description="None: latency was not compared.")
    load: float = Field(
        1.0,
        description=(
            "How many times slower the loaded color was than the idle one before the switch, at"
            " most: taken as due to load."
        ),
    )
    not_compared: str = Field("", description="Why latency was not compared, or not to the end.")

    @property
    def sentence(self) -> str:
        """For people. Empty when there is nothing to say."""
        if self.limit is None or self.ratio is None or self.bound is None:
            return self.not_compared
        load = f", beyond the {self.load:.2f}x that load explains" if self.load > 1 else ""
        sure = f"for certain at least {self.bound:.2f}x; " if self.bound > self.limit else ""
        said = (
            f"In {self.pairs} pairs it took {self.ratio:.2f}x as long as the old color{load};"
            f" {sure}the limit is {self.limit:g}x."
        )
        return f"{said} {self.not_compared}".rstrip()


class Decision(Record):
    """What the gate says, and from what."""

    verdict: Verdict
    action: Action
    reason: str
    objectives: list[ObjectiveResult]
    deployment: Deployment
    gate_name: str
    gate_digest: str
    gate: str = Field("", description="The gate as JSON, whole, for a replay.")
    looks: list[Look] = Field(
        default_factory=list, description="Looks in order, up to the one that decided."
    )
    planned_pairs: int = 0
    evaluation_uri: str = Field("", description="Folder or prefix of the Evaluation artifact.")
    benchmark_uri: str = Field("", description="Folder or prefix of the BenchmarkResult artifact.")
    evaluation_digest: str = Field(description="sha256 of the Evaluation record judged.")
    benchmark_digest: str = Field(description="sha256 of the BenchmarkResult record judged.")
    bake_seconds: float = 0.0
    bake_max_errors: int = 0
    bake_test: BakeTest = BakeTest()
    keep_warm_seconds: float = KEEP_WARM_SECONDS
    code_version: str = ""
    decided_at: datetime = Field(default_factory=utc_now)


class Contender(Part):
    """One candidate of a sweep, as `select` saw it."""

    name: str
    status: Literal["chosen", "passed", "refused", "failed"] = Field(
        description=(
            "refused: an objective on its quality is not kept. failed: it could not be made."
        )
    )
    reason: str = Field(description="Why it was not chosen, or why it was.")
    on_front: bool = Field(
        False, description="No other that passed is better in quality and in what the gate prefers."
    )
    kl: Metric | None = None
    bytes: int = 0
    speed: Speed | None = None
    cost_per_million_tokens: float | None = Field(
        None, description="USD, at the workload's price and the speed measured here."
    )
    objectives: list[ObjectiveResult] = Field(
        default_factory=list, description="The gate's objectives on quality, judged."
    )


class Selection(Record):
    """Which candidate of a sweep is deployed, and why."""

    chosen: str = Field(description="Method and bits, such as `optimum:8`.")
    index: int = Field(
        description="Of the chosen one, among the evaluations that `select` was given."
    )
    digest: str
    prefer: str = Field(
        "",
        description=(
            "What the gate prefers among those that pass. Empty: there was one candidate only."
        ),
    )
    reason: str
    contenders: list[Contender]


class CalibratedObjective(Part):
    """What a service's own noise means for one objective of a gate."""

    name: str
    phrase: str = Field(
        description="Metric and statistic in words: names the noise for other gates."
    )
    noise: float | None = Field(
        description="See greenlight.gate.power. None: it could not be measured."
    )
    needed: int | None = Field(
        None,
        description=(
            "Pairs, throughput windows or requests per color with which an equal model passes as"
            " planned."
        ),
    )
    budget: int | None = Field(None, description="How many of them the gate measures.")
    limit: float
    resolvable: float | None = Field(
        None, description="The limit nearest to equal that the budget can show."
    )
    enough: bool
    reason: str


class Calibration(Record):
    """Live measured against itself: what a gate can and cannot know of this service."""

    service: str
    target: str
    release_id: str
    digest: str
    gate_name: str
    gate_digest: str
    workload: str = Field("short", description="Name of the workload that was sent.")
    pairs: int = Field(description="Measured pairs of all runs together.")
    runs: int
    budget: int = Field(description="Pairs that the gate measures.")
    objectives: list[CalibratedObjective]
    judged: int = Field(
        description="Equal models made of the measured pairs, each judged by the gate."
    )
    promoted: float = Field(description="Share of the equal models that were promoted.")
    rejected: float = Field(description="Share that was rejected: false alarms.")
    inconclusive: float
    pairs_used: float = Field(description="Mean share of the budget until a verdict.")
    resolvable: bool = Field(
        description="Whether this gate can promote an equal model here, often enough."
    )
    reason: str
    calibrated_at: datetime = Field(default_factory=utc_now)
    code_version: str = ""


class Promotion(Record):
    """What happened to the traffic."""

    outcome: Literal["promoted", "rolled_back", "retired", "already_live"]
    live: Release
    previous: Release | None = None
    switched_at: datetime | None = None
    probes: int = 0
    errors: int = 0
    bake: BakeResult | None = Field(None, description="None: no bake.")
    reason: str = ""


class ReportSummary(Record):
    """What a run came to, small: for KFP Metrics, and for lists of runs."""

    outcome: str = Field(description="One of greenlight.core.history.OutcomeName.")
    headline: str = Field(description="The verdict in one line.")
    scalars: dict[str, float] = Field(
        description="Finite numbers only. A number that was not measured is not there."
    )
    unreadable: list[str] = Field(
        default_factory=list, description="What the report could not read, and why."
    )
