from pathlib import Path

from tests.serving.server_process import ROOT

PAGE = ROOT / "docs/models.md"


def write_page(results, path: Path) -> None:
    pass
