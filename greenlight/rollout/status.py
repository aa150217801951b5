"""What a service is doing now, as `greenlight status` shows it."""

from greenlight.core.records import Color
from greenlight.rollout.state import (
    OTHER,
    ColorStatus,
    InstanceStatus,
    ServiceState,
    ServiceStatus,
)
from greenlight.rollout.target import Target

EVENTS_SHOWN = 10


def read_status(target: Target) -> ServiceStatus:
    """What is there now. Changes nothing, waits for nobody."""
    state = target.read()
    went_live, moving = state.went_live, state.switch
    return ServiceStatus(
        target=target.kind,
        service=target.service,
        namespace=target.namespace,
        endpoint=target.endpoint,
        endpoint_open=target.endpoint_open(),
        live=state.live,
        asleep_since=state.asleep_since,
        live_since=(
            moving.switched_at
            if moving and moving.switched_at
            else went_live.at
            if went_live
            else None
        ),
        live_decision=(moving.decision if moving and moving.switched_at else "") or state.decision,
        colors=[_color_status(target, state, color) for color in OTHER],
        previous=state.previous,
        switch=state.switch,
        holder=target.holder(),
        events=state.history[: -EVENTS_SHOWN - 1 : -1],
    )


def _color_status(target: Target, state: ServiceState, color: Color) -> ColorStatus:
    held = state.slot(color)
    recorded = target.running_of(held) if held else []
    instances = [
        InstanceStatus(instance=now, ready=target.is_ready(now), recorded=now in recorded)
        for now in target.running(color)
    ]
    return ColorStatus(color=color, live=state.live == color, release=held, instances=instances)
