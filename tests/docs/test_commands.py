"""The commands of the pages: each is one that the program takes, each that can run here is run, and
what a page shows of one is what it prints.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from greenlight.cli import service_commands
from greenlight.cli.main import app
from greenlight.core.errors import InputError
from greenlight.gate.judge import judge
from greenlight.gate.objectives import load_gate
from greenlight.models.builtin import TINY
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.report.run_factory import START, RunFactory
from tests.rollout.stage import Stage, decision_on

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```[a-z]*\n(.*?)```", re.S)
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?greenlight ([^#\n]*)", re.M)

NOT_HERE = {
    r"run\b": ("tests/end_to_end", "takes minutes"),
    r"compile\b": ("tests/cli/test_cli.py", "takes ten seconds, and is run there"),
    r"(quantize|evaluate)\b": ("tests/end_to_end", "takes half a minute"),
    r"(benchmark|saturate)\b": ("tests/benchmark", "loads servers for minutes"),
    r"gate calibrate": ("tests/gate/test_calibrate_service.py", "loads a server for minutes"),
    r"(follow|cancel|ui|schedule|template)\b": (
        "tests/cli/test_cloud_commands.py",
        "is sent to a cloud, there to servers that speak its API",
    ),
    r"(status|deploy|sleep|wake|recover) .*--target": ("tests/cluster", "needs a cluster"),
}
"""Commands of the pages that this file only parses: where they are run, and why not here."""

MOVES = ("status", "promote", "rollback", "recover", "switch", "sleep", "wake", "deploy", "down")
"""Commands about a service, in an order in which each has something to do."""


def lines_of(page: Path) -> Iterator[str]:
    for block in FENCE.findall(page.read_text()):
        for line in COMMAND.findall(block.replace("\\\n", " ")):
            yield from variants(line.strip())


def variants(line: str) -> list[str]:
    """`follow|cancel RUN` is two commands, `status [--json | --watch]` is three. What may be left
    out, is; the README's `…` stands for more.
    """
    line = line.replace("…", "").strip()
    if found := re.search(r" ?\[([^\]]*)\]", line):
        options = [part.strip() for part in found[1].split("|") if part.strip().startswith("--")]
        return [line.replace(found[0], f" {option}".rstrip()) for option in ["", *options]]
    if found := re.search(r"(?<!\S)[a-z]+(\|[a-z]+)+", line):
        return [line.replace(found[0], one) for one in found[0].split("|")]
    return [line]


COMMANDS = sorted({line for page in PAGES for line in lines_of(page)})
REFUSED = {
    line.strip(): error
    for page in PAGES
    for line, error in re.findall(r"^\$ greenlight ([^#\n]*)\nerror: (.*)", page.read_text(), re.M)
}
"""Commands that a page shows going wrong, with what they say."""


def here(line: str) -> bool:
    # which one page shows going wrong, and others going right
    wrong = line in REFUSED and line != "rollback"
    return (
        not wrong
        and "--watch" not in line
        and not any(re.match(pattern, line) for pattern in NOT_HERE)
    )


@pytest.mark.parametrize("line", COMMANDS)
def test_the_program_takes_it(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not hasattr(command, "commands"), f"no such command: {line}"
    command.make_context("greenlight", words)  # parses as the program does, and calls nothing


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    for pattern, (place, _) in NOT_HERE.items():
        assert any(re.match(pattern, line) for line in COMMANDS), f"no page has {pattern}"
        assert (ROOT / place).exists(), place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands after some runs: a history, one of whose runs was judged by the real
    gate, and a gate file of their own, and a model.
    """
    folder = tmp_path_factory.mktemp("reader")
    history = folder / ".greenlight/history"
    RunFactory(history, "20261124-222105-c2b2").through("gate").moved()
    judged = RunFactory(
        history, "20261125-101500-9f01", began=START + timedelta(days=1), method="bnb", bits=4
    ).through("benchmark")
    artifacts = [str(path) for path in make_artifacts(folder / "artifacts", World(slower=0.3))]
    releases = {
        role: getattr(DEPLOYMENT, role).model_copy(update={"service": judged.service})
        for role in ("candidate", "live")
    }
    decision = judge(
        Path(artifacts[0]),
        Path(artifacts[1]),
        DEPLOYMENT.model_copy(update=releases),
        load_gate("quick"),
    )
    judged.write(
        "gate",
        decision.model_copy(update={"evaluation_uri": artifacts[0], "benchmark_uri": artifacts[1]}),
    )
    shutil.copytree(TINY, folder / "MODEL")
    (folder / "FILE").write_text((ROOT / "pipelines/gates/quick.yaml").read_text())
    return folder


@pytest.fixture
def greenlight(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """The command in this process, as its reader would call it."""
    monkeypatch.chdir(folder)
    for name in ("TARGET", "SERVICE", "NAMESPACE", "HISTORY", "RUNNER"):
        monkeypatch.delenv(f"GREENLIGHT_{name}", raising=False)
    monkeypatch.setenv("GREENLIGHT_HOME", ".greenlight")

    def call(line: str) -> Result:
        return CliRunner().invoke(app, shlex.split(line), env={"COLUMNS": "80"})

    return call


def ran(done: Result, line: str) -> Result:
    assert done.exit_code == 0, f"{line}: {done.output} {done.exception!r}"
    return done


INLINE = sorted(
    {
        " ".join(found.split())
        for page in PAGES
        for found in re.findall(r"`greenlight ([^`…]+)`", FENCE.sub("", page.read_text()))
    }
)


@pytest.mark.parametrize("line", INLINE)
def test_what_a_sentence_names_is_there(line: str) -> None:
    """It may leave out what must be given, and say no value."""
    for each in variants(line):
        command, words = typer.main.get_command(app), shlex.split(each)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        options = {
            name
            for parameter in command.params
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        assert not hasattr(command, "commands") or not words, f"no such command: {each}"
        assert {word for word in words if word.startswith("--")} <= options, each


READING = [
    line for line in COMMANDS if here(line) and not line.startswith(MOVES) and "gs://" not in line
]


@pytest.mark.parametrize("line", READING)
def test_it_runs(greenlight: Callable[[str], Result], line: str) -> None:
    for name in ("20261124-222105-c2b2", "20261125-101500-9f01"):
        line = re.sub(r"\bRUN\b", name, line, count=1)
    line = line.replace("DECISION", ".greenlight/history/20261125-101500-9f01/gate.json")
    assert ran(greenlight(line), line).output
    # which print a path, and JSON
    if line.split()[0] not in ("report", "download") and "--json" not in line:
        json.loads(ran(greenlight(f"{line} --json"), line).stdout)


def test_a_history_in_a_bucket(
    greenlight: Callable[[str], Result], folder: Path, bucket: Any
) -> None:
    history = folder / ".greenlight/history"
    for path in history.rglob("*.json"):
        bucket.blob(f"greenlight/{path.relative_to(history)}").upload_from_filename(str(path))
    (line,) = [line for line in COMMANDS if here(line) and "gs://BUCKET" in line]
    line = line.replace("BUCKET", bucket.name)
    listed = json.loads(ran(greenlight(line), line).stdout)
    assert [run["run_id"] for run in listed] == ["20261125-101500-9f01", "20261124-222105-c2b2"]
    assert "20261124-222105-c2b2" in ran(greenlight(line.replace("--json", "")), line).stdout


@pytest.mark.parametrize(
    "line", [line for line in REFUSED if "--bits 3" in line or "127.0.0.1:9 " in line]
)
def test_a_wrong_value_is_refused_as_the_page_shows(
    greenlight: Callable[[str], Result], line: str
) -> None:
    done = greenlight(line)
    assert isinstance(done.exception, InputError) and str(done.exception) == REFUSED[line]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_those_about_a_service_run(
    greenlight: Callable[[str], Result], stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real processes behind the real endpoint, which answer at once: a green waits for its
    promotion, and so on in the order of MOVES.
    """
    monkeypatch.setattr(service_commands, "open_service", lambda *_: stage.target)
    monkeypatch.setenv("GREENLIGHT_SERVICE", stage.target.service)
    held = RunFactory(
        folder / ".greenlight/history",
        "held",
        began=START + timedelta(days=2),
        service=stage.target.service,
    )
    held.resolve().write(
        "gate",
        decision_on(stage.deploy(run_id="held"), bake_seconds=0).model_copy(
            update={"action": "hold"}
        ),
    )
    for name in ("out/int8", "DIR"):
        stage.another_candidate(name)
    for verb in MOVES:
        lines = [line for line in COMMANDS if here(line) and line.split()[0] == verb]
        assert lines, f"no page says how to {verb}"
        for line in lines:
            ran(greenlight(re.sub(r"(?<=--model-path )(\S+)", rf"{stage.folder}/\1", line)), line)
    moved = json.loads(
        ran(
            greenlight(f"deploy --model-path {stage.folder}/DIR --auto-switch --json"), "deploy"
        ).stdout
    )
    back = json.loads(ran(greenlight("rollback --json"), "rollback").stdout)
    assert (moved["outcome"], back["outcome"], back["live"]["color"]) == (
        "promoted",
        "rolled_back",
        moved["previous"]["color"],
    )
    assert json.loads(ran(greenlight("recover --json"), "recover").stdout) is None
    assert (
        json.loads(ran(greenlight("status --json"), "status").stdout)["live"]
        == back["live"]["color"]
    )


def shown() -> list[tuple[str, str, str]]:
    """`$ greenlight …` of the commands that print the same everywhere, with what the page shows
    below it.
    """
    found = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text()):
            for line, output in re.findall(
                r"^\$ (?:\.venv/bin/)?greenlight ([^#\n]*)\n((?:(?!\$ ).*\n?)*)", block, re.M
            ):
                if line.startswith(("gate explain", "cost")) and output.strip():
                    found.append((page.name, line.strip(), output))
    return found


@pytest.mark.parametrize(("page", "line", "output"), shown())
def test_it_prints_what_the_page_shows(
    greenlight: Callable[[str], Result], page: str, line: str, output: str
) -> None:
    printed = " ".join(ran(greenlight(line), line).stdout.split())
    wanted = [re.escape(" ".join(part.split())) for part in output.split("…") if part.strip()]
    assert re.search(".*".join(wanted), printed), f"{page}: {line} prints\n{printed}"
