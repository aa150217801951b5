"""A sweep of methods through the compiled DAG: what fails is left out, and when nothing is left nothing is deployed."""

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.slow

BROKEN = "raise ImportError('libquantize.so.4: cannot open shared object file')\n"


@pytest.fixture
def gptq_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation whose library cannot be loaded: found at submit, and of no use in the step."""
    (tmp_path / "llmcompressor.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("gptq_is_broken")
def test_a_method_that_fails_is_left_out_and_when_all_do_nothing_is_deployed(home: Home, small_gate: str) -> None:
    code, output = home.run("--methods", "gptq:4,gptq:8")
    assert code == 1, output
    run = home.newest()
    assert run.outcome == "failed" and [error.step for error in run.errors] == ["select"]
    said = "quantize: llm-compressor failed with exit code 1: ImportError: libquantize.so.4"
    assert all(f"{name}: {said}" in run.errors[0].message for name in ("gptq:4", "gptq:8"))
    assert "nothing was deployed" in output and "quantize gptq:4" in output and "left out" in output
    assert home.status().live is None

    code, output = home.run("--methods", "gptq:4,none", "--gate", small_gate)
    assert code == 0, output
    run = home.newest()
    assert run.outcome == "promoted" and run.selection and run.candidate
    assert {each.name: each.status for each in run.selection.contenders} == {"gptq:4": "failed", "none": "chosen"}
    assert run.selection.digest == run.candidate.digest and run.candidate.method == "none"
    assert run.evaluation and run.evaluation.candidate.speed and run.evaluation.candidate.speed.tokens_per_second > 20
    assert home.status().live
