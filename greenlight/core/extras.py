"""What the plain install leaves out, and how to get it. The package is on no index: messages name
the checkout and the wheel.
"""

from importlib.util import find_spec

from greenlight.core.errors import GreenlightError
from greenlight.version import VERSION


class MissingExtraError(GreenlightError):
    """A library is not installed that an extra of the package brings. Exit code 2, as for bad
    input: nothing was done.
    """

    exit_code = 2


def require(extra: str, needed_by: str, *modules: str) -> None:
    """Check that modules can be imported, without importing them.

    Args:
        extra: the extra that brings them.
        needed_by: what needs them, as the beginning of a sentence: "Method bnb".

    Raises:
        MissingExtraError: one is missing.
    """
    for module in modules:
        if not is_installed(module):
            raise MissingExtraError(
                f"{needed_by} needs {module}, which is not installed here. {how_to_install(extra)}"
            )


def is_installed(module: str) -> bool:
    """Whether a module can be imported. Imports the packages above it, if any, and not itself."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


def how_to_install(extra: str) -> str:
    """The sentence that says how to get an extra."""
    return (
        f"Run `make install` in a checkout, or pip install"
        f" 'greenlight_llm-{VERSION}-py3-none-any.whl[{extra}]'."
    )
