"""The commands that show a service, move its traffic by hand, and stop and start it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from greenlight.cli.options import (
    FIRST_PORT,
    RecordedServiceOptions,
    ServiceOptions,
    takes,
)
from greenlight.cli.run_outcome import find_held_run, show_promotion
from greenlight.cli.service_status import show_status, watch_status
from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.records import Color, Promotion

if TYPE_CHECKING:
    from greenlight.rollout.target import Target

EXIT_NOT_PROMOTED = 3

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask for confirmation at a terminal.")
]


def register(app: typer.Typer) -> None:
    for command in (status, deploy, switch, promote, rollback, recover, down, sleep, wake):
        app.command()(command)


@takes(ServiceOptions)
def status(
    about: ServiceOptions,
    as_json: JsonOption = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Refresh every second, with instances and the latest events, until Ctrl-C.",
        ),
    ] = False,
) -> None:
    """Show what each color runs and whether it answers, which one is live, since when and from
    which run, and any rollout that is under way.
    """
    from greenlight.rollout.status import read_status

    place, console = open_service(about), Console(highlight=False)
    if watch:
        watch_status(console, lambda: read_status(place))
    elif as_json:
        print(read_status(place).model_dump_json(indent=2))
    else:
        show_status(console, read_status(place))


@takes(RecordedServiceOptions)
def deploy(
    about: RecordedServiceOptions,
    model_path: Annotated[
        str, typer.Option(help="Model artifact to deploy: a folder, or a gs:// prefix.")
    ],
    replicas: Annotated[int, typer.Option(min=1, help="Number of serving processes or pods.")] = 1,
    engine: Annotated[
        str, typer.Option(help="Engine: auto (from the artifact), openvino, transformers or vllm.")
    ] = "auto",
    prompts: Annotated[
        str,
        typer.Option(
            help="Prompts that the model must answer: a JSONL path or gs:// URI, or builtin."
        ),
    ] = "builtin",
    skip_tests: Annotated[
        bool, typer.Option("--skip-tests", help="Do not send the prompts to the deployed model.")
    ] = False,
    auto_switch: Annotated[
        bool, typer.Option("--auto-switch", help="Move the traffic to the model once it serves.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            help=(
                "Port of the stable endpoint on the local target. 0: the port that it has, or"
                " 8080 for a new service."
            )
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Deploy a model to the idle color without a pipeline.

    No gate judges it. `greenlight switch` moves the traffic to it.
    """
    from greenlight.benchmark.prompts import load_texts
    from greenlight.models.upload import upload_to_bucket
    from greenlight.rollout import by_hand
    from greenlight.rollout.releases import Source

    place = open_service(about, port)
    if about.target == "local" and not place.endpoint:
        place = open_service(about, FIRST_PORT)
    texts = load_texts(prompts)
    remote = model_path.startswith("gs://")
    folder = model_path if remote else str(Path(model_path).absolute())
    source = Source(folder, folder)
    source.model  # noqa: B018  refuses what is no artifact, before anything is done
    place.check()
    if not remote and place.kind != "local":
        source = Source(folder, upload_to_bucket(Path(folder), folder, about.history))
    run_id = f"deploy-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    release = by_hand.deploy(
        place,
        source,
        run_id=run_id,
        engine=engine,
        replicas=replicas,
        prompts=texts,
        test=not skip_tests,
    )
    if not as_json:
        print(f"deployed   {release.release_id} on {release.color}")
    if auto_switch:
        moved = by_hand.switch(place, release.color, run_id)
        _exit(_save_move(moved, about), as_json)
    if as_json:
        print(release.model_dump_json(indent=2))


@takes(RecordedServiceOptions)
def switch(
    about: RecordedServiceOptions,
    color: Annotated[str, typer.Argument(help="Color that gets the traffic: blue or green.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move the traffic to a color by hand, without a gate.

    If the color does not serve and answer, the traffic goes back.
    """
    from greenlight.rollout import by_hand

    to: Color
    match color:
        case "blue" | "green":
            to = color
        case _:
            raise InputError("color", color, "use blue or green")
    place = open_service(about)
    _ask(f"Move the traffic of {about.service} to {color}?", yes)
    _exit(_save_move(by_hand.switch(place, to), about), as_json)


@takes(RecordedServiceOptions)
def promote(
    about: RecordedServiceOptions,
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Run whose decision is carried out. Empty: the newest run that was held.",
        ),
    ] = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move the traffic to the candidate of a run that was held: one with --no-auto-promote, whose
    gate said promote.
    """
    from greenlight.core import storage
    from greenlight.report.write import write_report
    from greenlight.rollout import bluegreen

    history = about.place
    run_id, decision = find_held_run(history, run_id, about.service)
    candidate, live = decision.deployment.candidate, decision.deployment.live
    _ask(
        f"The gate says {decision.verdict}. Move the traffic of {about.service} from"
        f" {live.release_id} to {candidate.release_id} on {candidate.color}?",
        yes,
    )
    promotion = bluegreen.promote(open_service(about), decision, run_id)
    storage.write_bytes(
        storage.join(history, run_id, "promote.json"), promotion.model_dump_json(indent=2).encode()
    )
    report = (
        Path(history) / run_id / "report.html"
        if not storage.is_remote(history)
        else about.home.absolute() / f"report-{run_id}.html"
    )
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(history, run_id, report, None)
    if not as_json:
        print(f"report     {report}")
    _exit(promotion, as_json)


@takes(RecordedServiceOptions)
def rollback(
    about: RecordedServiceOptions,
    as_json: JsonOption = False,
) -> None:
    """Give the traffic back to the release that was live before.

    This takes a moment while that release is still warm; later it is started first.
    """
    from greenlight.rollout import bluegreen

    moved = bluegreen.rollback(open_service(about))
    _show(_save_move(moved, about), as_json)


@takes(ServiceOptions)
def recover(
    about: ServiceOptions,
    as_json: JsonOption = False,
) -> None:
    """Finish or undo what a run that died left, and scale down an old color that was kept warm long
    enough.

    It is safe to run at any time.
    """
    from greenlight.rollout import lifecycle

    if finished := lifecycle.recover(open_service(about)):
        _show(finished, as_json)
    else:
        print("null" if as_json else "nothing was left undone")


@takes(ServiceOptions)
def down(
    about: ServiceOptions,
) -> None:
    """Stop both colors and the endpoint.

    What was live stays recorded, and the next run or a rollback starts it again.
    """
    from greenlight.rollout import lifecycle

    lifecycle.down(open_service(about))
    print(f"{about.service} is down")


@takes(ServiceOptions)
def sleep(
    about: ServiceOptions,
    as_json: JsonOption = False,
) -> None:
    """Stop serving for a while, to save cost.

    Only `greenlight wake` or a run starts it again; `greenlight recover` does not. It is refused
    while a rollout is under way.
    """
    from greenlight.rollout import lifecycle

    live = lifecycle.sleep(open_service(about))
    print(
        live.model_dump_json(indent=2)
        if as_json
        else f"{about.service} sleeps; {live.release_id} is live again after `greenlight wake`"
    )


@takes(ServiceOptions)
def wake(
    about: ServiceOptions,
    as_json: JsonOption = False,
) -> None:
    """Start a service that sleeps, and return when its live release is ready."""
    from greenlight.rollout import lifecycle

    live = lifecycle.wake(open_service(about))
    print(
        live.model_dump_json(indent=2)
        if as_json
        else f"{about.service} is awake: {live.release_id} is live on {live.color}"
    )


def open_service(about: ServiceOptions, port: int = 0) -> "Target":
    """The target that the options name. Raises InputError."""
    from greenlight.rollout.targets import open_target

    home = str(about.home.absolute())
    return open_target(about.target, about.service, about.namespace, home, port)


def _save_move(moved: Promotion, about: RecordedServiceOptions) -> Promotion:
    """Write the move to the history, since the cluster records only what is live now. A history
    that cannot be written undoes no move, so the reason is only printed.
    """
    from greenlight.core.history import save_move

    if not about.history and about.target != "local":
        print(
            "the move is in no history, since none was given: use --history gs://… or"
            " GREENLIGHT_HISTORY",
            file=sys.stderr,
        )
        return moved
    try:
        save_move(about.place, moved)
    except Exception as error:  # a bucket fails in many ways
        print(
            f"the move is not in the history: {type(error).__name__}: {error}".splitlines()[0],
            file=sys.stderr,
        )
    return moved


def _ask(question: str, yes: bool) -> None:
    """Ask a person at a terminal to confirm; a script is not asked. Raises GreenlightError."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty() and not typer.confirm(question):
        raise GreenlightError("nothing was moved.")


def _show(promotion: Promotion, as_json: bool) -> None:
    if as_json:
        print(promotion.model_dump_json(indent=2))
    else:
        show_promotion(Console(highlight=False), promotion)


def _exit(promotion: Promotion, as_json: bool) -> None:
    _show(promotion, as_json)
    raise SystemExit(0 if promotion.outcome in ("promoted", "already_live") else EXIT_NOT_PROMOTED)
