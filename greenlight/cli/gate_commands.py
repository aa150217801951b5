"""The commands about gates: `greenlight gate explain | calibrate | replay | backtest`."""

import json
from typing import Annotated

import typer
from rich.console import Console

from greenlight.cli.options import RecordedServiceOptions, ServiceHistoryOptions, takes
from greenlight.cli.service_commands import EXIT_NOT_PROMOTED, JsonOption, open_service
from greenlight.cli.step_commands import log_to_terminal
from greenlight.core import storage
from greenlight.core.errors import GreenlightError, InputError, IntegrityError

app = typer.Typer(
    name="gate",
    no_args_is_help=True,
    help=("Explain a gate, measure what it can detect on a service, and judge past runs with it."),
)


@app.command()
def explain(
    gate: Annotated[
        str, typer.Argument(help="Gate: the name of a shipped one, a path, or a gs:// URI.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Print what a gate file means, one sentence per objective.

    A file with a mistake is refused, and the message says what to write instead.
    """
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.sentences import explain as sentences

    lines = sentences(load_gate(gate))
    print(json.dumps(lines, indent=2) if as_json else "\n".join(lines))


@app.command()
def replay(
    decision: Annotated[
        str,
        typer.Argument(
            help=(
                "Decision of a run: its gate.json in the history, the folder that holds one, or a"
                " gs:// URI of either."
            )
        ),
    ],
    gate: Annotated[
        str,
        typer.Option(
            help=(
                "Gate to judge by instead of the recorded one: the name of a shipped one, a path,"
                " or a gs:// URI."
            )
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Judge a run again from its recorded artifacts, by its own gate or by another.

    Exit codes: 0 the verdict is the recorded one, to the last bit, or with --gate it is promote; 1
    it differs, or the artifacts are gone; 3 with --gate, the verdict is not promote.
    """
    from greenlight.cli.gate_tables import objectives_table
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.replay import find_differences, load_decision, replay

    recorded = load_decision(decision)
    again = replay(recorded, load_gate(gate) if gate else None)
    changed = find_differences(recorded, again)
    if as_json:
        found = {
            "recorded": recorded.verdict,
            "differences": changed,
            "decision": again.model_dump(mode="json"),
        }
        print(json.dumps(found, indent=2))
    else:
        Console(highlight=False).print(objectives_table(again))
        print(f"{again.verdict}: {again.reason}")
    if gate:
        if not as_json:
            print(
                f"The verdict of gate {recorded.gate_name} was {recorded.verdict}; that of gate"
                f" {again.gate_name} is {again.verdict}."
            )
        raise typer.Exit(0 if again.verdict == "promote" else EXIT_NOT_PROMOTED)
    if changed:
        raise IntegrityError(
            f"the replay differs from the record in {', '.join(changed)}. Another version of the"
            f" code made it ({recorded.code_version or 'unknown'})."
        )
    if not as_json:
        print("The same as recorded, to the last bit.")


@app.command()
@takes(RecordedServiceOptions)
def calibrate(
    about: RecordedServiceOptions,
    gate: Annotated[
        str, typer.Option(help="Gate: the name of a shipped one, a path, or a gs:// URI.")
    ] = "default",
    pairs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Pairs per measurement. 0: as many as the gate measures.",
        ),
    ] = 0,
    runs: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            help="Number of measurements. Their pairs are judged together.",
        ),
    ] = 1,
    workload: Annotated[
        str,
        typer.Option(
            help=(
                "Workload, which says what is sent and when: the name of a shipped one, a path, or"
                " a gs:// URI."
            )
        ),
    ] = "short",
    prompts: Annotated[
        str,
        typer.Option(
            help=(
                "Prompts instead of the workload's: a JSONL file of texts or chats. builtin: the"
                " workload's."
            )
        ),
    ] = "builtin",
    as_json: JsonOption = False,
) -> None:
    """Measure the live color against itself: how noisy this service is, and how often this gate
    would promote a model that is equally good.

    It puts the gate's load on the live color and moves no traffic. The result is kept, and
    `greenlight run` warns with it.

    Exit codes: 0 the gate promotes an equal model here in 95% of runs or more; 3 it does not.
    """
    from greenlight.benchmark.prompts import check_prompts
    from greenlight.benchmark.workload import load_workload
    from greenlight.cli.gate_tables import calibration_table
    from greenlight.core.cache_keys import step_key
    from greenlight.core.history import calibration_file
    from greenlight.gate.calibrate_service import calibrate_service
    from greenlight.gate.objectives import load_gate

    judge = load_gate(gate)
    load = load_workload(workload, prompts)
    place = open_service(about)
    check_prompts(load.prompts)
    kept = about.place
    if place.kind != "local":
        if not storage.is_remote(kept):
            raise InputError(
                "history", kept, "a cluster needs a bucket for its results; give a gs:// prefix"
            )
        place.check()
    log_to_terminal()
    record = calibrate_service(place, judge, load, pairs, runs, kept, step_key("gate"))
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        console = Console(highlight=False)
        console.print(calibration_table(record))
        console.print(
            f"Of {record.judged} equal models, resampled from {record.pairs:,} pairs, the gate"
            f" promoted {100 * record.promoted:.1f}%, left {100 * record.inconclusive:.1f}%"
            f" inconclusive, and rejected {100 * record.rejected:.1f}% (false alarms). On average"
            f" it used {100 * record.pairs_used:.0f}% of the pairs.",
            soft_wrap=True,
        )
        console.print(record.reason, markup=False, soft_wrap=True)
        console.print(
            f"kept in {calibration_file(kept, about.service)}", markup=False, soft_wrap=True
        )
    raise typer.Exit(0 if record.resolvable else EXIT_NOT_PROMOTED)


@app.command()
@takes(ServiceHistoryOptions)
def backtest(
    runs_of: ServiceHistoryOptions,
    gate: Annotated[
        str,
        typer.Option(help="Gate to judge by: the name of a shipped one, a path, or a gs:// URI."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Judge every recorded run of a service by another gate, from the artifacts of those runs.

    Exit codes: 0 every run that could be judged gets its recorded verdict; 1 no run could be
    judged; 3 at least one verdict changes.
    """
    from greenlight.cli.gate_tables import backtest_table
    from greenlight.gate.backtest import backtest
    from greenlight.gate.objectives import load_gate

    judge = load_gate(gate)
    log_to_terminal()
    tried = backtest(runs_of.place, judge, runs_of.service)
    counts = {
        outcome: sum(each.outcome == outcome for each in tried)
        for outcome in ("same", "changed", "skipped")
    }
    if as_json:
        runs = [each.model_dump(mode="json") | {"outcome": each.outcome} for each in tried]
        print(json.dumps({"gate": judge.name, "counts": counts, "runs": runs}, indent=2))
    else:
        console = Console(highlight=False)
        if tried:
            console.print(backtest_table(tried, judge.name))
        print(
            f"{counts['same']} with the same verdict, {counts['changed']} changed,"
            f" {counts['skipped']} skipped"
        )
    if not counts["same"] + counts["changed"]:
        raise GreenlightError(
            f"no run of {runs_of.service} in {runs_of.place} could be judged. `greenlight run`"
            " makes one; --history names another place."
        )
    raise typer.Exit(EXIT_NOT_PROMOTED if counts["changed"] else 0)
