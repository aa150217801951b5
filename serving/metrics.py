"""What /metrics shows. Counting a token must cost next to nothing, so the token histograms count in
plain lists.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

TTFT_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
ITL_BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.0,
    2.0,
    4.0,
)

# They are a third of the lines, and nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Histogram:
    """Counts of values under bucket bounds, in seconds. A tenth of what prometheus_client's own
    costs an observation.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.total += seconds * times

    def cumulative(self) -> list[tuple[str, float]]:
        running, buckets = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets


class Metrics(Collector):
    """All series of one server, each with the labels `release` and `model`.

    Args:
        gauges: name to (help, function that reads the value at the time of the scrape).
        engine_pid: reads the pid of the engine's process, 0 when it is gone.
    """

    def __init__(
        self,
        release: str,
        model: str,
        gauges: dict[str, tuple[str, Callable[[], float]]],
        engine_pid: Callable[[], int],
    ) -> None:
        self._labels = {"release": release, "model": model}
        self._gauges, self._engine_pid = gauges, engine_pid
        self.registry = CollectorRegistry()
        self.ttft = Histogram(TTFT_BUCKETS)
        self.itl = Histogram(ITL_BUCKETS)
        self.prompt_tokens = self._counter(
            "greenlight_prompt_tokens", "Tokens of the prompts taken"
        )
        self.output_tokens = self._counter("greenlight_output_tokens", "Tokens generated")
        self._requests = Counter(
            "greenlight_requests",
            "Requests by route and status code, counted when they end",
            ["release", "model", "route", "status"],
            registry=self.registry,
        )
        self._errors = Counter(
            "greenlight_errors",
            "Requests that failed, by kind",
            ["release", "model", "kind"],
            registry=self.registry,
        )
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def ended(self, route: str, status: int) -> None:
        self._requests.labels(**self._labels, route=route, status=str(status)).inc()

    def failed(self, kind: str) -> None:
        self._errors.labels(**self._labels, kind=kind).inc()

    def collect(self) -> Iterable[Metric]:
        names, values = list(self._labels), list(self._labels.values())
        for name, (text, read) in self._gauges.items():
            gauge = GaugeMetricFamily(f"greenlight_{name}", text, labels=names)
            gauge.add_metric(values, read())
            yield gauge
        memory = GaugeMetricFamily(
            "greenlight_engine_resident_memory_bytes",
            "Resident memory of the engine's process",
            labels=names,
        )
        memory.add_metric(values, resident_bytes(self._engine_pid()))
        yield memory
        for name, text, histogram in (
            (
                "greenlight_time_to_first_token_seconds",
                "Arrival of a request to its first token, streamed requests",
                self.ttft,
            ),
            (
                "greenlight_inter_token_seconds",
                "Time between two tokens of a request, streamed requests",
                self.itl,
            ),
        ):
            family = HistogramMetricFamily(name, text, labels=names)
            family.add_metric(values, histogram.cumulative(), histogram.total)
            yield family

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, list(self._labels), registry=self.registry).labels(
            **self._labels
        )


def resident_bytes(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096.0
    except (OSError, IndexError):
        return 0.0
