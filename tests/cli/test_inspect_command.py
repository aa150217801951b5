"""`greenlight inspect`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenlight.cli.main import app
from greenlight.core.errors import InputError
from greenlight.serving.engines.registry import EngineKind


def inspect(*words: str) -> str:
    result = CliRunner().invoke(app, ["inspect", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_table_for_people() -> None:
    printed = inspect("builtin:tiny")
    assert "LlamaForCausalLM (llama)" in printed and "4.2 million parameters" in printed
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert "openvino" in lines["optimum:4"] and "refused" not in printed
    assert "estimates" in printed


def test_json_for_scripts() -> None:
    found = json.loads(inspect("builtin:tiny", "--json"))
    assert found["parameters"] == 4_196_608 and len(found["methods"]) == 11


def test_where_no_method_takes_it_the_command_fails_after_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EngineKind, "refuses", lambda self, *_, **__: f"{self.name} is too old")
    ran = CliRunner().invoke(app, ["inspect", "builtin:tiny", "--json"])
    assert all("is too old" in each["refused"] for each in json.loads(ran.stdout)["methods"])
    assert isinstance(ran.exception, InputError) and "no method takes it" in str(ran.exception)


def test_one_line_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="GGUF"):
        inspect(str(tmp_path))
