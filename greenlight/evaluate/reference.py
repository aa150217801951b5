"""What the baseline predicts for the held-out text, computed once and kept in 16 bits, for every
candidate to be compared with.

The log-probabilities of all tokens lie one after the other in one file, which is written and read a
window at a time: memory does not grow with the text. Half precision keeps 11 bits of each. As the
rows are normalised again when they are read, what is left of that in a mean divergence is about
1e-6 nats; the loss of each token and the most likely one, which perplexity and agreement are made
of, are kept exactly. Of a vocabulary of more than `compare.WHOLE` entries only a part is kept, and
beside it in a second file which tokens those are; compare.py says which part, and the error.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from greenlight.core.child_process import own_peak_memory
from greenlight.core.errors import IntegrityError
from greenlight.core.files import file_digest
from greenlight.core.records import RECORD_FILE, Reference
from greenlight.evaluate.answers import write_answers
from greenlight.evaluate.compare import DRAWN, TOP, Kept, keep, predict
from greenlight.evaluate.load_tasks import load_tasks
from greenlight.evaluate.parallel import report_seconds, score_windows
from greenlight.evaluate.scorers import load_scorer, silence
from greenlight.evaluate.tasks import NO_TASKS, Tasks
from greenlight.evaluate.text_files import BUILTIN, load_text, text_digest
from greenlight.evaluate.windows import Document, Reader, each_window
from greenlight.models.checkpoint import open_checkpoint

if TYPE_CHECKING:
    import torch

log = logging.getLogger("greenlight.evaluate")

LOGPROBS_FILE, TEXTS_FILE, TOKENS_FILE = "logprobs.f16", "texts.parquet", "tokens.parquet"
IDS_FILE = "ids.bin"
TASKS_FOLDER = "tasks"
ITEM = 2  # bytes


class Window(NamedTuple):
    """A piece of a document: what a model reads, what comes next after each token of it, and what
    the baseline predicted.
    """

    document: int
    inputs: list[int]
    targets: list[int]
    baseline: Kept


class Columns(NamedTuple):
    """Beside the log-probabilities, in 32 bits: that of the token that came, the most likely token,
    and the probability of the rest. Made at once: small pieces among large ones would keep the
    memory of those.
    """

    target: np.ndarray
    top1: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True)
class OpenReference:
    """A complete one, to read from."""

    record: Reference
    folder: Path
    documents: list[Document]
    encoded: dict[str, list[int]]
    """Texts, the empty one among them, as the baseline's tokenizer reads a prompt."""

    @property
    def tasks(self) -> Tasks:
        """What the baseline was asked, from the copies that lie here."""
        record = self.record
        return Tasks.parse(record.tasks_asked, record.task_limit, record.few_shot).kept_in(
            self.folder / TASKS_FOLDER
        )

    def windows(self) -> Iterator[Window]:
        """Every scored token of every document, in order.

        Raises:
            IntegrityError: the files are not those that were written.
        """
        import pyarrow.parquet as pq
        import torch

        for name, digest in self.record.digests.items():
            if file_digest(self.folder / name) != digest:
                raise IntegrityError(
                    f"{self.folder / name} is not the file that was written. Run the step reference"
                    " again."
                )
        kept = pq.read_table(self.folder / TOKENS_FILE)
        target, top1 = (
            torch.tensor(kept.column(name).to_numpy()) for name in ("target_logprob", "top1")
        )
        record = self.record
        rest = torch.tensor(kept.column("rest").to_numpy()) if record.kept else None
        at, width = 0, record.kept + record.drawn or record.vocabulary
        with contextlib.ExitStack() as files:
            logprobs = files.enter_context(open(self.folder / LOGPROBS_FILE, "rb"))
            ids = files.enter_context(open(self.folder / IDS_FILE, "rb")) if record.kept else None
            for number, inputs, targets in each_window(self.documents, record.start, record.window):
                here = slice(at, at := at + len(targets))
                shape = (len(targets), width)
                yield Window(
                    number,
                    inputs,
                    targets,
                    Kept(
                        _read(logprobs, np.float16, shape),
                        target[here],
                        top1[here].long(),
                        record.vocabulary,
                        _read(ids, _id_type(record.vocabulary), shape).long() if ids else None,
                        rest[here] if rest is not None else None,
                    ),
                )


def make_reference(
    baseline_folder: Path | str,
    output_folder: Path | str,
    text: str = BUILTIN,
    tasks: Tasks = NO_TASKS,
) -> Reference:
    """Score the baseline on the text, and ask it the tasks. The record is the caller's to save; one
    that is saved there already, of the same, is returned.

    Args:
        baseline_folder: a Model artifact, or a plain model folder.
        text: `builtin`, or the path or gs:// URI of JSONL or Parquet with one `text` per document.
        tasks: that candidates are asked too.

    Raises:
        InputError: an argument is unusable.
        IntegrityError: the baseline is not what its record says.
        GreenlightError: it cannot be loaded, or gives logits that are not finite.
    """
    started, folder = time.monotonic(), Path(output_folder)
    texts, digest = load_text(text), text_digest(text)
    baseline = open_checkpoint("baseline", Path(baseline_folder))
    if made := _made_before(folder, baseline.record.digest, digest, tasks.digest()):
        return made
    loaded = load_tasks(tasks)
    # what a killed attempt left is nobody's artifact
    (folder / RECORD_FILE).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    reader = Reader(baseline)
    documents = [reader.read(each) for each in texts]
    tokens = sum(len(document.ids) for document in documents)
    log.info("loading the baseline")
    with silence():
        with report_seconds("loading the baseline"):
            scorer = load_scorer(baseline, len(os.sched_getaffinity(0)))
        columns = Columns(*(np.zeros(tokens, kind) for kind in (np.float32, np.int32, np.float32)))
        with open(folder / LOGPROBS_FILE, "wb") as file, open(folder / IDS_FILE, "wb") as ids:
            vocabulary, at = 0, 0
            windows = enumerate(each_window(documents, reader.start, reader.window))
            for _, parts in score_windows(
                scorer, windows, lambda each: each[1][1], _keep_window, tokens
            ):
                for part in parts:
                    at = _write(file, ids, part, columns, at)
                    vocabulary = part.vocabulary
            size = file.tell() + ids.tell()
            in_part = ids.tell() > 0
        answered = loaded.ask("baseline", scorer, baseline) if loaded else []
    if not in_part:
        (folder / IDS_FILE).unlink()
    _write_tables(folder, texts, documents, reader, columns)
    if answered:
        write_answers(answered, folder)
        tasks.keep(folder / TASKS_FOLDER)
    return Reference(
        baseline_digest=baseline.record.digest,
        text_digest=digest,
        documents=len(documents),
        tokens=tokens,
        vocabulary=vocabulary,
        window=reader.window,
        opening=reader.encode(""),
        start=reader.start,
        bytes=size,
        digests={
            name: file_digest(folder / name)
            for name in (LOGPROBS_FILE, TOKENS_FILE, *[IDS_FILE] * in_part)
        },
        kept=TOP if in_part else 0,
        drawn=DRAWN if in_part else 0,
        rest=float(columns.rest.mean()),
        kl_error=float(np.sqrt(np.square(columns.rest).sum() / DRAWN) / tokens),
        tasks=[each.score() for each in answered],
        tasks_asked=",".join(tasks.names),
        tasks_digest=tasks.digest(),
        task_limit=tasks.limit,
        few_shot=tasks.few_shot,
        seconds=round(time.monotonic() - started, 3),
        peak_memory_bytes=own_peak_memory(),
    )


def open_reference(folder: Path | str) -> OpenReference:
    """Raises IntegrityError where the artifact is incomplete, or not what its record says."""
    import pyarrow.parquet as pq

    folder = Path(folder)
    record = Reference.load(folder)
    width = record.kept + record.drawn or record.vocabulary
    each = ITEM + (_id_type(record.vocabulary)().itemsize if record.kept else 0)
    wanted = record.tokens * width * each
    try:
        rows = pq.read_table(folder / TEXTS_FILE).to_pylist()
        count, size = (
            pq.read_metadata(folder / TOKENS_FILE).num_rows,
            sum(
                (folder / name).stat().st_size
                for name in (LOGPROBS_FILE, *[IDS_FILE] * bool(record.kept))
            ),
        )
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{folder} is no complete reference ({error}). Run the step reference again."
        ) from None
    documents = [Document(row["ids"], len(row["text"].encode())) for row in rows]
    if size != wanted or not count == record.tokens == sum(
        len(document.ids) for document in documents
    ):
        raise IntegrityError(
            f"{folder / LOGPROBS_FILE} has {size} bytes of {wanted}: the reference is incomplete."
            " Run the step reference again."
        )
    return OpenReference(
        record,
        folder,
        documents,
        {"": record.opening} | {row["text"]: row["encoded"] for row in rows},
    )


def _made_before(folder: Path, *digests: str) -> Reference | None:
    try:
        record = open_reference(folder).record
    except IntegrityError:
        return None
    if (record.baseline_digest, record.text_digest, record.tasks_digest) != digests:
        return None
    log.info("the baseline's predictions are there already: %s", folder)
    return record


def _read(file: IO[bytes], kind: type[np.generic], shape: tuple[int, int]) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.fromfile(file, kind, shape[0] * shape[1]).reshape(shape))


def _id_type(vocabulary: int) -> type[np.uint16] | type[np.int32]:
    return np.uint16 if vocabulary <= 1 << 16 else np.int32


def _keep_window(
    window: tuple[int, tuple[int, list[int], list[int]]], logits: "torch.Tensor"
) -> list[Kept]:
    number, (_, _, targets) = window
    return [
        keep(part, (number << 16) + at)
        for at, part in enumerate(predict("baseline", logits, targets))
    ]


def _write(file: IO[bytes], ids: IO[bytes], part: Kept, columns: Columns, at: int) -> int:
    """Append the rows to the files, and put what is kept beside them at its place. Returns the next
    one.
    """
    file.write(part.logprobs.numpy())
    end = at + len(part.target)
    columns.target[at:end], columns.top1[at:end] = part.target.numpy(), part.top1.numpy()
    if part.ids is not None and part.rest is not None:
        ids.write(part.ids.numpy().astype(_id_type(part.vocabulary)))
        columns.rest[at:end] = part.rest.numpy()
    return end


def _write_tables(
    folder: Path, texts: list[str], documents: list[Document], reader: Reader, columns: Columns
) -> None:
    """A row per document, with its ids as they are scored and as the tokenizer gives them; and a
    row per token.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pa.list_(pa.int32())
    rows = {
        "text": texts,
        "ids": [each.ids for each in documents],
        "encoded": [reader.encode(text) for text in texts],
    }
    pq.write_table(
        pa.table(rows, pa.schema({"text": pa.string(), "ids": ids, "encoded": ids})),
        folder / TEXTS_FILE,
    )
    pq.write_table(
        pa.table({"target_logprob": columns.target, "top1": columns.top1, "rest": columns.rest}),
        folder / TOKENS_FILE,
    )
