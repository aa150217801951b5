"""What machines cost, from the dated table `pipelines/prices.yaml`, and what a configuration costs
per month before it is deployed. USD throughout.
"""

from datetime import date
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from greenlight.core.errors import InputError
from greenlight.core.yaml_file import check, nearest, parse, read_shipped

if TYPE_CHECKING:
    import numpy as np

Rate = TypeVar("Rate", float, "np.ndarray")
HOURS_PER_MONTH = 730
SPOT = " spot"


class Machine(BaseModel):
    """Prices per hour of a machine type, with its `gpus` of the kind `gpu` included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: float = Field(gt=0)
    spot: float = Field(gt=0)
    gpu: str = ""
    gpus: int = 1


class PriceTable(BaseModel):
    """Prices of one region at one date. `gb_month`: per gigabyte and month."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: date
    region: str
    cluster_hour: float
    nat_node_hour: float
    address_hour: float
    disk_gb_month: float
    image_gb_month: float
    model_gb_month: float
    machines: dict[str, Machine]

    def machine_hour(self, machine: str) -> float:
        """Of `g2-standard-8`, or `g2-standard-8 spot`. Raises InputError when the table does not
        know it.
        """
        name = machine.removesuffix(SPOT)
        if name not in self.machines:
            raise InputError(
                "machine",
                machine,
                f"its price is not known; {nearest(name, self.machines)}. Give the USD per hour"
                " instead",
            )
        return self.machines[name].spot if machine.endswith(SPOT) else self.machines[name].hour


class Setup(BaseModel):
    """A service on a cluster of its own, each server on a machine of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str = Field(
        "g2-standard-8", description="Machine type of each server; add ` spot` for a Spot machine."
    )
    replicas: int = Field(1, ge=0, description="Number of servers of the live color.")
    hours_a_week: float = Field(
        168, ge=0, le=168, description="Hours per week in which the servers run."
    )
    server_disk_gb: float = Field(100, ge=0, description="Disk of each server's machine, in GB.")
    node_machine: str = Field(
        "e2-standard-4", description="Machine type of the nodes for everything but the servers."
    )
    nodes: int = Field(1, ge=0, description="Number of these nodes, in all zones together.")
    node_disk_gb: float = Field(100, ge=0, description="Disk of each of these nodes, in GB.")
    rollouts: float = Field(4, ge=0, description="Number of rollouts per month.")
    rollout_hours: float = Field(1, ge=0, description="Hours in which a rollout runs both colors.")
    warm_hours: float = Field(
        0.5, ge=0, description="Hours for which the old color is kept warm after a rollout."
    )
    images_gb: float = Field(20, ge=0, description="Size of the images in the registry, in GB.")
    models_gb: float = Field(50, ge=0, description="Size of the models in the buckets, in GB.")
    tokens_per_second: float | None = Field(
        None,
        gt=0,
        description=(
            "Output tokens per second of one server under full load, for the cost per million"
            " tokens. --run takes them from a benchmark."
        ),
    )


class Cost(BaseModel):
    """USD per month, by part, and per million output tokens.

    Attributes:
        server_hour: USD per hour of one server.
        per_million_tokens: of the servers alone, fully loaded; `all_per_million_tokens`: of all
            parts.
    """

    region: str
    prices_of: date
    parts: dict[str, float]
    total: float
    server_hour: float
    per_million_tokens: float | None
    all_per_million_tokens: float | None


def load_prices() -> PriceTable:
    return check(
        "prices", "prices", parse("prices", "prices", read_shipped("prices.yaml")), PriceTable
    )


def cost_per_million_tokens(price_per_hour: float, tokens_per_second: Rate) -> Rate:
    """USD per million tokens of what costs so many USD per hour and makes so many tokens per
    second.

    Args:
        tokens_per_second: a number, or an array of them.
    """
    return price_per_hour / (3600 * tokens_per_second) * 1e6


def estimate(setup: Setup, prices: PriceTable) -> Cost:
    """What a setup costs. Raises InputError when the table does not know a machine."""
    server, node = prices.machine_hour(setup.machine), prices.machine_hour(setup.node_machine)
    share = setup.hours_a_week / 168
    parts = {
        "cluster": HOURS_PER_MONTH * prices.cluster_hour,
        "nodes": (
            HOURS_PER_MONTH * setup.nodes * node
            + setup.nodes * setup.node_disk_gb * prices.disk_gb_month
        ),
        "network": HOURS_PER_MONTH * (prices.nat_node_hour * setup.nodes + prices.address_hour),
        "images and models": (
            setup.images_gb * prices.image_gb_month + setup.models_gb * prices.model_gb_month
        ),
        "servers": (
            setup.replicas
            * share
            * (HOURS_PER_MONTH * server + setup.server_disk_gb * prices.disk_gb_month)
        ),
        "rollouts": (
            setup.rollouts * (setup.rollout_hours + setup.warm_hours) * setup.replicas * server
        ),
    }
    total = sum(parts.values())
    rate = (setup.tokens_per_second or 0) * setup.replicas * share

    def per_million(month: float) -> float | None:
        return cost_per_million_tokens(month / HOURS_PER_MONTH, rate) if rate else None

    return Cost(
        region=prices.region,
        prices_of=prices.date,
        parts=parts,
        total=total,
        server_hour=server,
        per_million_tokens=per_million(parts["servers"]),
        all_per_million_tokens=per_million(total),
    )
