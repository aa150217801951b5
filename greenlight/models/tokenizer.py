"""The tokenizer of a model folder, as evaluation, calibration and serving read it: what
transformers' AutoTokenizer gives for the same folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer of a model folder, as it reads one text of any length.

    Raises:
        InputError: there is none that can be read; names the file and the fix.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def check_tokenizer_files(model: str, files: Mapping[str, bytes]) -> None:
    """Whether a model's tokenizer can be read. Takes milliseconds: neither transformers nor weights
    are loaded.

    Args:
        model: the source as the user named it, for the error.
        files: the content of its tokenizer files by name (TOKENIZER_FILES), those that it has.

    Raises:
        InputError: none can be read; names the file and the fix.
    """


def write_tokenizer(source: Path, target: Path) -> None:
    """Give the model folder `target` the tokenizer of `source`, so that its tokenizer.json alone is
    what AutoTokenizer gives for `source`. Needs transformers.

    Raises:
        InputError: it has none, or one that tokenizer.json cannot say.
    """
