"""What the command line prints of a run that ended and of moved traffic."""

from pathlib import Path

from rich.console import Console

from greenlight.cli.gate_tables import STATUS_STYLES, objectives_table
from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.core.history import RunRecords, load_run, runs
from greenlight.core.records import Decision, Promotion
from greenlight.pipelines.outcome import exit_code_of
from greenlight.report.overview import line_of


def show_outcome(
    console: Console, history: str, run_id: str, log: Path | str, as_json: bool = False
) -> int:
    """Print the objectives, the verdict and where everything is; with `as_json` also print the run
    as JSON on stdout. Returns the exit code of the run.
    """
    run = load_run(history, run_id)
    if run.decision is not None:
        console.print()
        console.print(objectives_table(run.decision))
        for result in run.decision.objectives:
            if result.status != "pass":
                console.print(
                    f"  {result.name}: {result.reason}",
                    style=STATUS_STYLES[result.status],
                    markup=False,
                    soft_wrap=True,
                )
    console.print()
    for line in _verdict(run):
        console.print(line, markup=False, soft_wrap=True)
    report = storage.join(history, run_id, "report.html")
    console.print(f"report     {report}", soft_wrap=True)
    console.print(f"artifacts  {storage.join(history, run_id)}", soft_wrap=True)
    console.print(f"log        {log}", soft_wrap=True)
    if as_json:
        print(line_of(run).model_dump_json(indent=2))
    return exit_code_of(run)


def _verdict(run: RunRecords) -> list[str]:
    lines = []
    if run.outcome == "up_to_date" and run.resolution:
        lines.append(f"verdict    up_to_date: {run.resolution.reason}")
    elif run.decision is not None:
        lines.append(f"verdict    {run.decision.verdict}: {run.decision.reason}")
    if run.promotion is not None:
        lines.append(f"traffic    {promotion_line(run.promotion)}")
    elif run.outcome == "held":
        lines.append("traffic    not moved, green stays up: `greenlight promote` moves it")
    lines += [f"error      {error.step}: {error.message}" for error in run.errors]
    lines += [f"unreadable {broken.name}: {broken.reason}" for broken in run.unreadable]
    if run.outcome == "unfinished" or (run.outcome == "failed" and not run.errors):
        lines.append("error      the run did not end; the log says how far it came")
    return lines


def promotion_line(promotion: Promotion) -> str:
    live = f"{promotion.live.release_id} on {promotion.live.color}"
    if promotion.outcome == "retired":
        return f"not moved: {promotion.reason}"
    what = {
        "promoted": f"moved to {live}",
        "already_live": f"already on {live}",
        "rolled_back": f"rolled back to {live}",
    }[promotion.outcome]
    said = promotion.reason or (promotion.bake.sentence if promotion.bake else "")
    return what + (f" ({said})" if said else "")


def show_promotion(console: Console, promotion: Promotion) -> None:
    console.print(f"traffic    {promotion_line(promotion)}", markup=False, soft_wrap=True)


def find_held_run(history: str, run_id: str, service: str) -> tuple[str, Decision]:
    """The run whose decision is carried out by hand, with that decision: the named run, or the
    newest one that was held for this service.

    Raises:
        InputError: there is no such run.
    """
    for candidate in [run_id] if run_id else runs(history):
        decision = load_run(history, candidate).decision
        if (
            decision is not None
            and decision.deployment.candidate.service == service
            and (run_id or decision.action == "hold")
        ):
            return candidate, decision
    raise InputError(
        "run",
        run_id,
        f"name a run of service {service} that came to a decision; `greenlight run"
        " --no-auto-promote` makes one to promote by hand",
    )
