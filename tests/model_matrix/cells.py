"""One architecture through every method and engine, a cell at a time."""

import json
import math
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.records import Evaluation, Golden, Model, recipe_name
from greenlight.models.builtin import CALIBRATION, HELDOUT
from greenlight.quantize.calibration_text import Calibration
from greenlight.quantize.methods import capabilities, check_machine
from greenlight.quantize.methods.base import Capability
from tests.model_matrix.architectures import make_model
from tests.model_matrix.forked import LateError, in_child
from tests.serving.server_process import ROOT, Server

Outcome = Literal["served", "refused", "not run", "failed"]
BITS = 16
"""Handed to methods without a choice of bits."""
DOCUMENTS, CHARACTERS = 16, 300
LIMITS = "kl_mean max 20 at 0.95"
"""For `smallest`: of random weights little is left, and any will do."""
WRONG = 1 / 8
"""Share of golden answers that may differ, as in greenlight/rollout/preconditions.py."""
LONG = 200
"""Characters of a library's error that are kept."""
VLLM_PYTHON = ROOT / ".venv-vllm/bin/python"
ON_VLLM = ("gptq", 4)
"""What is tried on vLLM, which takes long to start, where only one method is: else `none`."""
ONCE = "one method per architecture is tried on vLLM"


@dataclass(frozen=True)
class Cell:
    """Attributes:
    reason: why it was refused, not run or failed; empty where it was served.
    share: of the linear weights that have the bits that were asked for.
    kl: from the baseline, in nats.
    golden: number of golden answers that were compared.
    seconds: for the method and the evaluation; the first engine of a method has them.
    """

    architecture: str
    method: str
    bits: int | None
    engine: str
    outcome: Outcome = "not run"
    reason: str = ""
    share: float | None = None
    bytes: int | None = None
    kl: float | None = None
    golden: int | None = None
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, int | None, str]:
        return self.architecture, self.method, self.bits, self.engine

    def line(self) -> str:
        return json.dumps(asdict(self))


def run_architecture(
    name: str, folder: Path, wanted: Collection[str], vllm_once: bool = False
) -> Iterator[Cell]:
    """Every cell of an architecture, when it is done.

    Args:
        folder: an empty one.
        wanted: names of methods.
        vllm_once: try only one method on vLLM.
    """
    model, reference = folder / "baseline", folder / "reference"
    rows = [row for row in capabilities() if row.method in wanted]
    text = _text(folder, HELDOUT)
    _text(folder, CALIBRATION)
    reason = ""
    try:
        in_child(make_model, name, model)
        in_child(_make_reference, model, reference, text)
    except (GreenlightError, LateError) as error:
        outcome: Outcome = "refused" if isinstance(error, InputError) else "failed"
        reason = _one_line(error)
    for row in rows:
        cells = [Cell(name, row.method, row.bits, engine) for engine in row.engines]
        if reason:
            yield from (replace(cell, outcome=outcome, reason=reason) for cell in cells)
            continue
        on_vllm = _tried_on_vllm(model) if vllm_once else (row.method, row.bits or BITS)
        if on_vllm != (row.method, row.bits or BITS):
            skipped = [cell for cell in cells if cell.engine == "vllm"]
            yield from (replace(cell, reason=ONCE) for cell in skipped)
            cells = [cell for cell in cells if cell not in skipped]
        yield from _run_method(row, cells, model, reference, folder)


def _run_method(
    row: Capability, cells: list[Cell], model: Path, reference: Path, folder: Path
) -> Iterator[Cell]:
    started, bits = time.monotonic(), row.bits or BITS
    candidate = folder / recipe_name(row.method, bits).replace(":", "-")
    taken = []
    for cell in cells:
        try:
            in_child(_check_as_resolve_does, model, row.method, bits, cell.engine)
            taken.append(cell)
        except (GreenlightError, LateError) as error:
            outcome: Outcome = "refused" if isinstance(error, InputError) else "failed"
            yield replace(cell, outcome=outcome, reason=_one_line(error))
    if not (cells := taken):
        return
    try:
        check_machine(row.method)
    except GreenlightError as error:
        for cell in cells:
            yield replace(cell, outcome="not run", reason=_one_line(error))
        return
    try:
        record = in_child(_quantize, model, candidate, row.method, bits, folder)
        evaluation = in_child(_evaluate, reference, candidate, folder / "evaluation")
        kl = evaluation.metrics["kl_mean"].value
        if not math.isfinite(kl):
            raise LateError(f"KL is {kl}")
    except (GreenlightError, LateError) as error:
        for cell in cells:
            seconds = time.monotonic() - started
            yield replace(
                cell, outcome="failed", reason=_one_line(error), seconds=round(seconds, 1)
            )
        return
    for cell in cells:
        measured = replace(
            cell,
            share=record.quantized_share,
            bytes=record.bytes,
            kl=float(f"{kl:.4g}"),
            golden=len(evaluation.golden),
        )
        served = _serve(measured, candidate, evaluation.golden)
        yield replace(served, seconds=round(time.monotonic() - started, 1))
        started = time.monotonic()


def _serve(cell: Cell, candidate: Path, golden: list[Golden]) -> Cell:
    ask = ask_server if cell.engine == "vllm" else ask_engine
    if cell.engine == "vllm" and not VLLM_PYTHON.exists():
        return replace(cell, reason="vLLM is not installed here")
    try:
        answers = in_child(ask, candidate, cell.engine, golden)
    except (GreenlightError, LateError) as error:
        return replace(cell, outcome="failed", reason=_one_line(error))
    wrong = [
        f"{found[:40]!r} and not {each.text[:40]!r}"
        for found, each in zip(answers, golden, strict=True)
        if found.split() != each.text.split()
    ]
    if not golden:
        return replace(cell, outcome="failed", reason="there is no golden answer to compare")
    if len(wrong) > WRONG * len(golden):
        reason = f"{len(wrong)} of {len(golden)} golden answers differ, as {wrong[0]}"
        return replace(cell, outcome="failed", reason=reason)
    return replace(cell, outcome="served")


def ask_engine(candidate: Path, engine_name: str, golden: list[Golden]) -> list[str]:
    """Start an engine as the server's worker does, and ask it all prompts at once."""
    from greenlight.serving.artifact import Artifact
    from greenlight.serving.detokenizer import Vocabulary
    from greenlight.serving.engine_config import engine_config
    from greenlight.serving.engine_worker import warm_up
    from greenlight.serving.engines.base import Request, load
    from greenlight.serving.settings import Settings

    settings = Settings(model_id=str(candidate), num_threads=1, kv_cache_mb=200, max_running=8)
    artifact = Artifact.open(str(candidate))
    engine = load(engine_config(settings, artifact, artifact.choose_engine(engine_name)))
    warm_up(engine)
    vocabulary = Vocabulary(artifact.folder, artifact.vocabulary)
    prompts = [vocabulary.encode(each.prompt) for each in golden]
    answers: list[list[int]] = [[] for _ in golden]
    for number, (prompt, each) in enumerate(zip(prompts, golden, strict=True)):
        engine.add(Request(number + 1, prompt, each.tokens, 0.0, 1.0, 0, 0, False))
    while engine.busy:
        for number, tokens, finish in engine.step():
            answers[number - 1] += tokens
            if finish not in (None, "stop", "length"):
                raise GreenlightError(str(finish))
    texts = []
    for prompt, tokens in zip(prompts, answers, strict=True):
        stream = vocabulary.stream(prompt)
        texts.append(stream.push(tokens) + stream.finish())
    return texts


def ask_server(candidate: Path, engine: str, golden: list[Golden]) -> list[str]:
    """Start the server in the environment of vLLM, and ask it the prompts one after another.
    Without a C++ compiler torch does not compile the model, which would take longer than all else.
    """
    settings = {"engine": engine, "kv_cache_mb": 200, "max_running": 8, "cxx": "no-compiler"}
    server = Server(VLLM_PYTHON, model_id=candidate, **settings)
    try:
        server.wait_ready()
        asked = [
            {"prompt": each.prompt, "max_length": each.tokens, "temperature": 0} for each in golden
        ]
        return [str(server.post(each).json["text"]) for each in asked]
    except AssertionError:
        failed = [line for line in server.log_lines if line["event"] == "engine_failed"]
        raise GreenlightError(failed[0]["reason"] if failed else "the server ended") from None
    finally:
        server.stop()


def _tried_on_vllm(model: Path) -> tuple[str, int]:
    try:
        in_child(_check_as_resolve_does, model, *ON_VLLM, "vllm")
    except InputError:
        return "none", BITS
    return ON_VLLM


def _check_as_resolve_does(model: Path, method: str, bits: int, engine: str) -> None:
    from greenlight.models.open_source import check_source
    from greenlight.quantize.methods import methods
    from greenlight.resolve.inspection import check_takes
    from greenlight.serving.engines.registry import ENGINES, HAS_GPU

    described = check_source(str(model))
    assert described is not None  # only what is converted has no description yet
    check_takes(described, [(method, bits)], engine, here=False, first=False)
    alone = methods()[method].weight_bits(bits)
    if reason := ENGINES[engine].refuses(described.config, alone, on_cpu=not HAS_GPU):
        raise InputError("engine", engine, reason)


def _make_reference(model: Path, reference: Path, text: Path) -> None:
    from greenlight.evaluate.reference import make_reference

    make_reference(model, reference, str(text)).save(reference)


def _quantize(model: Path, output: Path, method: str, bits: int, folder: Path) -> Model:
    from greenlight.quantize.candidate import quantize_model

    calibration = Calibration(str(folder / CALIBRATION.name), DOCUMENTS, 64)
    return quantize_model(model, output, method, bits, calibration, LIMITS)


def _evaluate(reference: Path, candidate: Path, output: Path) -> Evaluation:
    from greenlight.evaluate.evaluation import evaluate_model

    return evaluate_model(reference, candidate, output)


def _text(folder: Path, source: Path) -> Path:
    """The beginnings of some documents of a built-in file."""
    found = [json.loads(line)["text"][:CHARACTERS] for line in source.read_text().splitlines()]
    target = folder / source.name
    target.write_text("".join(json.dumps({"text": each}) + "\n" for each in found[:DOCUMENTS]))
    return target


def _one_line(error: Exception) -> str:
    """What a person is told, without the folders of this run."""
    said = error.fix if isinstance(error, InputError) else str(error.args[0])
    plain = re.sub(r"/\S*model-matrix-\w+/", "", " ".join(said.split()))
    whole = isinstance(error, InputError) or len(plain) <= LONG
    return plain if whole else f"{plain[:LONG]}…"
