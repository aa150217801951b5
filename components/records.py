"""The typed records that pass from room to room.

A record is the payload of one artifact: `record.json` in the artifact's folder, written last, so that a folder with a
readable record is a complete one. Raw samples lie beside it as Parquet; the files of a model lie in `model/`.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import IntegrityError

RECORD_FILE = "record.json"
MODEL_FOLDER = "model"

Color = Literal["blue", "green"]
Format = Literal["safetensors", "bitsandbytes", "compressed-tensors", "openvino"]
Verdict = Literal["promote", "reject", "inconclusive"]
Action = Literal["promote", "hold", "retire"]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Part(BaseModel):
    """A piece of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Record(Part):
    """The payload of one artifact."""

    schema_version: Literal[1] = 1

    def save(self, folder: Path | str) -> Path:
        """Write `record.json` into `folder`, atomically and durably. Call it after everything else in there is written."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / RECORD_FILE
        partial = folder / f".{RECORD_FILE}.partial"
        with open(partial, "w") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        return path

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the record of an artifact's folder.

        Raises:
            IntegrityError: there is no record (the artifact is incomplete) or it is not one of this kind.
        """
        path = Path(folder) / RECORD_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise IntegrityError(f"{folder} holds no {RECORD_FILE}: it is not a complete {cls.__name__} artifact. Run the step that makes it again.") from None
        except ValidationError as error:
            raise IntegrityError(
                f"{path} is not a {cls.__name__} record ({error.error_count()} problems, first: {error.errors()[0]['msg']}). Run the step that makes it again."
            ) from None


WITHOUT_BITS = ("none", "smallest")
"""Methods that leave no bits to choose."""


class PlannedCandidate(Part):
    """A way to make a candidate, as `resolve` hands it to the loop of the DAG."""

    method: str
    bits: int
    build: str = Field(description="Folder below the history where quantize and evaluate leave their records, shared by runs.")
    limits: str = Field("", description="On quality, from the gate, for a method that searches.")
    attempt: str = Field("", description="When it last failed, of a sweep: makes a step that failed then run again, which a cache would not.")

    @property
    def name(self) -> str:
        return recipe_name(self.method, self.bits)


def recipe_name(method: str, bits: int) -> str:
    """As people write it: `optimum:8`; some have no bits to choose."""
    return method if method in WITHOUT_BITS else f"{method}:{bits}"


class Resolution(Record):
    """What `resolve` found: the exact source, and whether there is anything new to do."""

    verdict: Literal["new", "up_to_date"]
    reason: str
    source: str
    checkpoint: str = Field("", description="The newest complete checkpoint, when the source is a prefix that holds several.")
    commit: str
    fingerprint: str = Field(description="Digest of commit, settings and code. Equal to live's: nothing new.")
    source_build: str = Field("", description="Folder below the history where download leaves its record, shared by runs.")
    reference_build: str = Field("", description="Where reference leaves its record: named by the source and by what the text holds.")
    candidates: list[PlannedCandidate] = Field(default_factory=list, description="That quantize makes and evaluate scores; more than one is a sweep.")
    candidate_build: str = Field("", description="Of the only candidate, in the records of older runs.")
    live_release_id: str = ""
    resolved_at: datetime = Field(default_factory=utc_now, description="Orders the runs of a history.")

    @property
    def loop(self) -> list[dict[str, str]]:
        """What the DAG's loop goes over. Text only: numbers in lists come back as doubles from some backends."""
        several = "yes" if len(self.candidates) > 1 else ""
        names = ("method", "bits", "limits", "build", "attempt")
        return [{name: str(getattr(each, name)) for name in names} | {"sweep": several} for each in self.candidates]

    @property
    def candidate_builds(self) -> list[str]:
        return [each.build for each in self.candidates] or ([self.candidate_build] if self.candidate_build else [])


class FileEntry(Part):
    size: int = Field(ge=0, description="Bytes.")
    sha256: str


class Metric(Part):
    """A point estimate and its two-sided confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95


class Trial(Part):
    """An artifact that a search made and looked at."""

    scheme: str = Field(description="For people.")
    group_size: int = Field(description="Weights that share a scale. -1: those of a channel.")
    ratio: float = Field(description="Share of the weights that have 4 bits; the rest has 8.")
    bytes: int = Field(description="Of the weights and the graph.")
    metrics: dict[str, Metric] = Field(default_factory=dict, description="As of an Evaluation, on calibration text. Empty: it was too large to be scored.")
    passed: bool = Field(description="Smaller than every one before that passed, and within the limits.")
    too_large: bool = False
    reason: str


class Model(Record):
    """A model on disk, baseline or candidate. Its files lie in the folder `model/` beside the record."""

    role: Literal["baseline", "candidate"]
    source: str = Field(description="The model as the user named it.")
    commit: str = Field(description="Hub commit, or content digest for folders, buckets and the built-in model.")
    format: Format
    method: str = "none"
    bits: int = Field(16, description="Bits a weight. 16 or 32 for full precision.")
    digest: str = Field(description="sha256 over the sorted lines `sha256  path` of all files.")
    files: dict[str, FileEntry]
    bytes: int = Field(description="Of all files together.")
    seconds: float = Field(0.0, description="That the step took.")
    peak_memory_bytes: int = 0
    libraries: dict[str, str] = Field(default_factory=dict, description="Name to version of what made it.")
    search: list[Trial] = Field(default_factory=list, description="What a method that searches has tried, in order. The last that passed is this model.")
    reload_seconds: float = Field(0.0, description="Of a candidate: of `seconds`, what checking it in a fresh process took.")
    reload_kl: float = Field(0.0, description="Of a candidate: KL divergence in nats from the model in memory to the one reloaded in a fresh process.")


class Failure(Record):
    """Stands where the artifact of a candidate would: it could not be made or scored, and a sweep goes on without it."""

    candidate: str = Field(description="As people write it: `gptq:4`.")
    step: str
    error: str
    message: str

    @classmethod
    def find(cls, folder: Path | str) -> Self | None:
        """The failure that lies in an artifact's folder. None: something else does."""
        try:
            return cls.model_validate_json((Path(folder) / RECORD_FILE).read_bytes())
        except (OSError, ValidationError):
            return None


class Speed(Part):
    """How fast a candidate decodes by itself: loaded by its engine on the machine of the step that scores it, without a server."""

    engine: str
    tokens_per_second: float = Field(description="Of all requests together; median of the repetitions.")
    concurrency: int = Field(description="Requests decoded together.")
    load_seconds: float
    memory_bytes: int = Field(description="Peak of the engine's process, and of the GPU where it uses one.")


class ScoredCandidate(Part):
    """The candidate that an Evaluation is of: what `select` and the report need to know without its files."""

    uri: str = ""
    method: str = "none"
    bits: int = 16
    format: Format = "safetensors"
    bytes: int = 0
    speed: Speed | None = Field(None, description="None: not a sweep, so there is nothing to choose from.")

    @property
    def name(self) -> str:
        return recipe_name(self.method, self.bits)


class TaskScore(Part):
    """How a baseline answered a task. `tasks.parquet` beside its record holds a row an item."""

    name: str
    few_shot: int = Field(description="Items with their answers that were shown before each.")
    chat_template: bool = Field(description="Whether the items were put through the model's chat template.")
    items: int
    accuracy: float = Field(description="Share that was answered right.")
    accuracy_stderr: float


class TaskResult(Part):
    """A task, answered by the candidate and by its baseline. `tasks.parquet` beside the record holds a row an item."""

    name: str
    metric: str = "acc"
    few_shot: int = 0
    chat_template: bool = False
    items: int
    accuracy: float = Field(description="Share that the candidate answered right.")
    accuracy_stderr: float
    baseline_accuracy: float
    baseline_stderr: float
    right_to_wrong: int = Field(description="Items that the baseline answered right and the candidate wrong.")
    wrong_to_right: int


class Reference(Record):
    """What a baseline predicts for a text, computed once for all candidates. `logprobs.f16` beside it holds 16 bits a token and entry of the vocabulary."""

    baseline_digest: str
    text_digest: str = Field(description="sha256 of the file of texts.")
    documents: int
    tokens: int = Field(description="Scored tokens.")
    vocabulary: int = Field(description="Entries that the model predicts.")
    window: int = Field(description="Most tokens that are read at once.")
    opening: list[int] = Field(description="What the tokenizer puts before and after an empty text.")
    start: int = Field(description="Token that each window begins with.")
    bytes: int = Field(description="Of the log-probabilities.")
    tasks: list[TaskScore] = Field(default_factory=list, description="That the baseline was asked, and candidates are to be asked.")
    tasks_asked: str = Field("", description="The tasks as the user named them. Copies of files lie in the folder `tasks/` beside the record.")
    tasks_digest: str = Field("", description="Of what they ask.")
    task_limit: int = 0
    few_shot: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class Golden(Part):
    """A prompt, and what the candidate answered when it was evaluated: greedily, as far as it was sure."""

    prompt: str
    tokens: int = Field(ge=1, description="Of the answer.")
    text: str


class Evaluation(Record):
    """Candidate against baseline on held-out text, token by token. `documents.parquet` holds a row a document, `tokens.parquet` a row a token."""

    baseline_digest: str
    candidate_digest: str
    documents: int
    tokens: int = Field(description="Scored tokens.")
    candidate: ScoredCandidate = ScoredCandidate()
    metrics: dict[str, Metric] = Field(description="perplexity, baseline_perplexity, perplexity_ratio, bits_per_byte, kl_mean, kl_p99 (nats), top1_agreement.")
    golden: list[Golden] = Field(default_factory=list, description="What every server of the candidate is asked, and must answer.")
    tasks: list[TaskResult] = Field(default_factory=list, description="Questions with right answers, answered by both.")
    seconds: float = 0.0


class Instance(Part):
    """One serving process or pod."""

    name: str
    url: str
    pid: int = 0
    started: float = Field(0.0, description="Start time of the process in seconds since the epoch: tells a reused pid apart.")
    build: str = Field("", description="Of a pod: its template's hash and the digest of its image. Pods of one build are interchangeable.")


class Release(Record):
    """A model deployed to a color."""

    release_id: str
    color: Color
    service: str
    model_uri: str = Field(description="The folder or prefix of the Model artifact.")
    digest: str
    source: str
    commit: str
    method: str
    bits: int
    engine: str
    fingerprint: str = ""
    run_id: str = ""
    replicas: int = 1
    instances: list[Instance] = Field(default_factory=list)
    deployed_at: datetime = Field(default_factory=utc_now)

    @property
    def endpoints(self) -> list[str]:
        return [instance.url for instance in self.instances]


class Deployment(Record):
    """What `deploy_green` left: the candidate on the idle color, and the live release that it is to be measured against."""

    candidate: Release
    live: Release
    golden: list[Golden] = Field(default_factory=list, description="That every server of the candidate has answered as it did when it was evaluated.")


class LatencySummary(Part):
    """Percentiles in seconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict, description="By percentile, where it lies with 95% confidence (two-sided).")


class ColorSummary(Part):
    release_id: str = ""
    digest: str = ""
    requests: int
    errors: int
    errors_by_kind: dict[str, int] = Field(default_factory=dict, description="What went wrong, as `requests.parquet` names it in `error`, and how often.")
    output_tokens: int
    output_tokens_per_second: float = Field(description="Of the throughput blocks, at `concurrency`; median over blocks.")
    ttft: LatencySummary | None = Field(None, description="Time to first token.")
    itl: LatencySummary | None = Field(None, description="Inter-token latency: the mean gap between the tokens of a request.")
    tpot: LatencySummary | None = Field(None, description="Time per output token: from the first token to the last byte, over the tokens after the first.")
    gap: LatencySummary | None = Field(None, description="Every gap between tokens, of all requests together.")
    e2e: LatencySummary | None = Field(None, description="Send to last byte.")
    requests_per_second: float = Field(0.0, description="Of the pairs that were answered.")
    goodput_per_second: float = Field(0.0, description="Of the pairs that were answered and kept the SLO of the workload.")
    goodput: float = Field(1.0, description="Their share.")
    price_per_hour: float | None = Field(None, description="USD, of all servers of the color.")
    cost_per_million_tokens: float | None = Field(None, description="USD for a million output tokens at the throughput of the blocks.")


class GeneratorHealth(Part):
    """Whether the load generator itself kept up. Seconds and requests a second to each color."""

    workers: int = 1
    send_lag_p99: float = Field(0.0, description="How late requests of open loop were taken up.")
    loop_lag_p50: float = 0.0
    loop_lag_p99: float = Field(0.0, description="How late a generator came to what it should do; stamps of tokens may be late by as much.")
    loop_lag_max: float = 0.0
    asked_rate: float | None = Field(None, description="Of open loop.")
    achieved_rate: float | None = None


class BenchmarkResult(Record):
    """Candidate and live measured side by side. `requests.parquet` holds a row a request, `blocks.parquet` a row a throughput block."""

    complete: bool
    reason: str = Field("", description="Why it is not complete.")
    candidate: ColorSummary
    live: ColorSummary | None = None
    pairs: int = Field(description="Pairs in which both requests were sent.")
    concurrency: int
    max_tokens: int = Field(description="Output tokens of a request of a pair: all of them, or the most where the workload varies them.")
    block_tokens: int = Field(description="Output tokens of a request in a throughput block.")
    seed: int
    seconds: float
    stopped_at: int = Field(0, description="After how many pairs a planned look of the gate had decided, and the pairs were ended. 0: all were run.")
    workload: str = Field("", description="The workload as JSON, whole.")
    generator: GeneratorHealth = GeneratorHealth()
    samples_uri: str = Field("", description="Folder or prefix that holds the Parquet files.")
    requests_digest: str = Field("", description="sha256 of requests.parquet.")
    blocks_digest: str = Field("", description="sha256 of blocks.parquet.")


class ObjectiveResult(Part):
    """One line of a gate, judged."""

    name: str
    metric: str
    scope: Literal["absolute", "vs_live"]
    comparison: str = Field(description="For people: `<= 1.10 x live`, `<= 0.05`.")
    estimate: float | None
    bound: float | None = Field(description="The confidence bound that was judged.")
    limit: float
    confidence: float
    unit: str = ""
    status: Literal["pass", "fail", "inconclusive"]
    reason: str


class Look(Part):
    """One planned look of the gate at the pairs measured until then."""

    pairs: int = Field(description="That the look had.")
    fraction: float = Field(description="Of the planned pairs.")
    passed: int
    failed: int
    verdict: Verdict = Field(description="Of this look; the first that is not inconclusive ends it.")
    bounds: list[float | None] = Field(default_factory=list, description="Confidence bound of each objective at this look, in their order. None: not judged.")


class BakeTest(Part):
    """How a bake compares the new live color with its control: what the gate file says of it."""

    probes_per_second: float = 1.0
    max_slower: float | None = Field(None, description="Times the control's latency. None: not compared.")
    confidence: float = 0.99
    largest_ratio: float = 1.3
    reference_pairs: int = 0
    max_seconds: float | None = Field(None, description="A probe that takes longer has failed. None: that of the target.")


class BakeReference(Part):
    """The colors compared before a switch, in ln(new / old): new is idle then, old has the load."""

    pairs: int
    lower: float = Field(description="Lower confidence bound of its middle.")


class BakeResult(Part):
    """What a bake saw beside failed probes: pairs of probes to the new live color and its control."""

    pairs: int
    control_errors: int = Field(0, description="Pairs of which the control's probe alone failed.")
    ratio: float | None = Field(None, description="Latency of the new color over the control's, beyond what load explains: the median. None: no pairs.")
    bound: float | None = Field(None, description="It is at least this, whenever one looks; drawn towards the limit by the clipping.")
    limit: float | None = Field(None, description="None: latency was not compared.")
    load: float = Field(1.0, description="How many times slower the loaded color was than the idle one before the switch, at most: taken as due to load.")
    not_compared: str = Field("", description="Why latency was not compared, or not to the end.")

    @property
    def sentence(self) -> str:
        """For people. Empty when there is nothing to say."""
        if self.limit is None or self.ratio is None or self.bound is None:
            return self.not_compared
        load = f", beyond the {self.load:.2f}x that load explains" if self.load > 1 else ""
        sure = f"for certain at least {self.bound:.2f}x; " if self.bound > self.limit else ""
        said = f"In {self.pairs} pairs it took {self.ratio:.2f}x as long as the old color{load}; {sure}the limit is {self.limit:g}x."
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
    looks: list[Look] = Field(default_factory=list, description="In order, up to the one that decided.")
    planned_pairs: int = 0
    evaluation_uri: str = Field("", description="Folder or prefix of the Evaluation artifact.")
    benchmark_uri: str = Field("", description="The same of the BenchmarkResult.")
    evaluation_digest: str = Field(description="sha256 of the Evaluation record judged.")
    benchmark_digest: str = Field(description="sha256 of the BenchmarkResult record judged.")
    bake_seconds: float = 0.0
    bake_max_errors: int = 0
    bake_test: BakeTest = BakeTest()
    keep_warm_seconds: float = 1800.0
    code_version: str = ""
    decided_at: datetime = Field(default_factory=utc_now)


class Contender(Part):
    """One candidate of a sweep, as `select` saw it."""

    name: str
    status: Literal["chosen", "passed", "refused", "failed"] = Field(
        description="refused: an objective on its quality is not kept. failed: it could not be made."
    )
    reason: str = Field(description="Why it was not chosen, or why it was.")
    on_front: bool = Field(False, description="No other that passed is better in quality and in what the gate prefers.")
    kl: Metric | None = None
    bytes: int = 0
    speed: Speed | None = None
    cost_per_million_tokens: float | None = Field(None, description="USD, at the workload's price and the speed measured here.")
    objectives: list[ObjectiveResult] = Field(default_factory=list, description="Of the gate, those on quality.")


class Selection(Record):
    """Which candidate of a sweep is deployed, and why."""

    chosen: str = Field(description="As people write it: `optimum:8`.")
    index: int = Field(description="Of the chosen one, among the evaluations that `select` was given.")
    digest: str
    prefer: str = Field("", description="What the gate prefers among those that pass. Empty: there was one candidate only.")
    reason: str
    contenders: list[Contender]


class CalibratedObjective(Part):
    """What a service's own noise means for one objective of a gate."""

    name: str
    phrase: str = Field(description="Metric and statistic in words: names the noise for other gates.")
    noise: float | None = Field(description="See components.gate.power. None: it could not be measured.")
    needed: int | None = Field(None, description="Pairs, throughput blocks, or requests a color, with which an equal model passes as planned.")
    budget: int | None = Field(None, description="What the gate measures of them.")
    limit: float
    resolvable: float | None = Field(None, description="The limit nearest to equal that the budget can show.")
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
    pairs: int = Field(description="Measured, of all runs together.")
    runs: int
    budget: int = Field(description="Pairs that the gate measures.")
    objectives: list[CalibratedObjective]
    judged: int = Field(description="Equal models made of the measured pairs, each judged by the gate.")
    promoted: float = Field(description="Share of them.")
    rejected: float = Field(description="False alarms.")
    inconclusive: float
    pairs_used: float = Field(description="Mean share of the budget until a verdict.")
    resolvable: bool = Field(description="Whether this gate can promote an equal model here, often enough.")
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

    outcome: str = Field(description="One of components.history.Outcome.")
    headline: str = Field(description="The verdict in one line.")
    scalars: dict[str, float] = Field(description="Finite numbers only. A number that was not measured is not there.")
    unreadable: list[str] = Field(default_factory=list, description="What the report could not read, and why.")
