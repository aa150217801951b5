"""The compiled pipeline: the one thing that every runner runs."""

import contextlib
import io
import tempfile
import warnings
from pathlib import Path


def compile_promotion() -> str:
    """The pipeline's KFP intermediate representation as YAML text, the same bytes for the same code."""
    from kfp import compiler  # slow to import: 2-3 s

    from pipelines.promotion import promotion

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        path = Path(folder) / "promotion.yaml"
        compiler.Compiler().compile(promotion, str(path))
        return path.read_text()
