"""What changed since the last promotion."""

from collections.abc import Callable
from dataclasses import dataclass

from greenlight.core import formats, storage
from greenlight.core.history import RunRecords, load_run, runs
from greenlight.core.records import Promotion, Release
from greenlight.report.headline import method_text
from greenlight.report.metric_labels import LATENCIES


@dataclass(frozen=True)
class Change:
    """One line of the comparison. `note` says in words whether, and how much, it changed."""

    name: str
    before: str
    now: str
    note: str


def last_promotion(history: str, run: RunRecords) -> RunRecords | None:
    """The newest run before this one that promoted a release of the same service; None for a first
    release.
    """
    ids = runs(history)
    older = ids[ids.index(run.run_id) + 1 :] if run.run_id in ids else ids
    for run_id in older:
        try:
            promotion = Promotion.model_validate_json(
                storage.read_bytes(storage.join(history, run_id, "promote.json"))
            )
        except (OSError, ValueError):  # it did not promote, or nobody can tell
            continue
        if (
            promotion.outcome in ("promoted", "already_live")
            and promotion.live.service == run.service
        ):
            return load_run(history, run_id)
    return None


def changes_between(before: RunRecords, now: RunRecords) -> list[Change]:
    """What the candidates of two runs differ in. Lines for which a record of either run is missing
    are left out.
    """
    return [*_identity(before, now), *_figures(before, now)]


def _candidate(run: RunRecords) -> Release | None:
    return (
        run.deployment.candidate
        if run.deployment
        else run.decision.deployment.candidate
        if run.decision
        else None
    )


def _identity(before: RunRecords, now: RunRecords) -> list[Change]:
    old, new = _candidate(before), _candidate(now)
    if old is None or new is None:
        return []
    lines = [
        ("Model", old.source, new.source),
        ("Source commit", formats.short(old.commit), formats.short(new.commit)),
        ("Method", method_text(old.method, old.bits), method_text(new.method, new.bits)),
        ("Engine", old.engine, new.engine),
        ("Replicas", str(old.replicas), str(new.replicas)),
        ("Content digest", formats.short(old.digest), formats.short(new.digest)),
    ]
    if before.decision and now.decision:
        lines.append(("Gate", _gate(before), _gate(now)))
        lines.append(
            (
                "Code version",
                before.decision.code_version or formats.MISSING,
                now.decision.code_version or formats.MISSING,
            )
        )
    return [
        Change(name, was, is_now, "same" if was == is_now else "changed")
        for name, was, is_now in lines
    ]


def _gate(run: RunRecords) -> str:
    return (
        f"{run.decision.gate_name} ({formats.short(run.decision.gate_digest)})"
        if run.decision
        else formats.MISSING
    )


def _figures(before: RunRecords, now: RunRecords) -> list[Change]:
    lines: list[Change] = []
    if before.candidate and now.candidate:
        lines.append(
            _line("Size", float(before.candidate.bytes), float(now.candidate.bytes), formats.size)
        )
    if before.evaluation and now.evaluation:
        for name, label in (
            ("perplexity", "Perplexity"),
            ("kl_mean", "Mean KL divergence (nats)"),
            ("top1_agreement", "Top-1 agreement"),
        ):
            old, new = before.evaluation.metrics.get(name), now.evaluation.metrics.get(name)
            if old and new:
                lines.append(
                    _line(
                        label,
                        old.value,
                        new.value,
                        formats.percent if name == "top1_agreement" else formats.number,
                    )
                )
    if before.benchmark and now.benchmark:
        old_color, new_color = before.benchmark.candidate, now.benchmark.candidate
        lines.append(
            _line(
                "Output tokens/s",
                old_color.output_tokens_per_second,
                new_color.output_tokens_per_second,
                formats.number,
            )
        )
        for label, was, is_now in (
            (LATENCIES["ttft"].label, old_color.ttft, new_color.ttft),
            (LATENCIES["itl"].label, old_color.itl, new_color.itl),
            (LATENCIES["e2e"].label, old_color.e2e, new_color.e2e),
        ):
            if was and is_now:
                lines += [
                    _line(f"{label} p50", was.p50, is_now.p50, formats.duration),
                    _line(f"{label} p95", was.p95, is_now.p95, formats.duration),
                ]
    return lines


def _line(name: str, before: float, now: float, form: Callable[[float], str]) -> Change:
    return Change(name, form(before), form(now), formats.change(now, before))
