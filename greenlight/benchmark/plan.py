"""How much a benchmark measures, and of whom: the plan, which a gate file gives, and the sides."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from greenlight.core.records import Part

Role = Literal["candidate", "live"]
ROLES: tuple[Role, Role] = ("candidate", "live")

MAX_LOOKS = 20


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):  # YAML reads `yes` as a bool, and pydantic a bool as 1
        raise ValueError("a number is needed, not a yes or no")
    return value


Number = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_refuse_bool)]


class Plan(Part):
    """The sizes of a benchmark: the section `benchmark:` of a gate file. They decide what the gate
    can see.

    The defaults suit a small model with both colors on one machine, in half a minute. `users` is 1
    because the colors share its cores: with two users, a request to one color would be timed
    while the other color works, and the slower one would slow both. Where each color has machines
    of its own, more users make the run shorter.

    A block of pairs is what the gate resamples. A throughput window is another thing: a stretch of
    full load on one color, in which its output tokens are counted.
    """

    pairs: Count = Field(
        100,
        ge=1,
        le=1_000_000,
        description=(
            "Number of pairs of requests: the same prompt to both colors, one right after the"
            " other."
        ),
    )
    users: Count = Field(
        1, ge=1, le=1000, description="Number of users that send pairs at the same time."
    )
    pairs_per_block: Count = Field(
        5,
        ge=1,
        description=(
            "Number of pairs in a block: neighbours in time, which the gate resamples together"
            " because they share drift and bursts."
        ),
    )
    concurrency: Count = Field(
        8,
        ge=1,
        le=1000,
        description="Number of users that load one color in a throughput window.",
    )
    throughput_blocks: Count = Field(
        5,
        ge=0,
        le=10_000,
        description=(
            "Number of pairs of throughput windows: full load on one color, then on the other, in"
            " random order."
        ),
    )
    block_seconds: Number = Field(
        2.0,
        gt=0,
        le=3600,
        description="Seconds of each throughput window in which output tokens are counted.",
    )
    settle_seconds: Number = Field(
        0.25,
        ge=0,
        le=600,
        description="Seconds of load before tokens are counted, until all users are decoding.",
    )
    max_tokens: Count = Field(
        24,
        ge=1,
        le=1_000_000,
        description=(
            "Output tokens per request of a pair. Stop tokens are ignored, so that all are equally"
            " long."
        ),
    )
    block_tokens: Count = Field(
        128,
        ge=1,
        le=1_000_000,
        description=(
            "Output tokens per request of a throughput window: as long as answers usually are."
        ),
    )
    timeout: Number = Field(
        60, gt=0, le=86_400, description="Seconds after which a request counts as failed."
    )
    time_limit: Number = Field(
        1800,
        gt=0,
        le=7 * 86_400,
        description="Seconds after which the benchmark is cut short and can promote nothing.",
    )
    looks: Count | list[Count] = Field(
        1,
        description=(
            "Planned looks, at which the gate may decide: their number, evenly spaced, or a list of"
            " the pairs after which each is; the last is after all pairs."
        ),
    )
    seed: Count = Field(
        1,
        ge=0,
        le=2**32 - 1,
        description="Random seed of the order of prompts and colors.",
    )

    @property
    def look_pairs(self) -> tuple[int, ...]:
        """After how many pairs the gate looks; whole blocks, except the last, which is all
        pairs.
        """
        if isinstance(self.looks, list):
            return tuple(self.looks)
        block = self.pairs_per_block
        return (
            *(
                round(self.pairs * look / self.looks / block) * block
                for look in range(1, self.looks)
            ),
            self.pairs,
        )

    @model_validator(mode="after")
    def _looks_rise(self) -> Self:
        if isinstance(self.looks, int) and not 1 <= self.looks <= MAX_LOOKS:
            raise ValueError(
                f"looks is {self.looks}; write 1 to {MAX_LOOKS}, or a list of the numbers"
                " of pairs after which each is"
            )
        if self.pairs == 0:  # by hand, without end: nobody looks
            return self
        looks = self.look_pairs
        if (
            not looks
            or looks[0] < 1
            or list(looks) != sorted(set(looks))
            or looks[-1] != self.pairs
            or len(looks) > MAX_LOOKS
        ):
            raise ValueError(
                f"looks after {list(looks)} pairs is not valid: they must rise and end with pairs,"
                f" {self.pairs}; at most {MAX_LOOKS}"
            )
        return self


class Side(BaseModel):
    """One of the colors under test. Requests go round its endpoints."""

    model_config = ConfigDict(frozen=True)

    role: Role
    color: str = ""
    endpoints: tuple[str, ...] = Field(min_length=1)
    pods: dict[str, str] = Field(
        default_factory=dict, description="Name of the process or pod behind each endpoint."
    )
