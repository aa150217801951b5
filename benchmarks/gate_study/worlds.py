"""Simulated benchmarks with known truth: what latencies look like, what disturbs both colors, and
what is wrong with the candidate.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from greenlight.gate.evidence import Pairs
from greenlight.gate.measurements import Samples

Floats = NDArray[np.float64]

METRICS = ("ttft", "itl", "e2e")
TYPICAL = {"ttft": 0.3, "itl": 0.03, "e2e": 5.0}
SHARED = 0.8
"""Of the variance: what the two requests of a pair have in common, since their prompt is the
same.
"""
SIGMA = 0.25
FAILING = 0.0005
"""Share of requests that fail, of both colors."""

SHAPES = ("log-normal", "gamma", "bimodal")
DISTURBANCES = ("none", "AR(1)", "step", "bursts")


@dataclass(frozen=True)
class Noise:
    """How latencies vary. `tail`: share of requests that take 5 times as long. `disturbance`: what
    hits both colors alike.
    """

    shape: str
    tail: float
    disturbance: str

    @property
    def name(self) -> str:
        return f"{self.shape}, {100 * self.tail:g}% tail, {self.disturbance}"


NOISES = [Noise(shape, 0.01, disturbance) for shape, disturbance in product(SHAPES, DISTURBANCES)]
NOISES += [Noise(shape, tail, "AR(1)") for shape, tail in product(SHAPES, (0.0, 0.03))]


@dataclass(frozen=True)
class Model:
    """What is true of the candidate.

    Attributes:
        ttft: factor of every TTFT. A margin of the gate is 1.05 on the median.
        tail: factor of the slowest quarter of ITL, growing to its full size by the 92nd percentile;
            the median stays. A margin is 1.10 on p95.
        everything: factor of all latencies.
        failing: share of requests that fail beyond live's.
        kind: `equal`; `margin`: exactly at a margin, the worst case of the error; `beyond` one.
    """

    name: str
    kind: str
    ttft: float = 1.0
    tail: float = 1.0
    everything: float = 1.0
    failing: float = 0.0


MODELS = [
    Model("equal", "equal"),
    Model("TTFT +5%", "margin", ttft=1.05),
    Model("TTFT +7%", "beyond", ttft=1.07),
    Model("ITL tail +10%", "margin", tail=1.10),
    Model("ITL tail +13%", "beyond", tail=1.13),
    Model("all +10%", "beyond", everything=1.10),
    Model("errors +1 point", "beyond", failing=0.01),
]


def simulate(
    random: np.random.Generator, noise: Noise, model: Model, pairs: int, block: int
) -> Samples:
    """A benchmark of `pairs` pairs in blocks of `block`: the samples that the gate's step would
    read from its artifacts.
    """
    disturbed = disturbance(random, noise.disturbance, pairs)
    latencies: dict[str, dict[str, Floats]] = {metric: {} for metric in METRICS}
    shared = {metric: common(random, noise.shape, pairs) for metric in ("ttft", "itl")}
    failed, counts = {}, {}
    for role in ("candidate", "live"):
        stalled = np.where(random.random(pairs) < noise.tail, 5.0, 1.0) * disturbed
        ttft, itl = (
            own(random, noise.shape, shared[metric]) * stalled for metric in ("ttft", "itl")
        )
        fails = random.random(pairs) < FAILING
        if role == "candidate":
            fails |= random.random(pairs) < model.failing
            ttft, itl = (
                ttft * model.ttft * model.everything,
                _slow_tail(itl, model.tail) * model.everything,
            )
        for metric, factor in (("ttft", ttft), ("itl", itl), ("e2e", 0.3 * ttft + 0.7 * itl)):
            latencies[metric][role] = np.where(fails, np.inf, TYPICAL[metric] * factor)
        failed[role] = int(fails.sum())
        counts[role] = (failed[role], pairs)
    return Samples(pairs=Pairs(latencies, np.arange(pairs) // block, failed), counts=counts)


def common(random: np.random.Generator, shape: str, pairs: int) -> Floats:
    """What a prompt brings to both requests of its pair."""
    if shape == "gamma":
        return random.gamma(SHARED / SIGMA**2, SIGMA**2, pairs)
    if shape == "bimodal":  # three prompts in ten are long
        return np.exp(random.normal(0, 0.5 * SIGMA, pairs)) * np.where(
            random.random(pairs) < 0.3, 1.8, 1.0
        )
    return np.exp(random.normal(0, SIGMA * np.sqrt(SHARED), pairs))


def own(random: np.random.Generator, shape: str, common: Floats) -> Floats:
    if shape == "gamma":  # sums of gammas of one scale are gamma
        return common + random.gamma((1 - SHARED) / SIGMA**2, SIGMA**2, len(common))
    return common * np.exp(random.normal(0, SIGMA * np.sqrt(1 - SHARED), len(common)))


def disturbance(random: np.random.Generator, kind: str, pairs: int) -> Floats:
    """One factor per pair."""
    if kind == "AR(1)":  # standard deviation 0.1, correlated over some fifty pairs
        return np.exp(
            signal.lfilter([1.0], [1.0, -0.98], random.normal(0, 0.02, pairs + 300))[300:]
        )
    factor = np.ones(pairs)
    if kind == "step":
        factor[random.integers(pairs // 10, pairs * 9 // 10) :] = 1.3
    if kind == "bursts":
        for start in random.integers(0, pairs, 1 + pairs // 400):
            factor[start : start + random.integers(10, 60)] *= random.uniform(1.5, 3)
    return factor


def _slow_tail(values: Floats, factor: float) -> Floats:
    if factor == 1:
        return values
    start, full = np.quantile(values, [0.75, 0.92])
    return values * (1 + (factor - 1) * np.clip((values - start) / (full - start), 0, 1))
