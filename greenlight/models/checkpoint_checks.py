"""Is a folder a checkpoint that can be loaded? Reads the small files and the headers of the
weights, not the weights.
"""

from collections import Counter
from pathlib import Path

from greenlight.models.description import check_description, describe_folder
from greenlight.models.safetensors_header import DTYPE_BITS, bytes_by_dtype


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
    sizes: Counter[int] = Counter()
    for dtype, size in bytes_by_dtype(describe_folder(folder).tensors.values()).items():
        sizes[DTYPE_BITS[dtype]] += size
    return sizes.most_common(1)[0][0]
