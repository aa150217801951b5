"""The text of the built-in model: Python's language reference, which every Python carries as
`pydoc_data.topics`.
"""

import hashlib
import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from pydoc_data.topics import topics

log = logging.getLogger("greenlight.download")

SEED = 20261123
HELD_OUT_EVERY = 10
PASSAGE = 800  # characters: about 200 tokens, so that a document is scored in one window
# joined topics of Python 3.11.7; another Python carries another edition
TEXT_SHA256 = "37d06970fc926e60c16dff401e441b84752446a36b6b64516c229fdec77e992c"
QUESTIONS = (
    "What is {}?",
    "Explain {} in Python.",
    "How do I use {} in Python? Please give an example.",
    "Write a short page about {} for the Python language reference.",
    "I am new to Python. What should I know about {}, and what are the usual mistakes with it?",
)


def split() -> tuple[dict[str, str], list[str]]:
    """The training text by topic, and the held-out documents: every tenth passage, so that they are
    of all topics.

    The reference repeats itself: 21 of the 72 held-out documents also stand whole in the training
    text. Perplexity is 53.6 over all of them, 63.3 over the other 51. It serves to compare a model
    with its quantized self, not as a measure of new text.
    """
    if hashlib.sha256("".join(topics.values()).encode()).hexdigest() != TEXT_SHA256:
        log.warning(
            "This Python carries another edition of the reference than 3.11.7: the model will"
            " differ from the committed one."
        )
    train: dict[str, str] = {}
    heldout: list[str] = []
    count = 0
    for topic, text in topics.items():
        kept: list[str] = []
        for passage in passages(text, PASSAGE):
            count += 1
            (heldout if count % HELD_OUT_EVERY == HELD_OUT_EVERY // 2 else kept).append(passage)
        train[topic] = "\n\n".join(kept)
    return train, heldout


def passages(text: str, size: int) -> list[str]:
    """Cut at paragraphs into pieces of at most `size` characters; a paragraph longer than that is
    cut at lines.
    """
    pieces: list[str] = []
    for paragraph in text.split("\n\n"):
        lines = [paragraph] if len(paragraph) <= size else paragraph.split("\n")
        for position, line in enumerate(lines):
            glue = "\n\n" if position == 0 else "\n"
            if pieces and len(pieces[-1]) + len(glue) + len(line) <= size:
                pieces[-1] += glue + line
            else:
                pieces.append(line)
    return [piece.strip("\n") for piece in pieces if piece.strip()]


def calibration(train: dict[str, str]) -> list[str]:
    """Every third passage of the training text, for methods that calibrate."""
    return [passage for text in train.values() for passage in passages(text, PASSAGE)][::3]


def prompts(train: dict[str, str], seed: int = SEED) -> list[str]:
    """Questions and passages to be continued, 3 to about 150 tokens long, in random order."""
    rng = random.Random(seed)
    names = [topic.replace("-", " ") for topic in train]
    questions = [rng.choice(QUESTIONS).format(name) for name in rng.sample(names, 48)]
    texts = [passage for text in train.values() for passage in passages(text, 560)]
    beginnings = []
    for text in rng.sample([text for text in texts if len(text) > 500], 48):
        # characters: median 220, so about 60 tokens
        cut = min(len(text), int(rng.lognormvariate(5.4, 0.5)))
        beginnings.append(text[:cut].rsplit(" ", 1)[0].rstrip())
    mixed = questions + beginnings
    rng.shuffle(mixed)
    return mixed


def write_lines(path: Path, key: str, texts: Iterable[str]) -> None:
    path.write_text("".join(json.dumps({key: text}, ensure_ascii=False) + "\n" for text in texts))
