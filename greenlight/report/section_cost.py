"""The sections on size and time, and on what changed since the last promotion."""

from greenlight.core import formats
from greenlight.core.history import RunRecords
from greenlight.report.changes import Change
from greenlight.report.headline import method_text
from greenlight.report.page_parts import Cell, Row


def cost_rows(run: RunRecords) -> list[Row]:
    """Bytes, seconds and memory of every step that says."""
    rows = []
    for name, model in (
        ("download: baseline", run.baseline),
        ("quantize: candidate", run.candidate),
    ):
        if model is not None:
            memory = (
                formats.size(model.peak_memory_bytes)
                if model.peak_memory_bytes
                else formats.MISSING
            )
            rows.append(
                Row(
                    name,
                    [formats.duration(model.seconds), formats.size(model.bytes), memory],
                    method_text(model.method, model.bits),
                )
            )
    if run.reference is not None:
        memory = formats.size(run.reference.peak_memory_bytes)
        note = f"the baseline's predictions for {run.reference.tokens:,} tokens, in 16 bits"
        rows.append(
            Row(
                "reference",
                [
                    formats.duration(run.reference.seconds),
                    formats.size(run.reference.bytes),
                    memory,
                ],
                note,
            )
        )
    if run.evaluation is not None:
        note = f"{run.evaluation.tokens:,} tokens of {run.evaluation.documents:,} documents"
        rows.append(
            Row(
                "evaluate",
                [formats.duration(run.evaluation.seconds), formats.MISSING, formats.MISSING],
                note,
            )
        )
    if run.benchmark is not None:
        note = (
            f"{run.benchmark.pairs:,} pairs of requests; throughput at concurrency"
            f" {run.benchmark.concurrency}"
        )
        rows.append(
            Row(
                "benchmark",
                [formats.duration(run.benchmark.seconds), formats.MISSING, formats.MISSING],
                note,
            )
        )
    return rows


def change_rows(changes: list[Change]) -> list[Row]:
    """Then, now and the change; what stayed the same in a quiet color."""
    return [
        Row(
            line.name,
            [
                line.before,
                line.now,
                Cell(line.note, look="quiet" if line.note in ("same", "no change") else ""),
            ],
        )
        for line in changes
    ]
