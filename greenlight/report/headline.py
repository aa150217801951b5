"""What a run came to, as sentences: the verdict in one line, and what happened to the traffic."""

from dataclasses import dataclass
from typing import Literal

from greenlight.core.history import OutcomeName, RunRecords, StepError
from greenlight.core.records import WITHOUT_BITS, Release

Tone = Literal["good", "bad", "waiting", "neutral"]

# Steps that may have moved the traffic when they fail. All before them leave it alone.
MOVES_TRAFFIC = ("promote",)

TITLES: dict[OutcomeName, tuple[str, Tone, str]] = {
    "promoted": ("Promoted", "good", "✓"),
    "already_live": ("Already live", "good", "✓"),
    "up_to_date": ("Up to date", "neutral", "="),
    "held": ("Passed, and held", "waiting", "⏸"),
    "retired": ("Not promoted", "bad", "✗"),
    "rolled_back": ("Rolled back", "bad", "↩"),
    "failed": ("Failed", "bad", "!"),
    "unfinished": ("Unfinished", "waiting", "…"),
    "unreadable": ("Unreadable", "bad", "?"),
}


@dataclass(frozen=True)
class Headline:
    """The top of the page.

    Attributes:
        title: what became of the run, in a few words.
        tone: how the page colors it.
        symbol: one character that says the same as the color.
        sentence: the verdict of the gate, or what failed.
        traffic: whether the traffic moved, and where it is.
    """

    title: str
    tone: Tone
    symbol: str
    sentence: str
    traffic: str


def headline_of(run: RunRecords) -> Headline:
    """What the run came to."""
    title, tone, symbol = TITLES[run.outcome]
    if run.outcome == "retired" and run.decision and run.decision.verdict == "inconclusive":
        title, tone, symbol = "Not promoted: inconclusive", "waiting", "~"
    return Headline(title, tone, symbol, _sentence(run), _traffic(run))


def _sentence(run: RunRecords) -> str:
    match run.outcome:
        case "failed":
            return " ".join(f"{error.step} failed: {_first_line(error)}" for error in run.errors)
        case "up_to_date":
            return (
                f"Nothing new to release: {run.resolution.reason}."
                if run.resolution
                else "Nothing new to release."
            )
        case "unfinished" if not run.exists:
            return "The history holds nothing of this run."
        case "unfinished":
            after = f"after {run.finished[-1]}" if run.finished else "before its first record"
            return (
                f"The run stopped {after} without an error: it was killed, or it is still running."
            )
        case "unreadable":
            return (
                "The records that say how the run ended cannot be read:"
                f" {', '.join(item.name for item in run.unreadable)}."
            )
    reason = run.promotion.reason if run.promotion and run.outcome == "rolled_back" else ""
    if run.decision is None:
        return reason or "The decision of the gate is missing."
    objectives = run.decision.objectives
    passed = sum(objective.status == "pass" for objective in objectives)
    if passed == len(objectives) and run.decision.verdict == "promote":
        kept = f"{_model(run)} kept all {passed} objectives of the gate {run.decision.gate_name}."
        return f"{kept} {reason}".strip()
    missed = [
        f"{objective.name} ({objective.status})"
        for objective in objectives
        if objective.status != "pass"
    ]
    verdict = {
        "reject": "is rejected",
        "inconclusive": "is not proven",
        "promote": "may be promoted",
    }[run.decision.verdict]
    because = f": {', '.join(missed)}" if missed else ""
    return (
        f"{_model(run)} {verdict} by the gate {run.decision.gate_name}{because}. {passed} of"
        f" {len(objectives)} objectives were kept."
    )


def _first_line(error: StepError) -> str:
    return (error.message or error.error or "it does not say why").strip().splitlines()[0]


def _model(run: RunRecords) -> str:
    if run.decision is None:
        return "The candidate"
    release = run.decision.deployment.candidate
    return f"{release.source} ({method_text(release.method, release.bits)})"


def method_text(name: str, bits: int) -> str:
    """How a model was quantized, as text for people."""
    if name in WITHOUT_BITS:
        return {"none": f"{bits}-bit, not quantized", "smallest": "smallest, 4- and 8-bit"}[name]
    return f"{name}, {bits}-bit"


def _traffic(run: RunRecords) -> str:
    promotion, deployment = (
        run.promotion,
        run.deployment or (run.decision.deployment if run.decision else None),
    )
    if promotion is not None:
        live = _name(promotion.live)
        when = f" at {promotion.switched_at:%Y-%m-%d %H:%M:%S} UTC" if promotion.switched_at else ""
        before = f" from {_name(promotion.previous)}" if promotion.previous else ""
        watched = (
            f" {promotion.probes} probes since, {promotion.errors} failed."
            if promotion.probes
            else ""
        )
        # the reason of a rollback says it already
        if promotion.bake and promotion.bake.sentence and promotion.outcome == "promoted":
            watched += f" {promotion.bake.sentence}"
        return {
            "promoted": f"The traffic moved to {live}{before}{when}.{watched}",
            "already_live": f"The traffic was on {live} already.",
            "rolled_back": f"The traffic moved, failed its watch, and is back on {live}.{watched}",
            "retired": (
                f"The traffic did not move: it stays on {live}. The candidate was taken down."
            ),
        }[promotion.outcome]
    if run.outcome == "up_to_date":
        release = (
            f" on {run.resolution.live_release_id}"
            if run.resolution and run.resolution.live_release_id
            else ""
        )
        return f"The traffic did not move: it stays{release}."
    live = f" on {_name(deployment.live)}" if deployment else " where it was"
    if run.outcome == "held" and deployment:
        waits = (
            f"The candidate waits on {deployment.candidate.color}; `greenlight promote"
            f" {run.run_id}` gives it the traffic."
        )
        return f"The traffic did not move: it stays{live}. {waits}"
    if any(error.step in MOVES_TRAFFIC for error in run.errors) or (
        run.decision is not None and run.decision.action == "promote"
    ):
        return (
            "The run does not say whether the traffic moved: `greenlight status` does, and the next"
            " run or `greenlight promote` finishes what was begun."
        )
    if run.outcome == "unreadable":
        return (
            "What happened to the traffic cannot be read here: `greenlight status` says what is"
            " live."
        )
    left = (
        f" The candidate may still be up on {deployment.candidate.color}; the next run takes its"
        " place."
        if deployment
        else ""
    )
    return f"The traffic did not move: it stays{live}.{left}"


def _name(release: Release) -> str:
    return f"{release.release_id} on {release.color}"
