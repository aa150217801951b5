"""Is a folder a checkpoint that can be loaded? Reads the small files and the headers of the
weights, not the weights.
"""

from collections import defaultdict
from pathlib import Path

from greenlight.models.description import check_description, describe_folder
from greenlight.models.safetensors_header import DTYPE_BITS


def check_checkpoint(model: str, folder: Path, quantized_too: bool = False) -> None:
    """Check a folder as `check_description` does.

    Args:
        model: the source as the user named it, for the error.

    Raises:
        InputError: it cannot be loaded, and why.
    """
    check_description(describe_folder(folder, model), quantized_too)


def weight_bits(folder: Path) -> int:
    """Bits of the type that most of the weights have. Call it on a checked folder."""
    sizes: dict[int, int] = defaultdict(int)
    for tensor in describe_folder(folder).tensors.values():
        sizes[DTYPE_BITS[tensor.dtype]] += tensor.bytes
    return max(sizes, key=lambda bits: sizes[bits])
