"""What every method says about itself, and the one thing it does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from greenlight.core.extras import require
from greenlight.core.records import Format, Trial
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.hardware import Gpu

SHARD_BYTES = 5_000_000_000
"""Maximum bytes per file of weights, unless one tensor alone is larger: what copies, caches and
mounts of buckets handle well. transformers writes 50 GB.
"""


@dataclass(frozen=True)
class Capability:
    """One row of the table of methods. `bits` is None where bits do not matter."""

    method: str
    bits: int | None
    library: str
    format: Format
    engines: tuple[str, ...]
    calibrates: bool
    gpu: Gpu | None


@dataclass(frozen=True)
class Job:
    """One quantization.

    Attributes:
        model: folder of the full-precision checkpoint. Only read.
        output: empty folder for the quantized one.
        bits: bits per weight.
        calibration: for methods that calibrate.
        scratch: folder for temporary files; it is removed afterwards.
        limits: on quality, for methods that search; see `greenlight.gate.quality_limits`.
        shard_bytes: maximum bytes per file of weights, where the format can be split (OpenVINO
            is one file).
    """

    model: Path
    output: Path
    bits: int
    calibration: Calibration
    scratch: Path
    limits: str = ""
    shard_bytes: int = SHARD_BYTES


class Method(ABC):
    """A way to make a checkpoint smaller.

    Attributes:
        name: as the user writes it.
        bits: bits per weight that it can do. Empty: it takes any number and ignores it.
        library: who does the work, for people.
        packages: distributions whose versions are recorded; the first must be installed.
        format: of the result.
        engines: that serve the result.
        calibrates: whether it looks at text.
        searches: whether it looks for what the gate's limits on quality allow.
        stored_bits: of one without a choice of bits, those of most of its weights. None: the
            baseline's.
        quantizes_activations: besides the weights. Engines compute the two with different kernels.
        gpu: what it cannot be done without. None: it runs on a CPU, and on a GPU where there is
            one.
        tolerance: mean Kullback-Leibler divergence (nats) between the model in memory and the one
            reloaded that rounding explains; docs/quantization.md has
            what was measured. None: nothing is computed, the files are the baseline's.
        disk: most bytes that it writes at any time, as a share of the baseline's.
        memory: its peak beyond that of the libraries, as a share of the baseline's weights;
            measured by `make bench-quantize` (docs/benchmarks.md).
        seconds: that the step quantize takes on two CPU cores: a constant, and what 10^9 weights
            add; measured as the memory is, calibration on 1,000 tokens. None: not measured.
        least_share: of the linear weights, by bytes, that it must have quantized to count as done.
            Embeddings and output layer, which it leaves in more bits, do not count. Below 1 there
            is room for small layers that it cannot take, such as the routers of a mixture.
    """

    name: ClassVar[str]
    bits: ClassVar[tuple[int, ...]]
    library: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    format: ClassVar[Format]
    engines: ClassVar[tuple[str, ...]]
    disk: ClassVar[float]
    memory: ClassVar[float]
    tolerance: ClassVar[float | None]
    calibrates: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    quantizes_activations: ClassVar[bool] = False
    stored_bits: ClassVar[int | None] = None
    gpu: ClassVar[Gpu | None] = None
    seconds: ClassVar[tuple[float, float] | None] = None
    least_share: ClassVar[float] = 0.9

    @abstractmethod
    def quantize(self, job: Job) -> int:
        """Write the quantized checkpoint to `job.output`, and call `save_predictions` with what the
        model in memory predicts (greenlight/quantize/reload_check.py).

        Returns:
            The peak memory in bytes of the process that did it.

        Raises:
            GreenlightError: it did not work. Holds the end of what the library printed.
        """

    def refuses(self, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
        """Why it cannot quantize a model, known from the model's small files; empty when it can.
        Takes milliseconds.

        Args:
            config: the model's config.json.
            tensors: from the headers of its weights.
        """
        return ""

    def weight_bits(self, bits: int) -> int | None:
        """Bits of weights that it quantizes alone, as engines ask for them. None: it does not."""
        alone = self.format == "compressed-tensors" and not self.quantizes_activations
        return bits if alone else None

    def list_trials(self, job: Job) -> list[Trial]:
        """Trials of a method that searches, once `quantize` is done."""
        return []

    def check_installed(self) -> None:
        """Raises MissingExtraError when the library is not installed."""
        require("local", f"Method {self.name}", *self.packages[:1])

    def versions(self) -> dict[str, str]:
        """Name to version of the packages that make the result."""
        return {name: metadata.version(name) for name in self.packages}
