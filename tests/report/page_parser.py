"""A report as its reader has it: parsed strictly, every tag closed where it must be, and asked for
what it says.
"""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds. `text` is all visible text with single spaces; non-breaking ones are made
    plain.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.size = len(source.encode())
        self.tags: Counter[str] = Counter()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.images: list[str] = []
        self.headings: list[int] = []
        self.unbalanced: list[str] = []
        self.figures: dict[str, Any] = {}
        self.title = self.policy = self.language = self.style = ""
        self.header_cells_without_scope = self.empty_header_cells = 0
        self._open: list[tuple[str, dict[str, str]]] = []
        self._words: list[str] = []
        self._tables: dict[str, dict[str, list[str]]] = {}
        self._lists: dict[str, list[str]] = {}
        self._region = self._label = ""
        self._cells: list[list[str]] = []
        self.feed(source)
        self.close()
        self.unbalanced += [tag for tag, _ in self._open]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def rows(self, label: str) -> dict[str, list[str]]:
        """The cells of the table in the region of that label, by the first words of the row's
        header cell.
        """
        return self._tables[label]

    def items(self, label: str) -> list[str]:
        return self._lists[label]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.links |= {
            values[name]
            for name in ("href", "src", "action", "poster", "srcset", "data")
            if name in values
        }
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values["aria-label"]] if values.get("role") == "img" else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "html":
            self.language = values.get("lang", "")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if values.get("role") == "region":
            self._region = values["aria-label"]
            self._tables[self._region] = {}
        if tag == "ol":
            self._label = values.get("aria-label", "")
            self._lists[self._label] = []
        if tag == "tr":
            self._cells = []
        if tag in ("td", "th"):
            self.header_cells_without_scope += tag == "th" and "scope" not in values
            self._cells.append([])
        if tag == "li" and self._label:
            self._lists[self._label].append("")
        if tag not in VOID:
            self._open.append((tag, values))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.unbalanced.append(f"</{tag}> at {self.getpos()}")
            return
        self._open.pop()
        if tag == "ol":
            self._label = ""
        if tag == "th":
            self.empty_header_cells += not "".join(self._cells[-1]).strip()
        if tag == "tr" and self._region:
            cells = [" ".join(" ".join(cell).split()) for cell in self._cells]
            self._tables[self._region][(self._cells[0] or [""])[0].strip()] = cells[1:]

    def handle_data(self, data: str) -> None:
        tag, values = self._open[-1] if self._open else ("", {})
        data = data.replace("\u00a0", " ")
        match tag:
            case "script":
                self.figures = json.loads(data) if values.get("id") == "figures" else self.figures
            case "style":
                self.style += data
            case "title":
                self.title += data
            case _:
                self._words.append(data)
        if any(name in ("td", "th") for name, _ in self._open):
            self._cells[-1].append(data)
        if self._label and any(name == "li" for name, _ in self._open):
            entries = self._lists[self._label]
            entries[-1] = (
                " ".join((entries[-1] + data).split())
                if data.strip()
                else entries[-1] + " " * bool(data)
            )
