"""Run the function of a component as KFP does, in a process of its own, over quick servers:
`run_component.py FOLDER PORT COMPONENT`.
"""

import sys
from pathlib import Path

from kfp import dsl

from greenlight.components.deploy_green.component import deploy_green
from greenlight.components.promote.component import promote
from greenlight.components.retire.component import retire
from greenlight.rollout.local import target as local
from tests.rollout.stage import QUICK


def main() -> None:
    name, port, component = sys.argv[1:]
    folder = Path(name)
    local.SERVER = QUICK
    # KFP's numbers are doubles
    where = {
        "target": "local",
        "service": "llm",
        "namespace": "default",
        "home": str(folder / "home"),
        "port": float(port),
    }
    run = {"run_id": "run-1", "history": str(folder / "history")}
    match component:
        case "deploy_green":
            baseline, candidate = (
                dsl.Model(uri=str(folder / role)) for role in ("baseline", "candidate")
            )
            release, evaluation = (
                dsl.Artifact(uri=str(folder / name)) for name in ("release", "evaluation")
            )
            settings = {
                "engine": "auto",
                "replicas": 1.0,
                "fingerprint": "f1",
                "prompts": "builtin",
            }
            deploy_green.python_func(
                baseline=baseline,
                candidate=candidate,
                evaluation=evaluation,
                release=release,
                **settings,
                **where,
                **run,
            )
        case "promote" | "retire":
            function = (promote if component == "promote" else retire).python_func
            function(
                decision=dsl.Artifact(uri=str(folder / "decision")),
                promotion=dsl.Artifact(uri=str(folder / "promotion")),
                **where,
                **run,
            )


if __name__ == "__main__":
    main()
