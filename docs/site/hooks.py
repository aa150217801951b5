"""Hooks of MkDocs: the README becomes the first page, the reference is made from the code, and a
link to a file outside docs/ becomes the name of that file.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
"""A link to a file that is no page, as its text and its path from the root."""


def on_files(files: Files, config: Any) -> Files:
    from docs.site.reference import pages

    for name, text in {"index.md": first_page(), **pages()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return OUTSIDE.sub(_name_file, markdown)


def _name_file(link: re.Match[str]) -> str:
    text, path = link[1], link[2]
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"


def first_page() -> str:
    """The README with its links as they are from docs/."""
    text = (ROOT / "README.md").read_text()
    return re.sub(r"\]\((?!https?:|#|docs/)([^)]+)\)", r"](../\1)", text).replace("](docs/", "](")
