"""A sweep of methods through the compiled DAG in which nothing works. One of which something does
is run in tests/pipelines/test_executors.py.
"""

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.slow

BROKEN = "raise ImportError('libquantize.so.4: cannot open shared object file')\n"


@pytest.fixture
def gptq_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation whose library cannot be loaded: found at submit, and of no use in the
    step.
    """
    (tmp_path / "llmcompressor.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("gptq_is_broken")
def test_when_every_method_fails_nothing_is_deployed(fresh_home: Home) -> None:
    code, output = fresh_home.run("--methods", "gptq:4,gptq:8")
    assert code == 1, output
    run = fresh_home.newest()
    assert run.outcome == "failed" and [error.step for error in run.errors] == ["select"]
    said = "quantize: llm-compressor failed with exit code 1: ImportError: libquantize.so.4"
    assert all(f"{name}: {said}" in run.errors[0].message for name in ("gptq:4", "gptq:8"))
    assert "nothing was deployed" in output and "quantize gptq:4" in output and "left out" in output
    assert fresh_home.status().live is None
