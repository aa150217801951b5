"""Prompts and the candidate's own greedy answers: what a server must say that claims to serve it.

An answer ends before the first token that is no clear choice: where two are almost as likely,
another kernel or another batch may take the other one. Two kinds of prompts: openings of the texts,
which a damaged model or a wrong tokenizer answers otherwise; and the beginnings of texts at whose
end this candidate clearly continues otherwise than its baseline, which the baseline answers
otherwise, and most other candidates of it too. A candidate in 8 bits has none of the latter: it
differs from its baseline only where neither is sure.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.records import Golden
from greenlight.evaluate.scorers import Scorer
from greenlight.serving.detokenizer import TextStream, Vocabulary

if TYPE_CHECKING:
    from greenlight.evaluate.reference import OpenReference

log = logging.getLogger("greenlight.evaluate")

OPENINGS = 8
TELLING = 8
CHARACTERS = 80
"""Of a text that an opening has, up to the end of a word."""
DEPTH = 128
"""Maximum number of tokens of a telling prompt."""
ANSWER = 8
"""Maximum number of tokens of an answer."""
MARGIN = 0.25
"""Nats between the likeliest token and the next that make it a clear choice. A server on a CPU with
bfloat16 moves this distance by up to 0.11 from what is computed here (docs/serving.md), and other
requests beside it by as much again, so that a golden answer holds for PRECISION fast and exact.
"""


def golden_set(
    scorer: Scorer, folder: Path, reference: "OpenReference", leads: Sequence[Sequence[float]]
) -> list[Golden]:
    """Ask the candidate, as it was scored.

    Args:
        folder: of the model's files.
        leads: of each document and token, by how many nats the candidate prefers its own choice to
            the baseline's (`compare.Sums.leads`).

    """
    vocabulary = Vocabulary(folder, 0)

    def answered(prompts: Iterator[str], most: int) -> list[Golden]:
        answers = (
            _answer(scorer, vocabulary, prompt, reference.record.window) for prompt in prompts
        )
        return list(islice((each for each in answers if each), most))

    telling = answered(_telling(vocabulary, reference, leads), TELLING)
    openings = answered(_openings(list(reference.encoded)), OPENINGS)
    log.info(
        "%d golden prompts, %d of them telling it from its baseline",
        len(telling) + len(openings),
        len(telling),
    )
    return telling + openings


def _openings(texts: list[str]) -> Iterator[str]:
    for text in texts[: 4 * OPENINGS]:
        if prompt := text[:CHARACTERS].rpartition(" ")[0].strip():
            yield prompt


def _telling(
    vocabulary: Vocabulary, reference: "OpenReference", leads: Sequence[Sequence[float]]
) -> Iterator[str]:
    """Clearest first, one per document."""
    depth = min(DEPTH, reference.record.window)
    best = [
        max(((lead, at) for at, lead in enumerate(each[:depth]) if at), default=(0.0, 0))
        for each in leads
    ]
    for number in sorted(range(len(best)), key=lambda one: -best[one][0])[: 2 * TELLING]:
        lead, at = best[number]
        if lead >= MARGIN:
            yield _text(vocabulary.stream(), reference.documents[number].ids[:at])


def _answer(scorer: Scorer, vocabulary: Vocabulary, prompt: str, context: int) -> Golden | None:
    """None where its first token is no clear choice, or no text."""
    ids, tokens = vocabulary.encode(prompt), list[int]()
    while len(tokens) < ANSWER and len(ids) + len(tokens) < context:
        (first, second), (token, _) = (
            each.tolist() for each in scorer.logits(ids + tokens)[-1].float().topk(2)
        )
        if first - second < MARGIN or token >= vocabulary.size or not vocabulary.decode([token]):
            break
        tokens.append(token)
    text = _text(vocabulary.stream(ids), tokens)
    return Golden(prompt=prompt, tokens=len(tokens), text=text) if text.strip() else None


def _text(stream: TextStream, tokens: Sequence[int]) -> str:
    return stream.push(tokens) + stream.finish()
