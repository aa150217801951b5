"""kill -9 of the runner, then the same command again: the end is that of an undisturbed run. The
tests run in order and share one home.
"""

import psutil
import pytest

from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.slow


def serving_processes(home: Home) -> int:
    """Server processes of this home, asked of the machine and not of the state."""
    count = 0
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        try:
            ours = "greenlight.serving" in command and str(home.folder) in str(process.environ())
        except psutil.Error:
            continue
        count += ours
    return count


def settled(home: Home, method: str) -> None:
    status = home.status()
    live = next(color for color in status.colors if color.live)
    assert live.ready and live.release and live.release.method == method
    assert status.switch is None and status.holder is None and status.endpoint_open
    warm = sum(color.release is not None for color in status.colors)
    assert serving_processes(home) == warm, "a killed run left a server behind"


@pytest.mark.parametrize(
    ("sign", "bits"),
    [
        ('"step":"quantize","event":"started"', "8"),
        ('"step":"deploy_green","event":"log"', "4"),
        ('"step":"promote","event":"started"', "8"),
        ('"step":"promote","event":"log"', "4"),
    ],
    ids=["quantize", "deploy_green", "promote", "promote, later"],
)
def test_killed_and_run_again(home: Home, small_gate: str, sign: str, bits: str) -> None:
    args = ("--method", "optimum", "--bits", bits, "--gate", small_gate)
    home.kill_when(sign, *args)
    code, output = home.run(*args)
    assert code == 0, output
    assert home.newest().outcome in ("promoted", "up_to_date")
    settled(home, "optimum")
