"""Models: what is to be made, what was made, and how good it is."""

from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from greenlight.core.records.base import RECORD_FILE, Format, Part, Record, utc_now

WITHOUT_BITS = ("none", "smallest")
"""Methods that leave no bits to choose."""


class PlannedCandidate(Part):
    """A way to make a candidate, as `resolve` hands it to the loop of the DAG."""

    method: str
    bits: int
    build: str = Field(
        description=(
            "Folder below the history where quantize leaves its record, shared by runs. Records of"
            " older runs: evaluate too."
        )
    )
    evaluation_build: str = Field(
        "",
        description=(
            "Folder below the history where evaluate leaves its record, shared by runs. Empty in"
            " records of older runs: the folder of quantize."
        ),
    )
    limits: str = Field("", description="On quality, from the gate, for a method that searches.")
    attempt: str = Field(
        "",
        description=(
            "When it last failed, of a sweep: makes a step that failed then run again, which a"
            " cache would not."
        ),
    )

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
    checkpoint: str = Field(
        "",
        description=(
            "The newest complete checkpoint, when the source is a prefix that holds several."
        ),
    )
    commit: str
    fingerprint: str = Field(
        description="Digest of commit, settings and code. Equal to live's: nothing new."
    )
    source_build: str = Field(
        "", description="Folder below the history where download leaves its record, shared by runs."
    )
    reference_build: str = Field(
        "",
        description=(
            "Where reference leaves its record: named by the source and by what the text holds."
        ),
    )
    candidates: list[PlannedCandidate] = Field(
        default_factory=list,
        description="That quantize makes and evaluate scores; more than one is a sweep.",
    )
    candidate_build: str = Field(
        "", description="Of the only candidate, in the records of older runs."
    )
    live_release_id: str = ""
    resolved_at: datetime = Field(
        default_factory=utc_now, description="Orders the runs of a history."
    )

    @property
    def loop(self) -> list[dict[str, str]]:
        """What the DAG's loop goes over. Text only: numbers in lists come back as doubles from some
        backends.
        """
        several = "yes" if len(self.candidates) > 1 else ""
        names = ("method", "bits", "limits", "build", "evaluation_build", "attempt")
        return [
            {name: str(getattr(each, name)) for name in names} | {"sweep": several}
            for each in self.candidates
        ]

    @property
    def candidate_builds(self) -> list[str]:
        """Where quantize leaves its records."""
        return [each.build for each in self.candidates] or (
            [self.candidate_build] if self.candidate_build else []
        )

    @property
    def evaluation_builds(self) -> list[str]:
        """Where evaluate leaves its records, in the order of `candidate_builds`."""
        return [
            each.evaluation_build or each.build for each in self.candidates
        ] or self.candidate_builds


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
    metrics: dict[str, Metric] = Field(
        default_factory=dict,
        description=(
            "As of an Evaluation, on calibration text. Empty: it was too large to be scored."
        ),
    )
    passed: bool = Field(
        description="Smaller than every one before that passed, and within the limits."
    )
    too_large: bool = False
    reason: str


class Model(Record):
    """A model on disk, baseline or candidate. Its files lie in the folder `model/` beside the
    record.
    """

    role: Literal["baseline", "candidate"]
    source: str = Field(description="The model as the user named it.")
    commit: str = Field(
        description="Hub commit, or content digest for folders, buckets and the built-in model."
    )
    format: Format
    method: str = "none"
    bits: int = Field(16, description="Bits a weight. 16 or 32 for full precision.")
    digest: str = Field(description="sha256 over the sorted lines `sha256  path` of all files.")
    files: dict[str, FileEntry]
    bytes: int = Field(description="Of all files together.")
    seconds: float = Field(0.0, description="That the step took.")
    peak_memory_bytes: int = 0
    libraries: dict[str, str] = Field(
        default_factory=dict, description="Name to version of what made it."
    )
    search: list[Trial] = Field(
        default_factory=list,
        description=(
            "What a method that searches has tried, in order. The last that passed is this model."
        ),
    )
    reload_seconds: float = Field(
        0.0, description="Of a candidate: of `seconds`, what checking it in a fresh process took."
    )
    reload_kl: float = Field(
        0.0,
        description=(
            "Of a candidate: KL divergence in nats from the model in memory to the one reloaded in"
            " a fresh process."
        ),
    )


class Failure(Record):
    """Stands where the artifact of a candidate would: it could not be made or scored, and a sweep
    goes on without it.
    """

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
    """How fast a candidate decodes by itself: loaded by its engine on the machine of the step that
    scores it, without a server.
    """

    engine: str
    tokens_per_second: float = Field(
        description="Of all requests together; median of the repetitions."
    )
    concurrency: int = Field(description="Requests decoded together.")
    load_seconds: float
    memory_bytes: int = Field(
        description="Peak of the engine's process, and of the GPU where it uses one."
    )


class ScoredCandidate(Part):
    """The candidate that an Evaluation is of: what `select` and the report need to know without its
    files.
    """

    uri: str = ""
    method: str = "none"
    bits: int = 16
    format: Format = "safetensors"
    bytes: int = 0
    speed: Speed | None = Field(
        None, description="None: not a sweep, so there is nothing to choose from."
    )

    @property
    def name(self) -> str:
        return recipe_name(self.method, self.bits)


class TaskScore(Part):
    """How a baseline answered a task. `tasks.parquet` beside its record holds a row an item."""

    name: str
    few_shot: int = Field(description="Items with their answers that were shown before each.")
    chat_template: bool = Field(
        description="Whether the items were put through the model's chat template."
    )
    items: int
    accuracy: float = Field(description="Share that was answered right.")
    accuracy_stderr: float


class TaskResult(Part):
    """A task, answered by the candidate and by its baseline. `tasks.parquet` beside the record
    holds a row an item.
    """

    name: str
    metric: str = "acc"
    few_shot: int = 0
    chat_template: bool = False
    items: int
    accuracy: float = Field(description="Share that the candidate answered right.")
    accuracy_stderr: float
    baseline_accuracy: float
    baseline_stderr: float
    right_to_wrong: int = Field(
        description="Items that the baseline answered right and the candidate wrong."
    )
    wrong_to_right: int


class Reference(Record):
    """What a baseline predicts for a text, computed once for all candidates. `logprobs.f16` beside
    it holds 16 bits a token and entry of the vocabulary.
    """

    baseline_digest: str
    text_digest: str = Field(description="sha256 of the file of texts.")
    documents: int
    tokens: int = Field(description="Scored tokens.")
    vocabulary: int = Field(description="Entries that the model predicts.")
    window: int = Field(description="Most tokens that are read at once.")
    opening: list[int] = Field(
        description="What the tokenizer puts before and after an empty text."
    )
    start: int = Field(description="Token that each window begins with.")
    bytes: int = Field(description="Of the log-probabilities.")
    tasks: list[TaskScore] = Field(
        default_factory=list,
        description="That the baseline was asked, and candidates are to be asked.",
    )
    tasks_asked: str = Field(
        "",
        description=(
            "The tasks as the user named them. Copies of files lie in the folder `tasks/` beside"
            " the record."
        ),
    )
    tasks_digest: str = Field("", description="Of what they ask.")
    task_limit: int = 0
    few_shot: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class Golden(Part):
    """A prompt, and what the candidate answered when it was evaluated: greedily, as far as it was
    sure.
    """

    prompt: str
    tokens: int = Field(ge=1, description="Of the answer.")
    text: str


class Evaluation(Record):
    """Candidate against baseline on held-out text, token by token. `documents.parquet` holds a row
    a document, `tokens.parquet` a row a token.
    """

    baseline_digest: str
    candidate_digest: str
    documents: int
    tokens: int = Field(description="Scored tokens.")
    candidate: ScoredCandidate = ScoredCandidate()
    metrics: dict[str, Metric] = Field(
        description=(
            "perplexity, baseline_perplexity, perplexity_ratio, bits_per_byte, kl_mean, kl_p99"
            " (nats), top1_agreement."
        )
    )
    golden: list[Golden] = Field(
        default_factory=list,
        description="What every server of the candidate is asked, and must answer.",
    )
    tasks: list[TaskResult] = Field(
        default_factory=list, description="Questions with right answers, answered by both."
    )
    seconds: float = 0.0
