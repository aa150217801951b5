"""What the page is made of: cards, steps, cells, rows of tables and groups of facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Card:
    """A key figure: what, how much, compared with what."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class StepMark:
    name: str
    state: Literal["finished", "failed", "not run"]
    mark: str


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text: a sign before it, small print under it, a class of the
    style sheet.
    """

    text: str
    mark: str = ""
    note: str = ""
    look: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table: its header cell with small print, and the other cells."""

    head: str
    cells: Sequence[str | Cell]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Facts under one heading."""

    title: str
    facts: list[tuple[str, str]]
