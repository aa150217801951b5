"""What a benchmark sends, and when: a workload file, as data."""

import math
import random
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from greenlight.benchmark.plan import Count, Number, Plan
from greenlight.core.errors import InputError
from greenlight.core.records import Part
from greenlight.core.yaml_file import check, load_yaml


class Lengths(Part):
    """A distribution of token counts. A plain number stands for a fixed length.

    `mean` and `sd` are those of the length itself, also of the log-normal one; what is drawn is
    rounded and cut to `min` and `max`. Uniform needs only these two.
    """

    distribution: Literal["fixed", "uniform", "normal", "lognormal"] = "fixed"
    mean: Number = Field(0, ge=0, le=1_000_000)
    sd: Number = Field(0, ge=0, le=1_000_000)
    min: Count = Field(1, ge=1, le=1_000_000)
    max: Count = Field(1_000_000, ge=1, le=1_000_000)

    @model_validator(mode="before")
    @classmethod
    def _expand_number(cls, value: Any) -> Any:
        return (
            {"mean": value}
            if isinstance(value, int | float) and not isinstance(value, bool)
            else value
        )

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(
                f"min is {self.min} and max is {self.max}; min must be the smaller one"
            )
        if self.distribution == "uniform":
            if self.max == 1_000_000:
                raise ValueError("uniform lies between min and max; give both")
        elif not self.min <= self.mean <= self.max:
            raise ValueError(
                f"mean is {self.mean:g} and must lie between min and max, {self.min} and {self.max}"
            )
        if self.distribution in ("normal", "lognormal") and not self.sd:
            raise ValueError(
                f"{self.distribution} needs sd, the standard deviation in tokens; or write the"
                " number alone for a fixed length"
            )
        return self

    @property
    def largest(self) -> int:
        return round(self.mean) if self.distribution == "fixed" else self.max

    def draw(self, source: random.Random) -> int:
        if self.distribution == "fixed":
            return round(self.mean)
        if self.distribution == "uniform":
            return source.randint(self.min, self.max)
        if self.distribution == "normal":
            value = source.gauss(self.mean, self.sd)
        else:
            spread = math.log1p((self.sd / self.mean) ** 2)
            value = source.lognormvariate(math.log(self.mean) - spread / 2, math.sqrt(spread))
        return min(self.max, max(self.min, round(value)))


class Stage(Part):
    """A stretch of the pairs with a load of its own."""

    seconds: Number = Field(gt=0, le=86_400)
    rate: Number | None = Field(
        None, gt=0, le=100_000, description="Open loop: requests per second to each color."
    )
    users: Count | None = Field(
        None, ge=1, le=10_000, description="Closed loop: number of simultaneous users."
    )


class Slo(Part):
    """What a request should keep, in seconds. A request that keeps all that is given, and does not
    fail, counts for goodput.
    """

    ttft: Number | None = Field(None, gt=0, description="Time to first token.")
    itl: Number | None = Field(
        None, gt=0, description="Inter-token latency: mean gap between the tokens of a request."
    )
    e2e: Number | None = Field(
        None, gt=0, description="End to end: from sending a request to its last byte."
    )

    @property
    def limits(self) -> dict[str, float]:
        return self.model_dump(exclude_none=True)


class Prices(Part):
    """USD per hour of one server of a color: a number, or a machine of the price table, such as
    `g2-standard-8 spot`. Alone it is both colors'.
    """

    candidate: Number = Field(gt=0, le=100_000)
    live: Number = Field(gt=0, le=100_000)

    @model_validator(mode="before")
    @classmethod
    def _expand_number(cls, value: Any) -> Any:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            value = {"candidate": value, "live": value}
        return (
            {role: _price_of_hour(one) for role, one in value.items()}
            if isinstance(value, dict)
            else value
        )


def _price_of_hour(price: Any) -> Any:
    if not isinstance(price, str):
        return price
    from greenlight.core.prices import load_prices

    try:
        return load_prices().machine_hour(price)
    except InputError as error:
        raise ValueError(str(error)) from None


Arrivals = Literal["closed", "poisson", "constant", "trace"]
OPEN_USERS = 256


class Workload(Part):
    """What is sent, and when: a workload file. `short`, the default, sends the built-in prompts in
    closed loop, as long as the gate says.

    Closed loop: each user sends its next pair when the one before has ended. Open loop (poisson,
    constant, trace): pairs are sent when they are due, whether or not earlier ones have ended, and
    latency runs from then. Both requests of a pair are due at the same time: open loop is for
    colors with machines of their own.
    """

    name: str = Field("short", min_length=1)
    prompts: str = Field(
        "builtin",
        min_length=1,
        description="builtin, or the path or gs:// URI of a JSONL file of texts or chats.",
    )
    input_tokens: Lengths | None = Field(
        None,
        description=(
            "Lengths that prompts are cut and joined to, in tokens. Default: prompts are sent as"
            " they are."
        ),
    )
    output_tokens: Lengths | None = Field(
        None,
        description=(
            "Output lengths of the requests of pairs, in tokens. Default: max_tokens of the gate"
            " for every request."
        ),
    )
    arrivals: Arrivals = Field(
        "closed",
        description=(
            "When requests are sent: closed (each user waits for its answer), or an open loop:"
            " poisson, constant, trace."
        ),
    )
    rate: Number | None = Field(
        None, gt=0, le=100_000, description="Open loop: requests per second to each color."
    )
    users: Count | None = Field(
        None,
        ge=1,
        le=10_000,
        description=(
            "Closed loop: number of simultaneous users; default: users of the gate. Open loop:"
            " maximum number of simultaneous streams."
        ),
    )
    stages: tuple[Stage, ...] = Field(
        (),
        description=(
            "Loads that follow one another, instead of one rate or one number of users. The last"
            " one lasts until the pairs end."
        ),
    )
    trace: str = Field(
        "",
        description=(
            "For arrivals: trace. Path or gs:// URI of a JSONL file with timestamp (in seconds),"
            " input_tokens and output_tokens, or prompt or messages."
        ),
    )
    speed: Number = Field(
        1, gt=0, le=1000, description="How many times as fast as recorded a trace is replayed."
    )
    seconds: Number | None = Field(
        None,
        gt=0,
        le=7 * 86_400,
        description=(
            "Seconds after which the pairs end, even if fewer than the gate plans were sent."
        ),
    )
    warm_up: Count | None = Field(
        None,
        ge=0,
        le=10_000,
        description=(
            "Number of requests to each color before measuring begins. Default: concurrency of the"
            " gate."
        ),
    )
    slo: Slo = Slo()
    price_per_hour: Prices | None = Field(
        None,
        description=(
            "USD per hour of one server: a number or a machine type, or one each under candidate:"
            " and live:."
        ),
    )
    workers: Count = Field(
        1,
        ge=1,
        le=64,
        description="Number of processes (on a cluster: pods) that generate the load.",
    )
    seed: Count | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="Random seed of lengths, arrivals and order. Default: seed of the gate.",
    )

    @property
    def open_loop(self) -> bool:
        return self.arrivals != "closed"

    @property
    def rated(self) -> tuple[Stage, ...]:
        """The stages of open loop; the last one has no end."""
        return self.stages or (Stage(seconds=86_400, rate=self.rate),)

    def having(self, rate: float | None = None, workers: int | None = None) -> "Workload":
        """With another rate, Poisson where it was closed loop, or other workers. Raises InputError
        when that cannot be.
        """
        values = self.model_dump(exclude_none=True)
        if rate is not None:
            values |= {
                "rate": rate,
                "stages": (),
                "arrivals": "poisson" if self.arrivals == "closed" else self.arrivals,
            }
        if workers is not None:
            values["workers"] = workers
        return check("workload", self.name, values, Workload)

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.arrivals in ("poisson", "constant"):
            if (self.rate is None) == (not self.stages):
                raise ValueError(
                    f"arrivals {self.arrivals} needs rate:, or stages: with a rate each, and not"
                    " both"
                )
            if any(stage.rate is None or stage.users for stage in self.stages):
                raise ValueError("each stage of open loop needs rate:, and takes no users:")
        elif self.rate is not None:
            raise ValueError(
                f"rate belongs to arrivals: poisson or constant, not to {self.arrivals}"
            )
        if self.arrivals == "closed" and any(
            stage.users is None or stage.rate for stage in self.stages
        ):
            raise ValueError("each stage of closed loop needs users:, and takes no rate:")
        if (self.arrivals == "trace") != bool(self.trace):
            raise ValueError("arrivals: trace and trace: belong together; give both or none")
        if self.arrivals == "trace" and (self.stages or self.output_tokens or self.input_tokens):
            raise ValueError(
                "a trace says itself what is sent, and when: leave stages, input_tokens and"
                " output_tokens out"
            )
        return self


def load_workload(workload: str, prompts: str = "builtin") -> Workload:
    """Read and check a workload.

    Args:
        workload: the name of a shipped one, a path, a gs:// URI, or the YAML itself.
        prompts: instead of the workload's, unless builtin.

    Raises:
        InputError: names the key, its value and what to write instead.
    """
    loaded = load_yaml("workload", workload, Workload, "workloads")
    return loaded if prompts == "builtin" else loaded.model_copy(update={"prompts": prompts})


def users_needed(plan: Plan, workload: Workload) -> int:
    """How many users all workers together must have, so that no phase waits for one."""
    pairs = (
        [stage.users or 0 for stage in workload.stages]
        if workload.stages
        else [workload.users or plan.users]
    )
    if workload.open_loop:
        pairs = [workload.users or OPEN_USERS]
    return max(*pairs, plan.concurrency, workload.warm_up or 0)


def workers_used(plan: Plan, workload: Workload) -> int:
    """How many workers there is work for: in closed loop a worker without a user would never send
    its share of the pairs.
    """
    if workload.open_loop:
        return workload.workers
    return min(
        workload.workers,
        *(stage.users or 1 for stage in workload.stages),
        workload.users or plan.users,
    )
