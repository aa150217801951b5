"""What is printed of the measurements: a table, how the figures grow, and the goals."""

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from benchmarks.quantize.checkpoints import Shape
from benchmarks.quantize.process import Run

FLOAT32 = 4
MEMORY_FACTOR = 1.3
MOST_OVERHEAD = 1.05


@dataclass
class Cell:
    """A method on one checkpoint. `ours` and `direct` are of the same rounds, one after the other.

    Attributes:
        reload_seconds: of each run of ours, what the reload check took.
        disk: bytes of the candidate, and of its largest file.
    """

    method: str
    size: str
    ours: list[Run] = field(default_factory=list)
    direct: list[Run] = field(default_factory=list)
    reload_seconds: list[float] = field(default_factory=list)
    disk: int = 0
    largest_file: int = 0

    @property
    def failed(self) -> str:
        return next((run.failed for run in self.ours if run.failed), "")

    @property
    def seconds(self) -> float:
        """Without the reload check, which the library called directly does not do."""
        return median(
            run.seconds - check for run, check in zip(self.ours, self.reload_seconds, strict=True)
        )

    @property
    def ratio(self) -> float | None:
        """Median over the rounds of ours / direct, in seconds of CPU. None where the library,
        called directly, failed.
        """
        found = [
            ours.cpu / direct.cpu
            for ours, direct in zip(self.ours, self.direct, strict=False)
            if not direct.failed
        ]
        return median(found) if found else None

    @property
    def anonymous(self) -> int:
        return max(max(run.work.anonymous, run.check.anonymous) for run in self.ours)

    @property
    def gpu(self) -> int:
        """The most bytes of a GPU's memory that a process held."""
        return max(max(run.work.gpu, run.check.gpu) for run in self.ours)


def goal(cell: Cell, shape: Shape, vocabulary: int, calibration_tokens: int, constant: int) -> int:
    """The most bytes of memory that a method should take: 1.3 times the larger of what it has in
    hand at a time, and the constant.
    """
    layer = max(shape.layer_parameters, vocabulary * shape.hidden)
    return (
        int(
            MEMORY_FACTOR
            * max(FLOAT32 * (layer + calibration_tokens * shape.hidden), cell.largest_file)
        )
        + constant
    )


def row(cell: Cell, limit: int) -> str:
    if cell.failed:
        return f"| {cell.method} | {cell.size} | {cell.failed} |" + " |" * 11
    ratio = f"{cell.ratio:.2f}" if cell.ratio is not None else "-"
    done = [run for run in cell.direct if not run.failed]
    direct = (
        f"{median(run.seconds for run in done):.0f}"
        if done
        else cell.direct[0].failed
        if cell.direct
        else "not run"
    )
    theirs_cpu = f"{median(run.cpu for run in done):.0f}" if done else "-"
    work, check = (
        max((getattr(run, part) for run in cell.ours), key=lambda memory: memory.peak)
        for part in ("work", "check")
    )
    theirs = max((run.work for run in done), key=lambda memory: memory.peak, default=None)
    figures = [
        f"{cell.seconds:.0f}",
        direct,
        f"{median(run.cpu for run in cell.ours):.0f}",
        theirs_cpu,
        ratio,
        f"{median(cell.reload_seconds):.0f}",
        _gb(work.anonymous, work.peak),
        _gb(check.anonymous, check.peak),
        _gb(theirs.anonymous, theirs.peak) if theirs else "-",
        f"{limit / 1e9:.2f}",
        f"{cell.disk / 1e6:,.0f}",
        _gpu(
            [run.work.gpu for run in cell.ours],
            [run.check.gpu for run in cell.ours],
            [run.work.gpu for run in done],
        )
        if cell.gpu
        else "-",
    ]
    return f"| {cell.method} | {cell.size} | " + " | ".join(figures) + " |"


HEAD = (
    "| method | 10^9 parameters | ours, s | direct, s | ours, CPU s | direct, CPU s | ours / direct"
    " | check, s | ours, GB | check, GB | direct, GB | goal, GB | on disk, MB | GPU: ours / check /"
    " direct, GB |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def growth(cells: list[Cell]) -> list[str]:
    """For each method how its figures grow from one size to the next."""
    lines = []
    done = [cell for cell in cells if not cell.failed]
    for before, after in pairwise(done):
        if before.method == after.method:
            parts = (
                f"x{float(after.size) / float(before.size):.1f} parameters:"
                f" x{after.seconds / before.seconds:.1f} seconds"
            )
            lines.append(
                f"{after.method}, {before.size} to {after.size}: {parts},"
                f" x{after.anonymous / before.anonymous:.1f} anonymous memory"
            )
    return lines


def _gpu(*sides: list[int]) -> str:
    return " / ".join(f"{max(side, default=0) / 1e9:.2f}" for side in sides)


def _gb(anonymous: int, peak: int) -> str:
    return f"{anonymous / 1e9:.2f} / {peak / 1e9:.2f}"
