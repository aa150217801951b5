"""Where the demo finds the two colors: at the URLs it is told, or where the target says that they
run.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from greenlight.core.errors import GreenlightError
from greenlight.core.records import Color
from greenlight.resolve.parameters import default

COLORS: tuple[Color, Color] = ("blue", "green")


@dataclass(frozen=True)
class Slot:
    """One color, as the page shows it. `url` empty: nothing answers there, and `problem` says
    why.
    """

    color: Color
    live: bool = False
    url: str = ""
    title: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Colors:
    """Both colors, and the URL of the stable endpoint, which is always the live one's."""

    slots: dict[Color, Slot]
    endpoint: str

    @property
    def live(self) -> Color | None:
        return next((slot.color for slot in self.slots.values() if slot.live), None)


def find_colors() -> Colors:
    """As the environment says: GREENLIGHT_DEMO_BLUE, _GREEN and _ENDPOINT are URLs; else the
    service of GREENLIGHT_TARGET, _SERVICE, _NAMESPACE and _HOME.

    Raises:
        GreenlightError: the target cannot be asked.
    """
    told: dict[Color, str] = {
        color: os.environ.get(f"GREENLIGHT_DEMO_{color.upper()}", "") for color in COLORS
    }
    if any(told.values()):
        live = os.environ.get("GREENLIGHT_DEMO_LIVE", "blue")
        slots = {
            color: Slot(
                color,
                color == live,
                url,
                url,
                "" if url else f"GREENLIGHT_DEMO_{color.upper()} is not set",
            )
            for color, url in told.items()
        }
        return Colors(
            slots,
            os.environ.get("GREENLIGHT_DEMO_ENDPOINT", "") or next(filter(None, told.values())),
        )
    return _of_target()


def _of_target() -> Colors:
    from greenlight.rollout.status import read_status
    from greenlight.rollout.targets import open_target

    service, namespace = default("service"), default("namespace")
    home = str(Path(default("home")).absolute())
    target = open_target(default("target"), service, namespace, home, 0)
    if target.kind != "local":
        raise GreenlightError(
            "pods of a cluster cannot be reached from here. Forward a port to each color, `kubectl"
            f" -n {namespace} port-forward service/{service}-blue-svc 8081:80`, and give"
            " GREENLIGHT_DEMO_BLUE=http://127.0.0.1:8081 (and _GREEN)"
        )
    found, slots = read_status(target), {}
    for each in found.colors:
        ready = next(
            (status.instance.url for status in each.instances if status.ready and status.recorded),
            "",
        )
        title = (
            f"{each.release.release_id}: {each.release.source}, {each.release.method}"
            f" {each.release.bits}"
            if each.release
            else "empty"
        )
        problem = (
            ""
            if ready
            else (
                f"{each.color} serves nothing. `make run` or `greenlight deploy --model-path DIR`"
                " brings a model up there."
            )
        )
        slots[each.color] = Slot(each.color, each.live, ready, title, problem)
    return Colors(slots, found.endpoint if found.endpoint_open else "")
