"""The commands about gates: `greenlight gate explain | replay`."""

from typing import Annotated

import typer
from rich.console import Console

from components.errors import IntegrityError
from pipelines.service_commands import EXIT_NOT_PROMOTED

app = typer.Typer(name="gate", no_args_is_help=True, help="What a gate means, and what it would have said.")


@app.command()
def explain(gate: Annotated[str, typer.Argument(help="The name of a shipped gate, a path, or a gs:// URI.")]) -> None:
    """Print what a gate file means: a sentence for each objective. A bad file is refused with what to write instead."""
    from components.gate.objectives import load_gate
    from components.gate.sentences import explain as sentences

    for line in sentences(load_gate(gate)):
        print(line)


@app.command()
def replay(
    decision: Annotated[str, typer.Argument(help="gate.json of a run's history, the folder of a decision, or a gs:// URI.")],
    gate: Annotated[str, typer.Option(help="Judge by this gate instead: the name of a shipped one, a path, or a gs:// URI.")] = "",
) -> None:
    """Judge a run again from its recorded artifacts: the same verdict to the last bit, or what another gate would have said.

    Exit codes: 0 the same as recorded (with --gate: promote); 1 it differs or the artifacts are gone; 3 with --gate: not promoted.
    """
    from components.gate.objectives import load_gate
    from components.gate.replay import differences, load_decision, replay
    from pipelines.display import objectives_table

    recorded = load_decision(decision)
    again = replay(recorded, load_gate(gate) if gate else None)
    Console(highlight=False).print(objectives_table(again))
    print(f"{again.verdict}: {again.reason}")
    if gate:
        print(f"The run was judged {recorded.verdict} by the gate {recorded.gate_name}; by {again.gate_name} it is {again.verdict}.")
        raise typer.Exit(0 if again.verdict == "promote" else EXIT_NOT_PROMOTED)
    if changed := differences(recorded, again):
        raise IntegrityError(
            f"the replay differs from the record in {', '.join(changed)}. Another version of the code made it ({recorded.code_version or 'unknown'})."
        )
    print("The same as recorded, to the last bit.")
