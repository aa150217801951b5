"""A small task for the built-in model: the sentences of its held-out text, and how they go on."""

import json
import re
from pathlib import Path

from greenlight.models.builtin import HELDOUT


def write_questions(path: Path, count: int = 12) -> Path:
    """A file of items. The right choice is how a sentence goes on, the others how the next ones
    do.
    """
    words = [
        line.split()
        for line in re.split(
            r"(?<=[.:])\s+",
            " ".join(json.loads(line)["text"] for line in HELDOUT.read_text().splitlines()),
        )
    ]
    sentences = [each for each in words if 12 <= len(each) <= 24][: count + 2]
    endings = [" ".join(each[9:12]) for each in sentences]
    rows = []
    for number in range(count):
        choices = endings[number : number + 3]
        right = number % 3
        choices[0], choices[right] = choices[right], choices[0]
        rows.append(
            {"question": " ".join(sentences[number][:9]), "choices": choices, "answer": right}
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
