"""What is served, here and in the tests: the built-in model and its OpenVINO int8 export; and the
prompts that every contender gets.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from greenlight.benchmark.prompts import load_texts
from greenlight.core.errors import GreenlightError

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/benchmarks"
TINY = ROOT / "greenlight/models/builtin/tiny"
EXPORTER = ROOT / ".venv-openvino/bin/optimum-cli"
PROMPT_CHARACTERS = (
    200  # about 60 tokens, so that a window measures decoding and not the reading of prompts
)


def openvino_model() -> Path:
    """The built-in model as OpenVINO int8, as `make run` makes it with `--method optimum`. The
    export takes 25 s and is kept, by the digest of its source.
    """
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(TINY.iterdir()) if path.is_file())
    ).hexdigest()[:16]
    folder = CACHE / f"openvino-int8-{digest}"
    if not folder.is_dir():
        if not EXPORTER.is_file():
            raise GreenlightError(
                "There is no .venv-openvino to export the model with: run `make install`"
            )
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        command = [
            str(EXPORTER),
            "export",
            "openvino",
            "--model",
            str(TINY),
            "--task",
            "text-generation-with-past",
            "--weight-format",
            "int8",
            str(partial),
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        if done.returncode:
            raise GreenlightError(
                "The export to OpenVINO failed, see its last lines and repair"
                f" .venv-openvino:\n{done.stderr[-2000:]}"
            )
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return folder


def prompts() -> list[str]:
    """The built-in prompts, cut to one length at most."""
    return [prompt[:PROMPT_CHARACTERS] for prompt in load_texts("builtin")]
