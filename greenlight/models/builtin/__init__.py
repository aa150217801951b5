"""The built-in model `builtin:tiny`: a 4.2M-parameter Llama trained on Python's own documentation,
with the text files it is judged by.

`python -m greenlight.models.builtin.train` makes all of it again.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

TINY = _FOLDER / "tiny"
"""The checkpoint: a folder as `save_pretrained` writes it."""

HELDOUT = _FOLDER / "heldout.jsonl"
"""Text held out from training, `{"text": …}` a line, about 200 tokens each.
`language_reference.split` says how far it overlaps.
"""

CALIBRATION = _FOLDER / "calibration.jsonl"
"""Training text for methods that calibrate, `{"text": …}` a line."""

PROMPTS = _FOLDER / "prompts.jsonl"
"""Prompts of a benchmark, `{"prompt": …}` a line."""
