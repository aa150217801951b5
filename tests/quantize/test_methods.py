import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.records import WITHOUT_BITS
from greenlight.quantize.methods import (
    capabilities,
    check_engine,
    check_installed,
    check_method,
    methods,
)


def test_every_module_is_a_method() -> None:
    modules = {
        path.stem for path in Path(check_method.__code__.co_filename).parent.glob("*.py")
    } - {"__init__", "base"}
    assert (
        set(methods())
        == modules
        == {"none", "awq", "bnb", "fp8", "gptq", "optimum", "smallest", "w8a8"}
    )


def test_table_has_a_row_for_each_method_and_bits() -> None:
    assert [(row.method, row.bits, row.format, row.engines) for row in capabilities()] == [
        ("awq", 4, "compressed-tensors", ("transformers", "vllm")),
        ("bnb", 4, "bitsandbytes", ("transformers",)),
        ("bnb", 8, "bitsandbytes", ("transformers",)),
        ("fp8", 8, "compressed-tensors", ("transformers", "vllm")),
        ("gptq", 4, "compressed-tensors", ("transformers", "vllm")),
        ("gptq", 8, "compressed-tensors", ("transformers", "vllm")),
        ("none", None, "safetensors", ("transformers", "vllm")),
        ("optimum", 4, "openvino", ("openvino",)),
        ("optimum", 8, "openvino", ("openvino",)),
        ("smallest", None, "openvino", ("openvino",)),
        ("w8a8", 8, "compressed-tensors", ("transformers", "vllm")),
    ]


def test_engines_are_those_that_load_the_format() -> None:
    registry = pytest.importorskip("greenlight.serving.engines.registry")
    for row in capabilities():
        assert set(row.engines) == {
            kind.name for kind in registry.ENGINES.values() if row.format in kind.formats
        }


@pytest.mark.parametrize(
    ("method", "bits", "field", "says"),
    [
        ("hqq", 4, "method", "use one of: awq, bnb, fp8, gptq, none, optimum, smallest, w8a8"),
        ("awq", 8, "bits", "method awq supports 4 bits"),
        ("w8a8", 4, "bits", "method w8a8 supports 8 bits"),
        ("bnb", 3, "bits", "method bnb supports 4 or 8 bits"),
        ("", 8, "method", "use one of"),
        ("base", 8, "method", "use one of"),
    ],
)
def test_refused_method(method: str, bits: int, field: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_method(method, bits)
    assert caught.value.field == field
    assert says in str(caught.value)


@pytest.mark.parametrize("method", WITHOUT_BITS)
def test_methods_without_bits_ignore_them(method: str) -> None:
    assert check_method(method, 3).name == method


def test_methods_without_bits_are_those_that_names_have_none_for() -> None:
    assert tuple(name for name, method in methods().items() if not method.bits) == WITHOUT_BITS


@pytest.mark.parametrize(
    ("method", "engine"),
    [
        ("optimum", "auto"),
        ("optimum", "openvino"),
        ("bnb", "transformers"),
        ("none", "auto"),
        ("gptq", "vllm"),
    ],
)
def test_engine_that_fits(method: str, engine: str) -> None:
    check_engine(method, engine)


@pytest.mark.parametrize(
    ("method", "engine", "field", "says"),
    [
        ("bnb", "openvino", "engine", "served by: auto, transformers"),
        ("optimum", "transformers", "engine", "served by: auto, openvino"),
        ("optimum", "vllm", "engine", "served by: auto, openvino"),
        ("optimum", "sglang", "engine", "use one of: auto, openvino, transformers, vllm"),
        ("hqq", "auto", "method", "use one of"),
        ("w8a8", "openvino", "engine", "served by: auto, transformers, vllm"),
    ],
)
def test_refused_engine(method: str, engine: str, field: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_engine(method, engine)
    assert caught.value.field == field
    assert says in str(caught.value)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlight.core.extras.is_installed", lambda module: False)
    with pytest.raises(GreenlightError, match=r"needs bitsandbytes.*pip install .*\[local\]"):
        check_installed("bnb")


def test_checks_import_no_library() -> None:
    code = """
import sys
from greenlight.quantize.methods import check_engine, check_installed, check_method, methods
check_method("optimum", 8), check_engine("gptq", "auto"), check_installed("bnb")
from greenlight.evaluate.text_files import check_text
check_text("builtin")
import greenlight.quantize.candidate
heavy = {"torch", "transformers", "openvino", "bitsandbytes", "tokenizers"}
heavy |= {"numpy", "scipy", "pandas", "pyarrow"}
print(sorted(heavy & set(sys.modules)))
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 10  # 0.4 s on a quiet machine
