"""The named points of a rollout: each is a line in the log, and a place where a run may be killed
and must converge when repeated.
"""

import logging
from typing import Literal

Point = Literal[
    "deploy_green.leased",
    "deploy_green.checked",
    "deploy_green.emptied",
    "deploy_green.started",
    "deploy_green.opened",
    "deploy_green.went_live",
    "deploy_green.proven",
    "deploy_green.recorded",
    "promote.leased",
    "promote.checked",
    "promote.matched",
    "promote.intended",
    "promote.switched",
    "promote.verified",
    "promote.baking",
    "promote.baked",
    "promote.settled",
    "rollback.leased",
    "rollback.warm",
    "rollback.intended",
    "rollback.switched",
    "rollback.verified",
    "rollback.settled",
    "switch.leased",
    "switch.checked",
    "switch.switched",
    "restart.started",
    "restart.proven",
    "recover.scaled_down",
    "sleep.written",
    "retire.leased",
    "retire.emptied",
    "retire.stopped",
]

log = logging.getLogger("greenlight.rollout")


def log_point(point: Point, message: str, *values: object, figure: str = "") -> None:
    """Log that a named point is behind us. What the line says is done, and will not be undone by a
    kill right after it.
    """
    log.info(message, *values, extra={"point": point, "figure": figure})
