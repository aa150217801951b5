"""Do one thing to a service, and be killed (SIGKILL) right after the named point: `killed_run.py
FOLDER PORT POINT ACTION [DECISION]`.

The points are lines of the log, so a handler of the log is all it takes.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from greenlight.core.records import Decision
from greenlight.rollout import bluegreen
from greenlight.rollout.local.target import LocalTarget
from greenlight.rollout.releases import Source
from tests.rollout.stage import PROMPTS, QUICK, TIMINGS


class Killer(logging.Handler):
    def __init__(self, point: str) -> None:
        super().__init__()
        self.point = point

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "point", "") == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    name, port, point, action, *rest = sys.argv[1:]
    folder = Path(name)
    logging.getLogger("greenlight").setLevel(logging.INFO)
    logging.getLogger("greenlight").addHandler(Killer(point))
    target = LocalTarget("llm", "default", str(folder / "home"), int(port), TIMINGS, QUICK)
    match action:
        case "deploy_green":
            baseline, candidate = (
                Source(folder / "baseline", str(folder / "baseline")),
                Source(folder / "candidate", str(folder / "candidate")),
            )
            bluegreen.deploy_green(
                target,
                candidate=candidate,
                baseline=baseline,
                run_id="killed",
                engine="quick",
                replicas=1,
                fingerprint="f1",
                prompts=PROMPTS,
            )
        case "promote":
            bluegreen.promote(target, Decision.load(rest[0]), "killed")
        case "rollback":
            bluegreen.rollback(target, "killed")
        case "retire":
            bluegreen.retire(target, Decision.load(rest[0]).deployment.candidate, "killed")


if __name__ == "__main__":
    main()
