"""The quantization methods, one module each. A new method is one new file here that assigns `method
= ...`.

Importing this package and asking it what a method can do costs milliseconds: no method imports its
library at the top.
"""

import functools
import importlib
import pkgutil

from greenlight.core.errors import InputError
from greenlight.quantize.hardware import check_accelerator, check_this_machine
from greenlight.quantize.methods.base import Capability, Method

__all__ = [
    "capabilities",
    "check_engine",
    "check_in_cloud",
    "check_installed",
    "check_machine",
    "check_method",
    "methods",
]

ENGINE_AUTO = "auto"


@functools.cache
def methods() -> dict[str, Method]:
    """Every method by its name, in alphabetical order of the files."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        method = getattr(importlib.import_module(f"{__name__}.{module.name}"), "method", None)
        if method is not None:
            found[method.name] = method
    return found


def check_method(method: str, bits: int) -> Method:
    """The method of this name, if it supports so many bits per weight.

    Raises:
        InputError: there is no such method, or it does not support these bits.
    """
    chosen = methods().get(method)
    if chosen is None:
        raise InputError("method", method, f"use one of: {', '.join(methods())}")
    if chosen.bits and bits not in chosen.bits:
        raise InputError(
            "bits",
            bits,
            f"method {method} supports {' or '.join(str(able) for able in chosen.bits)} bits",
        )
    return chosen


def check_engine(method: str, engine: str) -> None:
    """Whether `engine` can serve what `method` makes. `auto` always can.

    Raises:
        InputError: it cannot, or there is no such engine or method.
    """
    if method not in methods():
        raise InputError("method", method, f"use one of: {', '.join(methods())}")
    able = methods()[method].engines
    known = {name for each in methods().values() for name in each.engines}
    if engine != ENGINE_AUTO and engine not in known:
        raise InputError(
            "engine", engine, f"use one of: {', '.join([ENGINE_AUTO, *sorted(known)])}"
        )
    if engine != ENGINE_AUTO and engine not in able:
        raise InputError(
            "engine",
            engine,
            f"method {method} makes a {methods()[method].format} model, which is served by:"
            f" {', '.join([ENGINE_AUTO, *able])}",
        )


def check_installed(method: str) -> None:
    """Whether what the method needs is installed on this machine. Looks, and imports nothing.

    Raises:
        GreenlightError: something is missing; says what to install.
    """
    methods()[method].check_installed()


def check_machine(method: str) -> None:
    """Whether this machine has the hardware and the library that the method needs. Looks, and
    imports nothing.

    Raises:
        InputError: it lacks the hardware.
        GreenlightError: it lacks the library.
    """
    check_this_machine(method, methods()[method].gpu)
    check_installed(method)


def check_in_cloud(method: str, accelerator: str | None) -> None:
    """Whether a step in a cloud with this accelerator (as GKE names it; None: without one) has the
    hardware that the method needs.

    Raises:
        InputError: it has not.
    """
    check_accelerator(method, methods()[method].gpu, accelerator)


def capabilities() -> list[Capability]:
    """A row for each method and bits: what `--help` and the docs show."""
    return [
        Capability(
            method=each.name,
            bits=bits,
            library=each.library,
            format=each.format,
            engines=each.engines,
            calibrates=each.calibrates,
            gpu=each.gpu,
        )
        for each in methods().values()
        for bits in each.bits or (None,)
    ]
