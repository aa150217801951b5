"""The page of the server says what the server is."""

from greenlight.serving.settings import Settings
from tests.serving.server_process import ROOT


def test_every_setting_is_described() -> None:
    page = (ROOT / "docs/serving.md").read_text()
    for name, field in Settings.model_fields.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name.upper()}` |")]
        assert str(field.description) in line
