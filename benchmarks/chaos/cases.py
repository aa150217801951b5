"""The cases. Each leaves the service as it found it: a proven candidate beside live, both warm."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from components.errors import GreenlightError
from components.records import Deployment
from rollout import bluegreen
from rollout.points import Point
from tests.cluster.cluster import wait_until
from tests.cluster.stage import SERVICE, Stage
from tests.rollout.stage import decision_on

BAKE_SECONDS = 2.0
KILLED = [point for point in get_args(Point) if point.startswith(("promote.", "rollback."))]


@dataclass
class Case:
    """One thing that goes wrong, and how the service must end: `live` names the release (`one` or `two`) and nothing is left half done."""

    name: str
    run: Callable[["World"], str]
    ends: str
    began: float = 0.0
    ended: float = 0.0
    live: str = ""
    problem: str = ""
    marks: dict[str, float] = field(default_factory=dict)


class World:
    """A stage on which release `one` and release `two` are up, blue and green, and one of them is live."""

    def __init__(self, stage: Stage, deployment: Deployment) -> None:
        self.stage, self.target = stage, stage.target
        self.names = {deployment.live.release_id: "one", deployment.candidate.release_id: "two"}
        self.deployment = deployment
        self.folder = Path(tempfile.mkdtemp(prefix="greenlight-chaos-"))
        self.decision = str(self.folder / "decision")
        decision_on(deployment, bake_seconds=BAKE_SECONDS).save(self.folder / "decision")

    def live(self) -> str:
        state = self.target.read()
        release = state.live_release
        return self.names.get(release.release_id, release.release_id) if release else "nobody"

    def problem(self) -> str:
        """What is left half done; empty when nothing is."""
        state = self.target.read()
        selected = self.stage.get(f"api/v1/{{ns}}/services/{SERVICE}")["spec"]["selector"].get("version")
        if selected != state.live:
            return f"the Service selects {selected}, the state says {state.live}"
        if state.switch:
            return "a switch is left unfinished"
        if self.target.holder():
            return "the lease is held"
        strangers = self.target._behind() - {instance.name for instance in self.target.running(state.live)} if state.live else set()
        return f"behind the Service: {sorted(strangers)}" if strangers else ""

    def act(self, action: str, *arguments: str, point: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.stage.command(action, *arguments, point=point), capture_output=True, text=True, timeout=400, check=False)
        if check and done.returncode != 0:
            raise GreenlightError(f"{action} failed: {done.stderr[-1500:]}")
        return done

    def promote(self) -> None:
        self.act("promote", self.decision)

    def restore(self, live: str) -> None:
        """The named release live, the other one warm beside it."""
        bluegreen.recover(self.target)
        if self.live() != live:
            bluegreen.switch(self.target, self.deployment.live.color if live == "one" else self.deployment.candidate.color)
        state = self.target.read()
        if state.previous and live == "one":
            self.target.commit(state.having(previous=None))


def killed(point: str) -> Case:
    """The runner dies at a named point; the same command is given again."""
    action = point.split(".")[0]

    def run(world: World) -> str:
        arguments = (world.decision,) if action == "promote" else ()
        died = world.act(action, *arguments, point=point, check=False)
        if died.returncode != -9:
            return f"not killed: exit code {died.returncode}: {died.stderr[-300:]}"
        world.act(action, *arguments)
        return ""

    return Case(f"runner killed at {point}", run, "two" if action == "promote" else "one")


def api_server_restarts(world: World) -> str:
    running = subprocess.Popen(world.stage.command("promote", world.decision), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(3)
    world.stage.cluster.restart_apiserver(4)
    _, errors = running.communicate(timeout=300)
    return "" if running.returncode == 0 else errors[-500:]


def kubelet_stops(world: World) -> str:
    world.stage.cluster.stop_kubelet()
    try:
        world.promote()
        time.sleep(10)
    finally:
        world.stage.cluster.start_kubelet()
    return ""


def pods_of_green_are_deleted(world: World) -> str:
    """During the benchmark: the candidate's pods are replaced, proven anew, and promoted."""
    for instance in world.target.running("green"):
        world.target.connection.delete(f"{world.target.core}/pods/{instance.name}")
    world.promote()
    return ""


def green_is_never_ready(world: World) -> str:
    """Its model is truncated: the init container refuses it. The candidate before it made way, and comes back with the next run."""
    bad = world.stage.artifact(next(iter(world.stage.models.values())), "truncated")
    world.stage.bucket.blob("models/truncated/model/openvino_model.bin").upload_from_string(b"half")
    return _fails(world, bad, "fetch crashes")


def image_of_green_is_missing(world: World) -> str:
    path = f"{world.target.apps}/{SERVICE}-green"
    good = world.stage.image

    def use(image: str) -> None:
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}}
        world.target.connection.call("PATCH", path, patch, "application/strategic-merge-patch+json")

    use("localhost/no-such-image:1")
    try:
        return _fails(world, world.stage.uris["three"], "ErrImageNeverPull")
    finally:
        use(good)


def _fails(world: World, candidate: str, reason: str) -> str:
    done = world.act("deploy_green", candidate, world.stage.uris["one"], check=False)
    if done.returncode == 0 or reason not in done.stderr:
        return f"expected {reason}: exit code {done.returncode}: {done.stderr[-500:]}"
    return ""


def second_run(world: World) -> str:
    """Two promotions at once: one wins, the other fails and names the holder."""
    ends: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: ends.append(world.act("promote", world.decision, check=False))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    losers = [end for end in ends if end.returncode != 0]
    if len(losers) > 1 or (losers and "is being rolled out by" not in losers[0].stderr):
        return f"{len(losers)} failed: {losers[0].stderr[-300:]}"
    return ""


def service_edited_by_hand(world: World) -> str:
    """While a promotion bakes, somebody points the Service back at the old color: the promotion must not fight for it."""
    running = subprocess.Popen(world.stage.command("promote", world.decision), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: world.target.read().live == "green", "the switch", 60)
    world.target.connection.merge(world.target.store.path, {"spec": {"selector": {"version": "blue"}}})
    running.communicate(timeout=300)
    return ""


def service_broken_by_hand(world: World) -> str:
    """Somebody labels the Service and changes its ports' names of nothing: fields that are not ours do not disturb a promotion."""
    running = subprocess.Popen(world.stage.command("promote", world.decision), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for number in range(20):
        world.target.connection.merge(world.target.store.path, {"metadata": {"annotations": {"somebody.else/counter": str(number)}}})
        time.sleep(0.3)
    _, errors = running.communicate(timeout=300)
    return "" if running.returncode == 0 else errors[-500:]


def undisturbed(world: World) -> str:
    done = world.act("promote", world.decision)
    import json

    world.marks = json.loads(done.stdout.splitlines()[-1])["reached"]  # type: ignore[attr-defined]
    return ""


def all_cases() -> Iterator[Case]:
    """Those that end on release two are followed by one that brings release one back, so that the next can begin."""
    back = [killed(point) for point in KILLED if point.startswith("rollback.")]
    there = [
        Case("undisturbed", undisturbed, "two"),
        *(killed(point) for point in KILLED if point.startswith("promote.")),
        Case("API server restarts during promote", api_server_restarts, "two"),
        Case("kubelet stops for a while", kubelet_stops, "two"),
        Case("green's pods are deleted during the benchmark", pods_of_green_are_deleted, "two"),
        Case("a second run is started", second_run, "two"),
        Case("somebody annotates the Service all the time", service_broken_by_hand, "two"),
    ]
    for number, case in enumerate(there):
        yield case
        if number < len(back):
            yield back[number]
    yield Case("the Service is edited by hand during the bake", service_edited_by_hand, "one")
    yield Case("green is never ready", green_is_never_ready, "one")
    yield Case("green's image is missing", image_of_green_is_missing, "one")


@contextlib.contextmanager
def load(stage: Stage, users: int, tokens: int, seconds: float, output: Path) -> Iterator[None]:
    """The load on the stable Service, from outside the pods but inside the cluster's network."""
    url = f"http://{stage.cluster.service_ip(stage.namespace, SERVICE)}"
    command = [sys.executable, "-m", "tests.cluster.load", url, str(users), str(tokens), str(seconds), str(output)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait(90)


def describe(world: Any) -> str:
    return f"live is {world.live()}"
