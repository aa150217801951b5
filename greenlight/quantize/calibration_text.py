"""The texts and chats that a method calibrates on: read, checked, and sampled with a fixed seed."""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

from greenlight.benchmark.prompts import Chat, find_chat_problem
from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.evaluate.text_files import BUILTIN, Row, read_rows, with_text
from greenlight.models.builtin import CALIBRATION
from greenlight.models.context import context_length
from greenlight.models.tokenizer import check_ids, load_tokenizer

SEED = 1
SAMPLES = 128
LENGTH = 2048
COLUMNS = ("text", "messages")


@dataclass(frozen=True)
class Calibration:
    """What to calibrate on.

    Attributes:
        data: `builtin`, or the path or gs:// URI of JSONL or Parquet with a `text` or chat
            `messages` in each row.
        samples: maximum number of documents, sampled with a fixed seed. 128 as in the paper of
            GPTQ.
        length: maximum tokens per document; longer ones are cut off, there or where the context of
            the model ends.
    """

    data: str = BUILTIN
    samples: int = SAMPLES
    length: int = LENGTH

    @property
    def uri(self) -> str:
        return str(CALIBRATION) if self.data == BUILTIN else self.data

    def read_documents(self) -> list[str | Chat]:
        """All documents of the file.

        Raises:
            InputError: names the field, and the line of a file that cannot be used.
        """
        for field, value in (
            ("calibration_samples", self.samples),
            ("calibration_length", self.length),
        ):
            if value < 1:
                raise InputError(field, value, "use 1 or more")
        rows = read_rows(self.uri, self.data, "calibration", COLUMNS)
        return [_document(self.data, row) for row in with_text(rows, self.data, "calibration")]

    def sample_documents(self) -> list[str | Chat]:
        """The documents to calibrate on: the same ones for the same file and number."""
        documents = self.read_documents()
        return random.Random(SEED).sample(documents, min(self.samples, len(documents)))

    def digest(self) -> str:
        """sha256 of the content, number and length of the documents; the file's name is no part."""
        content = hashlib.sha256(storage.read_bytes(self.uri)).hexdigest()
        return hashlib.sha256(f"{content} {self.samples} {self.length} {SEED}".encode()).hexdigest()


def check_calibration(data: str, samples: int, length: int) -> None:
    """Raises InputError when a method could not calibrate on it. Costs milliseconds for a local
    file.
    """
    Calibration(data, samples, length).read_documents()


def tokenize_documents(calibration: Calibration, folder: Path) -> list[list[int]]:
    """The sampled documents as the model in `folder` reads them, a chat through its chat template.

    Raises:
        InputError: there are chats, and the model has no chat template, or one that refuses them.
    """
    config = json.loads((folder / "config.json").read_bytes())
    tokenizer = load_tokenizer(folder)
    tokenizer.enable_truncation(
        min(calibration.length, context_length(config) or calibration.length)
    )
    # A template writes special tokens itself.
    found = [
        tokenizer.encode(text, add_special_tokens=not rendered).ids
        for text, rendered in _render_documents(calibration, folder)
    ]
    for ids in found:
        check_ids(tokenizer, ids, config)
    return [ids for ids in found if ids]


def cut_texts(calibration: Calibration, folder: Path, documents: int, length: int) -> list[str]:
    """Up to `documents` of the sampled documents as text, each cut after `length` tokens. Raises
    as `tokenize_documents` does.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer.enable_truncation(min(calibration.length, length))
    found = []
    for text, _ in _render_documents(calibration, folder)[:documents]:
        read = tokenizer.encode(text, add_special_tokens=False)
        found.append(text[: read.offsets[-1][1]] if read.ids else "")
    return [text for text in found if text.strip()]


def _render_documents(calibration: Calibration, folder: Path) -> list[tuple[str, bool]]:
    """The sampled documents as text, and whether the chat template has rendered it."""
    from greenlight.serving.chat import ChatTemplate

    template = ChatTemplate.open(folder)
    found = []
    for document in calibration.sample_documents():
        if isinstance(document, str):
            found.append((document, False))
            continue
        if not template:
            raise InputError(
                "calibration",
                calibration.data,
                "holds chats, and the model has no chat template; give texts, or a model that"
                " chats",
            )
        try:
            found.append((template.render(document, ask=False), True))
        except ValueError as error:
            raise InputError(
                "calibration",
                calibration.data,
                f"the model's chat template refuses a chat ({error}): {str(document)[:60]!r}",
            ) from None
    return found


def _document(data: str, row: Row) -> str | Chat:
    value = row.value if isinstance(row.value, dict) else {}
    if "messages" in value and "text" not in value:
        if problem := find_chat_problem(value["messages"]):
            fix = (
                'write {"messages": [{"role": "user", "content": "…"}, {"role": "assistant",'
                ' "content": "…"}]}'
            )
            raise InputError("calibration", data, f"{row.where}: {problem} ({row.shown!r}); {fix}")
        return [
            {"role": message["role"], "content": message["content"]}
            for message in value["messages"]
        ]
    text = value.get("text")
    if not isinstance(text, str):
        raise InputError(
            "calibration",
            data,
            f'{row.where} is neither {{"text": "…"}} nor {{"messages": […]}}: {row.shown!r}',
        )
    return text
