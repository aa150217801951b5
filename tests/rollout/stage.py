"""What the tests of a rollout need: artifacts, decisions, a target of quick servers, loads and
killed runs.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from greenlight.core.records import (
    Decision,
    Deployment,
    Instance,
    Model,
    ObjectiveResult,
    Promotion,
)
from greenlight.models.integrity import content_digest, describe_files
from greenlight.rollout import bluegreen
from greenlight.rollout.local.ports import is_free
from greenlight.rollout.local.target import LocalTarget
from greenlight.rollout.releases import Source
from greenlight.rollout.target import Timings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUICK = (sys.executable, "-S", "-E", str(HERE / "quick_server.py"))
TIMINGS = Timings(ready=20, progress=0.5, poll=0.05, drain=20, ask=5, switched=3)
PROMPTS = ["Hello", "Name a color.", "Count to three, please."]


def make_model(folder: Path, role: str, files: dict[str, bytes]) -> Path:
    """A Model artifact of these files."""
    model = folder / "model"
    model.mkdir(parents=True)
    for name, data in files.items():
        (model / name).write_bytes(data)
    entries = describe_files(model)
    method, bits = ("none", 16) if role == "baseline" else ("bnb", 8)
    Model.model_validate(
        {
            "role": role,
            "source": "test",
            "commit": "c0ffee",
            "format": "safetensors",
            "method": method,
            "bits": bits,
            "digest": content_digest(entries),
            "files": entries,
            "bytes": sum(entry.size for entry in entries.values()),
        }
    ).save(folder)
    return folder


def decision_on(
    deployment: Deployment,
    verdict: str = "promote",
    bake_seconds: float = 0.3,
    bake_max_errors: int = 0,
    **bake_test: object,
) -> Decision:
    passed = ObjectiveResult(
        name="ttft",
        metric="ttft_p50",
        scope="vs_live",
        comparison="<= 1.10 x live",
        estimate=0.9,
        bound=0.95,
        limit=1.1,
        confidence=0.95,
        status="pass",
        reason="",
    )
    return Decision.model_validate(
        {
            "verdict": verdict,
            "action": "promote" if verdict == "promote" else "retire",
            "reason": "as tested.",
            "objectives": [passed],
            "deployment": deployment,
            "gate_name": "test",
            "gate_digest": "0",
            "evaluation_digest": "0",
            "benchmark_digest": "0",
            "bake_seconds": bake_seconds,
            "bake_max_errors": bake_max_errors,
            "bake_test": {"probes_per_second": 10, **bake_test},
        }
    )


def free_port() -> int:
    return next(port for port in range(30_000 + os.getpid() % 2000, 32_700) if is_free(port))


class Stage:
    """A service of quick servers in a folder of its own, with a baseline and a candidate to
    deploy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.baseline = make_model(folder / "baseline", "baseline", {"config.json": b"baseline"})
        self.candidate = make_model(
            folder / "candidate", "candidate", {"config.json": b"candidate"}
        )
        self.port = free_port()
        self.target = LocalTarget("llm", "default", str(self.home), self.port, TIMINGS, QUICK)

    def deploy(
        self, candidate: Path | None = None, run_id: str = "run-1", **settings: object
    ) -> Deployment:
        wanted: dict = {
            "engine": "quick",
            "replicas": 1,
            "fingerprint": "f1",
            "prompts": PROMPTS,
            **settings,
        }
        candidate = candidate or self.candidate
        return bluegreen.deploy_green(
            self.target,
            candidate=Source(candidate, str(candidate)),
            baseline=Source(self.baseline, str(self.baseline)),
            run_id=run_id,
            **wanted,
        )

    def another_candidate(self, content: str) -> Path:
        return make_model(self.folder / content, "candidate", {"config.json": content.encode()})

    def promoted(self) -> Promotion:
        return bluegreen.promote(self.target, decision_on(self.deploy(), bake_seconds=0), "run-1")

    def save(self, decision: Decision) -> Path:
        folder = self.folder / "decision"
        decision.save(folder)
        return folder

    def killed(self, point: str, action: str, decision: Path | None = None) -> None:
        """Run an action in a process of its own that is killed at the named point."""
        command = [
            sys.executable,
            "-m",
            "tests.rollout.killed_run",
            str(self.folder),
            str(self.port),
            point,
            action,
            *([str(decision)] if decision else []),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == -9, (
            f"not killed at {point}: {done.returncode} {done.stdout} {done.stderr}"
        )

    def run_component(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run the component of a step, which finds the artifacts in this stage's folder."""
        command = [
            sys.executable,
            "-m",
            "tests.rollout.run_component",
            str(self.folder),
            str(self.port),
            name,
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    def processes(self) -> list[psutil.Process]:
        """Everything that carries the mark of this service, children too."""
        return [process for process, _ in self.target.processes._marked()]

    def close(self) -> None:
        ending = self.processes()
        for process in ending:
            process.kill()
        psutil.wait_procs(ending, timeout=10)


def kill(instance: Instance) -> None:
    process = psutil.Process(instance.pid)
    process.kill()
    psutil.wait_procs([process], timeout=5)


def assert_serving(stage: Stage, color: str, digest: str) -> None:
    answer = stage.target.ask_stable("Hello", 4)
    live = stage.target.live()
    assert live is not None
    assert (answer.color, live.color, live.digest) == (color, color, digest)
    assert stage.target.is_healthy(live)


class Load:
    """A bounded streaming load on the stable endpoint, in a process of its own."""

    def __init__(self, stage: Stage, how: str, connections: int = 8, tokens: int = 15) -> None:
        self.stop_file = stage.folder / f"stop-{how}"
        command = [
            sys.executable,
            str(HERE / "streaming_load.py"),
            stage.target.endpoint,
            str(connections),
            str(tokens),
            how,
            str(self.stop_file),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stdout.readline() == "started\n"

    def stop(self) -> dict:
        self.stop_file.touch()
        output, _ = self.process.communicate(timeout=90)
        return json.loads(output)

    def __enter__(self) -> "Load":
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
