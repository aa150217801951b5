"""What MkDocs does beyond the pages of docs/: the README is the first page, the reference comes
from the code, links out of docs/ name the file.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
"""A link to a file that is no page."""


def on_files(files: Files, config: Any) -> Files:
    from docs.site.reference import pages

    for name, text in {"index.md": first_page(), **pages()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return OUTSIDE.sub(
        lambda found: (
            f"{found[1]} (`{found[2]}`)" if found[1].strip("`") != found[2] else f"`{found[2]}`"
        ),
        markdown,
    )


def first_page() -> str:
    """The README, its links as from docs/."""
    text = (ROOT / "README.md").read_text()
    return re.sub(r"\]\((?!https?:|#|docs/)([^)]+)\)", r"](../\1)", text).replace("](docs/", "](")
