"""Do one thing to a service on the cluster, and be killed (SIGKILL) right after a named point:
`act.py NAMESPACE POINT|- ACTION [ARGUMENT]…`.

Prints a JSON line with what came of it, and the time of each named point that it reached.
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from greenlight.core.records import Decision
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.kubernetes.target import KubernetesTarget
from greenlight.rollout.releases import Source
from tests.cluster.stage import PROMPTS, SERVICE, TIMINGS

reached: dict[str, float] = {}


class Listener(logging.Handler):
    def __init__(self, point: str) -> None:
        super().__init__()
        self.point = point

    def emit(self, record: logging.LogRecord) -> None:
        point = getattr(record, "point", "")
        print(f"{time.time():.3f} {point} {record.getMessage()}", file=sys.stderr, flush=True)
        if point:
            reached.setdefault(point, time.time())
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    namespace, point, action, *rest = sys.argv[1:]
    logging.getLogger("greenlight").setLevel(logging.INFO)
    logging.getLogger("greenlight").addHandler(Listener(point))
    target = KubernetesTarget(SERVICE, namespace, "", TIMINGS)
    match action:
        case "deploy_green":
            candidate, baseline = (Source(uri, uri) for uri in rest)
            deployment = bluegreen.deploy_green(
                target,
                candidate=candidate,
                baseline=baseline,
                run_id="acted",
                engine="openvino",
                replicas=1,
                fingerprint="f1",
                prompts=PROMPTS,
            )
            print(
                json.dumps(
                    {
                        "live": deployment.live.release_id,
                        "candidate": deployment.candidate.release_id,
                        "reached": reached,
                    }
                )
            )
            return
        case "promote":
            promotion = bluegreen.promote(target, Decision.load(Path(rest[0])), "acted")
        case "rollback":
            promotion = bluegreen.rollback(target, "acted")
        case "recover":
            found = lifecycle.recover(target, "acted")
            print(json.dumps({"outcome": found.outcome if found else "", "reached": reached}))
            return
        case "retire":
            promotion = bluegreen.retire(
                target, Decision.load(Path(rest[0])).deployment.candidate, "acted"
            )
    print(
        json.dumps({"outcome": promotion.outcome, "reason": promotion.reason, "reached": reached})
    )


if __name__ == "__main__":
    main()
