"""Where the demo finds the two colors: at the URLs of its environment, or where the target says
that they run.
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
    """One color as the page shows it. If nothing answers, `url` is empty and `problem` says why."""

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
    """The colors at the URLs of GREENLIGHT_DEMO_BLUE, _GREEN and _ENDPOINT. Where none is set,
    those of the service that GREENLIGHT_TARGET, _SERVICE, _NAMESPACE and _HOME name.

    Raises:
        GreenlightError: the state of the target cannot be read.
    """
    urls: dict[Color, str] = {
        color: os.environ.get(f"GREENLIGHT_DEMO_{color.upper()}", "") for color in COLORS
    }
    return _colors_at(urls) if any(urls.values()) else _colors_of_target()


def _colors_at(urls: dict[Color, str]) -> Colors:
    live = os.environ.get("GREENLIGHT_DEMO_LIVE", "blue")
    slots = {}
    for color, url in urls.items():
        problem = "" if url else f"GREENLIGHT_DEMO_{color.upper()} is not set"
        slots[color] = Slot(color, color == live, url, title=url, problem=problem)
    endpoint = os.environ.get("GREENLIGHT_DEMO_ENDPOINT", "")
    return Colors(slots, endpoint or next(filter(None, urls.values())))


def _colors_of_target() -> Colors:
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
        title = "empty"
        if release := each.release:
            title = f"{release.release_id}: {release.source}, {release.method} {release.bits}"
        problem = (
            f"{each.color} serves nothing. `make run` or `greenlight deploy --model-path DIR`"
            " deploys a model there."
        )
        slots[each.color] = Slot(each.color, each.live, ready, title, "" if ready else problem)
    return Colors(slots, found.endpoint if found.endpoint_open else "")
