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
    limits: str = Field(
        "", description="Limits on quality from the gate, for a method that searches."
    )
    attempt: str = Field(
        "",
        description=(
            "When a candidate of a sweep last failed. It is part of the cache key, so that the"
            " failure is not reused."
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
        description=("Folder below the history where reference leaves its record, shared by runs."),
    )
    candidates: list[PlannedCandidate] = Field(
        default_factory=list,
        description="Candidates that quantize makes and evaluate scores; several are a sweep.",
    )
    candidate_build: str = Field(
        "", description="Records of older runs: folder of the only candidate."
    )
    live_release_id: str = ""
    resolved_at: datetime = Field(
        default_factory=utc_now, description="When resolve ended; runs are sorted by it."
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
    size: int = Field(ge=0, description="Size in bytes.")
    sha256: str


class Metric(Part):
    """A point estimate and its two-sided confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95


class Trial(Part):
    """An artifact that a search made and looked at."""

    scheme: str = Field(description="The tried settings in words.")
    group_size: int = Field(description="Weights per scale. -1: one scale per channel.")
    ratio: float = Field(description="Share of the weights with 4 bits; the others have 8.")
    bytes: int = Field(description="Size of weights and graph in bytes.")
    metrics: dict[str, Metric] = Field(
        default_factory=dict,
        description=(
            "The metrics of an Evaluation, on calibration text. Empty: too large to be scored."
        ),
    )
    passed: bool = Field(
        description="Within the limits, and smaller than all earlier ones that passed."
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
    made: str = Field(
        "",
        description=(
            "How a baseline was made of what the source holds, such as `dequantized from GGUF Q4_1"
            " (model.gguf)`. Empty: its files are the source's own."
        ),
    )
    format: Format
    method: str = "none"
    bits: int = Field(16, description="Bits per weight; 16 or 32 is full precision.")
    digest: str = Field(description="sha256 over the sorted lines `sha256  path` of all files.")
    files: dict[str, FileEntry]
    bytes: int = Field(description="Size of all files together.")
    seconds: float = Field(0.0, description="Duration of the step.")
    peak_memory_bytes: int = 0
    libraries: dict[str, str] = Field(
        default_factory=dict, description="Versions of the libraries that made it, by name."
    )
    search: list[Trial] = Field(
        default_factory=list,
        description=(
            "Trials of a method that searches, in order. The last that passed is this model."
        ),
    )
    reload_seconds: float = Field(
        0.0, description="Part of `seconds` that the check in a fresh process took."
    )
    reload_kl: float = Field(
        0.0,
        description=(
            "Of a candidate: KL divergence in nats from the model in memory to the one reloaded in"
            " a fresh process."
        ),
    )
    quantized_share: float | None = Field(
        None,
        description=(
            "Of a candidate: share of the linear weights, by their bytes in the baseline, that have"
            " the bits that were asked for. Embeddings and output layer are left out. None: nothing"
            " is quantized, or an older record."
        ),
    )


class Failure(Record):
    """Stands where the artifact of a candidate would: it could not be made or scored, and a sweep
    goes on without it.
    """

    candidate: str = Field(description="Method and bits, such as `gptq:4`.")
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
        description="Output tokens of all requests together; median of the rounds."
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
    """How a baseline answered a task. `tasks.parquet` beside its record holds a row per item."""

    name: str
    few_shot: int = Field(description="Other items that were shown, with answers, before each.")
    chat_template: bool = Field(
        description="Whether the items were put through the model's chat template."
    )
    items: int
    accuracy: float = Field(description="Share of items that were answered right.")
    accuracy_stderr: float


class TaskResult(Part):
    """A task, answered by the candidate and by its baseline. `tasks.parquet` beside the record
    holds a row per item.
    """

    name: str
    metric: str = "acc"
    few_shot: int = 0
    chat_template: bool = False
    items: int
    accuracy: float = Field(description="Share of items that the candidate answered right.")
    accuracy_stderr: float
    baseline_accuracy: float
    baseline_stderr: float
    right_to_wrong: int = Field(
        description="Items that the baseline answered right and the candidate wrong."
    )
    wrong_to_right: int


class Reference(Record):
    """What a baseline predicts for a text, computed once for all candidates. `logprobs.f16` beside
    it holds 16 bits per token and kept entry of the vocabulary.
    """

    baseline_digest: str
    text_digest: str = Field(description="sha256 of the file of texts.")
    documents: int
    tokens: int = Field(description="Number of scored tokens.")
    vocabulary: int = Field(description="Number of tokens that the model predicts among.")
    window: int = Field(description="Maximum number of tokens that are read at once.")
    opening: list[int] = Field(
        description="What the tokenizer puts before and after an empty text."
    )
    start: int = Field(description="Id of the token that each window begins with.")
    bytes: int = Field(description="Size of the log-probabilities.")
    digests: dict[str, str] = Field(
        default_factory=dict, description="sha256 of the files of log-probabilities, by name."
    )
    kept: int = Field(
        0, description="Likeliest entries of the vocabulary that are kept per token. 0: all."
    )
    drawn: int = Field(
        0, description="Entries that are drawn from the others per token, by their probability."
    )
    rest: float = Field(0.0, description="Mean probability of the entries that are not kept.")
    kl_error: float = Field(
        0.0,
        description=(
            "Standard error that the draws add to kl_mean, of a candidate whose log-probabilities"
            " of the entries that are not kept vary by 1 nat about the baseline's."
        ),
    )
    tasks: list[TaskScore] = Field(
        default_factory=list,
        description="Scores of the baseline on the tasks that candidates are asked too.",
    )
    tasks_asked: str = Field(
        "",
        description=(
            "The tasks as the user named them. Copies of files lie in the folder `tasks/` beside"
            " the record."
        ),
    )
    tasks_digest: str = Field("", description="Digest of what the tasks ask.")
    task_limit: int = 0
    few_shot: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class Golden(Part):
    """A prompt, and what the candidate answered when it was evaluated: greedily, as far as it was
    sure.
    """

    prompt: str
    tokens: int = Field(ge=1, description="Number of tokens of the answer.")
    text: str


class Evaluation(Record):
    """Candidate against baseline on held-out text, token by token. `documents.parquet` holds a row
    per document, `tokens.parquet` a row per token.
    """

    baseline_digest: str
    candidate_digest: str
    documents: int
    tokens: int = Field(description="Number of scored tokens.")
    candidate: ScoredCandidate = ScoredCandidate()
    metrics: dict[str, Metric] = Field(
        description=(
            "perplexity, baseline_perplexity, perplexity_ratio, bits_per_byte, kl_mean, kl_p99"
            " (nats), top1_agreement."
        )
    )
    kl_error: float = Field(
        0.0,
        description=(
            "Standard error of kl_mean, in nats, from entries of the vocabulary that the reference"
            " does not keep. The interval of kl_mean contains it."
        ),
    )
    golden: list[Golden] = Field(
        default_factory=list,
        description="Prompts and answers by which a server of the candidate is checked.",
    )
    tasks: list[TaskResult] = Field(
        default_factory=list, description="Questions with right answers, answered by both."
    )
    seconds: float = 0.0
