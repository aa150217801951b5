"""The licence that a model's folder names."""

import re
from collections.abc import Collection

from greenlight.models.file_selection import LICENSE

CARD = "README.md"
FRONT = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
FIELD = re.compile(r"^(license|license_name):\s*[\"']?([\w.+-]+)", re.MULTILINE)


def find_licence(names: Collection[str], card: bytes) -> str:
    """As the model card says it (https://huggingface.co/docs/hub/model-cards), else the file that
    holds it. Empty: nothing says it.

    Args:
        names: of the files.
        card: the content of README.md.
    """
    front = FRONT.match(card.decode(errors="replace").replace("\r\n", "\n"))
    fields = dict(FIELD.findall(front[1])) if front else {}
    found = fields.get("license", "")
    if found in ("", "other"):
        found = fields.get("license_name", found)
    files = sorted(name for name in names if LICENSE.fullmatch(name))
    if found in ("", "other") and files:
        return f"see {files[0]}"
    return found
