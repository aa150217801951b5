"""Which candidate of a sweep is deployed: of those that keep the gate's objectives on quality, the
best that the gate prefers.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from greenlight.benchmark.workload import Workload
from greenlight.core.errors import GreenlightError, RejectedError
from greenlight.core.prices import cost_per_million_tokens
from greenlight.core.records import Contender, Evaluation, Failure, Selection
from greenlight.gate.judge import judge_quality
from greenlight.gate.objectives import Gate
from greenlight.select.pareto_front import AXES, choose_best, pareto_front

log = logging.getLogger("greenlight.select")


def select_candidate(folders: Sequence[Path | str], gate: Gate, workload: Workload) -> Selection:
    """Choose among Evaluation artifacts, of which some may be Failures. The only candidate of a run
    is chosen as it is: the gate judges it later.

    Raises:
        GreenlightError: every candidate failed.
        RejectedError: none that could be scored keeps the gate's objectives on quality.
    """
    if len(folders) == 1:
        only = Evaluation.load(folders[0])
        contender = Contender(
            name=only.candidate.name,
            status="chosen",
            reason="the only candidate",
            kl=only.metrics.get("kl_mean"),
            bytes=only.candidate.bytes,
        )
        return Selection(
            chosen=contender.name,
            index=0,
            digest=only.candidate_digest,
            reason=contender.reason,
            contenders=[contender],
        )
    contenders = [_make_contender(folder, gate, workload) for folder in folders]
    passed = [each for each in contenders if each.status == "passed"]
    if not passed:
        raise _no_candidate(contenders)
    axis = AXES[gate.select.prefer]
    on_front = pareto_front(passed, axis)
    winner = choose_best(on_front, axis, gate.select.within)
    explained = [
        _explain(each, winner, on_front, gate) if each.status == "passed" else each
        for each in contenders
    ]
    for each in explained:
        log.info("%s %s: %s", each.name, each.status, each.reason)
    index = contenders.index(winner)
    return Selection(
        chosen=winner.name,
        index=index,
        digest=Evaluation.load(folders[index]).candidate_digest,
        prefer=gate.select.prefer,
        reason=explained[index].reason,
        contenders=explained,
    )


def _make_contender(folder: Path | str, gate: Gate, workload: Workload) -> Contender:
    """A candidate judged by itself: failed, refused by an objective, or passed."""
    if failure := Failure.find(folder):
        return Contender(
            name=failure.candidate, status="failed", reason=f"{failure.step}: {failure.message}"
        )
    evaluation = Evaluation.load(folder)
    objectives = judge_quality(Path(folder), gate)
    broken = next((result for result in objectives if result.status != "pass"), None)
    speed, price = evaluation.candidate.speed, workload.price_per_hour
    return Contender(
        name=evaluation.candidate.name,
        status="refused" if broken else "passed",
        reason=broken.reason if broken else "",
        kl=evaluation.metrics.get("kl_mean"),
        bytes=evaluation.candidate.bytes,
        speed=speed,
        cost_per_million_tokens=(
            cost_per_million_tokens(price.candidate, speed.tokens_per_second)
            if price and speed
            else None
        ),
        objectives=objectives,
    )


def _explain(
    each: Contender, winner: Contender, on_front: list[Contender], gate: Gate
) -> Contender:
    """The candidate with the reason why it was chosen or not."""
    axis, within = AXES[gate.select.prefer], gate.select.within
    best = axis.best(on_front)
    if each is winner:
        near = (
            f", and the best in quality of those within {within:.0%} of {best.name}"
            f" ({axis.show(best)})"
            if best is not winner
            else ""
        )
        reason = (
            f"it keeps the quality objectives of gate {gate.name}; the gate prefers {axis.label}:"
            f" {axis.show(each)}{near}"
        )
        return each.model_copy(update={"status": "chosen", "on_front": True, "reason": reason})
    if each in on_front:
        return each.model_copy(
            update={
                "on_front": True,
                "reason": (
                    f"passed, but the gate prefers {axis.label}: {axis.show(each)}, {winner.name}"
                    f" {axis.show(winner)}"
                ),
            }
        )
    above = next(other for other in on_front if axis.dominates(other, each))
    return each.model_copy(
        update={
            "reason": (
                f"passed, but {above.name} is no worse in quality and in {axis.label}:"
                f" {axis.show(each)} against {axis.show(above)}"
            )
        }
    )


def _no_candidate(contenders: list[Contender]) -> GreenlightError:
    reasons = "; ".join(f"{each.name}: {each.reason}" for each in contenders)
    if all(each.status == "failed" for each in contenders):
        return GreenlightError(
            "No candidate of the sweep could be made and scored, so nothing was deployed."
            f" {reasons}"
        )
    return RejectedError(
        "No candidate of the sweep keeps the gate's objectives on quality, so nothing was"
        f" deployed. {reasons}. Add a method with more bits."
    )
