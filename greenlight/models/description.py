"""What a model is, read without its weights: config, index, the headers of the weights, the files
of its tokenizer. The same for a folder, the hub and a bucket.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.models.safetensors_header import Tensor
from greenlight.models.source import Source


@dataclass(frozen=True)
class Description:
    """A model as its small files and headers describe it."""

    source: str  # as the user named it, for errors
    config: dict[str, Any]
    files: dict[str, int]  # sizes in bytes of all files at the top, by name
    chosen: dict[str, str]  # the files to take: name in the source -> name in the artifact
    tensors: dict[str, Tensor]
    texts: dict[str, bytes]  # of tokenizer and chat template, by name


def describe_source(source: Source, commit: str) -> Description:
    """Read a model's small files and headers in parallel; no weights are fetched.

    Raises:
        InputError: a file that the model needs is missing or broken.
        GreenlightError: the source cannot be reached.
    """
    raise NotImplementedError


def describe_folder(folder: Path, name: str = "") -> Description:
    """As `describe_source`, of a local folder. `name`: as the user gave it, for errors."""
    raise NotImplementedError


def check_description(description: Description, quantized_too: bool = False) -> None:
    """Is it a full-precision causal language model that transformers knows, with all its weights
    and a tokenizer? With `quantized_too`, one of a known quantized format passes too.

    Raises:
        InputError: no; it names what is wrong and what would do.
    """
    raise NotImplementedError
