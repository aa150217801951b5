"""What a method needs of the machine that quantizes, and what this machine, or one in a cloud,
has.
"""

import os
import subprocess
from dataclasses import dataclass

from greenlight.core.errors import InputError

# Compute capability of the accelerators of GKE and Vertex, from NVIDIA's table:
# https://developer.nvidia.com/cuda-gpus
CAPABILITIES = {
    "nvidia-tesla-p4": 6.1,
    "nvidia-tesla-p100": 6.0,
    "nvidia-tesla-v100": 7.0,
    "nvidia-tesla-t4": 7.5,
    "nvidia-tesla-a100": 8.0,
    "nvidia-a100-80gb": 8.0,
    "nvidia-l4": 8.9,
    "nvidia-h100-80gb": 9.0,
    "nvidia-h100-mega-80gb": 9.0,
    "nvidia-h200-141gb": 9.0,
    "nvidia-b200": 10.0,
    "nvidia-gb200": 10.0,
    "nvidia-rtx-pro-6000": 12.0,
}


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU that a method cannot do without.

    Attributes:
        capability: the lowest compute capability that the method runs on.
        why: for people, after a colon.
        instead: another method, which needs none.
    """

    capability: float
    why: str
    instead: str

    def __str__(self) -> str:
        return f"an NVIDIA GPU of compute capability {self.capability} or more"


def check_this_machine(method: str, needs: Gpu | None) -> None:
    """Whether this machine has what the method needs. Takes milliseconds.

    Raises:
        InputError: it has not; says why it is needed, and what else to do.
    """
    if needs is None:
        return
    found = _capability_here()
    if found is None or found < needs.capability:
        has = "this machine has none" if found is None else f"this machine's is of {found}"
        raise InputError(
            "method",
            method,
            f"needs {needs}, and {has}: {needs.why}. Use {needs.instead} here, or run where there"
            " is one",
        )


def check_accelerator(method: str, needs: Gpu | None, accelerator: str | None) -> None:
    """Whether a machine with this accelerator, as GKE names it, has what the method needs. None: it
    has no accelerator. An unknown one is let through.

    Raises:
        InputError: it has not.
    """
    if needs is None:
        return
    add = (
        "in the resources file write steps.quantize.accelerator: {type: nvidia-l4}, or another that"
        " has it, or use " + needs.instead
    )
    if accelerator is None:
        raise InputError(
            "method",
            method,
            f"needs {needs}, and the step quantize has no accelerator: {needs.why}; {add}",
        )
    if (has := CAPABILITIES.get(accelerator)) is not None and has < needs.capability:
        raise InputError(
            "method",
            method,
            f"needs {needs}, and {accelerator} of the step quantize is of {has}: {needs.why};"
            f" {add}",
        )


def _capability_here() -> float | None:
    """Compute capability of the first GPU that the driver shows. None: no driver or no GPU."""
    if not os.path.exists("/dev/nvidiactl"):
        return None
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        return float(
            subprocess.run(
                command, capture_output=True, text=True, timeout=20, check=True
            ).stdout.split()[0]
        )
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
