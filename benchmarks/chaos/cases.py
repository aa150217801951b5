"""The cases. Each begins with release `one` live on blue and release `two` proven beside it on
green, or the other way round after a promotion.
"""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.workload import Workload
from greenlight.core.errors import GreenlightError
from greenlight.core.records import BenchmarkResult, Deployment
from greenlight.rollout.log_points import Point
from tests.cluster.cluster import wait_until
from tests.cluster.stage import SERVICE, Stage
from tests.rollout.stage import decision_on

BAKE_SECONDS, LONG_BAKE_SECONDS = 1.5, 9.0
PROMOTE = [point for point in get_args(Point) if point.startswith("promote.")]
ROLLBACK = [point for point in get_args(Point) if point.startswith("rollback.")]


@dataclass
class Case:
    """One thing that goes wrong. `run` does it and says what was not as it should be; `ends` is the
    release that must be live then.
    """

    name: str
    run: Callable[["World"], str]
    ends: str
    starts: str = "one"
    began: float = 0.0
    ended: float = 0.0
    live: str = ""
    problem: str = ""


@dataclass
class Flip:
    """An undisturbed switch: when it was accepted, and to which release."""

    at: float
    release: str


@dataclass
class World:
    stage: Stage
    uris: dict[str, str]
    flips: list[Flip] = field(default_factory=list)
    deployment: Deployment | None = None
    decisions: int = 0

    def act(
        self, action: str, *arguments: str, point: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run an action in a process of its own, as a runner does. With `check`, raises
        GreenlightError when it fails.
        """
        done = subprocess.run(
            self.stage.command(action, *arguments, point=point),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if check and done.returncode != 0:
            raise GreenlightError(f"{action} failed: {done.stderr[-1500:]}")
        return done

    def promote(self, decision: str) -> str:
        """Carry a decision out; says why when that does not end in `promoted`."""
        said = json.loads(self.act("promote", decision).stdout.splitlines()[-1])
        return "" if said["outcome"] == "promoted" else f"{said['outcome']}: {said['reason']}"

    def start(self, action: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.stage.command(action, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self) -> None:
        """Both releases up; `one` becomes live where nothing is."""
        self.act("deploy_green", self.uris["two"], self.uris["one"])
        state = self.stage.target.read()
        assert state.blue and state.green
        self.deployment = Deployment(candidate=state.green, live=state.blue)

    def decision(self, bake_seconds: float = BAKE_SECONDS) -> str:
        """A decision that was never acted on."""
        assert self.deployment
        self.decisions += 1
        state = self.stage.target.read()
        assert state.blue and state.green
        made = decision_on(
            Deployment(candidate=state.green, live=state.blue), bake_seconds=bake_seconds
        )
        folder = Path(tempfile.mkdtemp(prefix="greenlight-chaos-"))
        made.model_copy(update={"reason": f"as tested, {self.decisions}"}).save(folder)
        return str(folder)

    def name(self, release_id: str) -> str:
        assert self.deployment
        return {
            self.deployment.live.release_id: "one",
            self.deployment.candidate.release_id: "two",
        }.get(release_id, release_id or "nobody")

    def live(self) -> str:
        release = self.stage.target.read().live_release
        return self.name(release.release_id if release else "")

    def restore(self, live: str) -> None:
        if self.live() != live:
            self.act("rollback") if live == "one" else self.act("promote", self.decision())

    def flip(self, action: str, *arguments: str) -> None:
        """An undisturbed switch, whose moment is kept."""
        reached = json.loads(self.act(action, *arguments).stdout.splitlines()[-1])["reached"]
        live = self.stage.target.read().live_release
        assert live
        self.flips.append(Flip(reached[f"{action}.switched"], live.release_id))

    def left_over(self) -> str:
        """What is half done; empty when nothing is."""
        target = self.stage.target
        state = target.read()
        selected = self.stage.get(f"api/v1/{{ns}}/services/{SERVICE}")["spec"]["selector"].get(
            "version"
        )
        if selected != state.live or state.live is None:
            return f"the Service selects {selected}, the state says {state.live}"
        if state.switch or target.holder():
            return "a switch is unfinished" if state.switch else "the lease is held"
        strangers = target.behind() - {instance.name for instance in target.running(state.live)}
        return f"behind the Service are also {', '.join(sorted(strangers))}" if strangers else ""


def undisturbed(world: World) -> str:
    for _ in range(3):
        world.flip("promote", world.decision())
        time.sleep(2)
        world.flip("rollback")
        time.sleep(2)
    return ""


def killed(point: str) -> Case:
    """The runner dies right after a named point; then the same command is given again."""
    action = point.split(".")[0]

    def run(world: World) -> str:
        arguments = [world.decision(3 * BAKE_SECONDS)] if action == "promote" else []
        died = world.act(action, *arguments, point=point, check=False)
        if died.returncode != -9:
            return f"not killed: exit code {died.returncode}: {died.stderr[-300:]}"
        world.act(action, *arguments)
        return ""

    return Case(
        f"runner killed at {point}",
        run,
        *(("two", "one") if action == "promote" else ("one", "two")),
    )


def api_server_restarts(world: World) -> str:
    running = world.start("promote", world.decision(LONG_BAKE_SECONDS / 2))
    time.sleep(2.5)
    world.stage.cluster.restart_apiserver(4)
    _, errors = running.communicate(timeout=300)
    return "" if running.returncode == 0 else errors[-500:]


def kubelet_stops(world: World) -> str:
    world.stage.cluster.stop_kubelet()
    try:
        problem = world.promote(world.decision())
        time.sleep(10)
    finally:
        world.stage.cluster.start_kubelet()
    return problem


def pods_of_green_are_deleted(world: World) -> str:
    """The benchmark is not complete, which promotes nothing. A decision made before stands: the new
    pods are of the same build, and are validated.
    """
    assert world.deployment
    decision = world.decision()
    state, results = world.stage.target.read(), list[BenchmarkResult]()
    assert state.blue and state.green
    deployment = Deployment(candidate=state.green, live=state.blue)
    plan = Plan(pairs=400, throughput_blocks=0, timeout=10)
    with tempfile.TemporaryDirectory() as folder:
        measuring = threading.Thread(
            target=lambda: results.append(
                run_benchmark(deployment, [], [], folder, plan, Workload())
            )
        )
        measuring.start()
        time.sleep(4)
        for instance in world.stage.target.running("green"):
            world.stage.admin.delete(f"{world.stage.target.core}/pods/{instance.name}")
        measuring.join()
    if results[0].complete:
        return "the benchmark counts as complete"
    return world.promote(decision)


def second_run(world: World) -> str:
    """Two promotions at once: one wins, the other fails and names the holder."""
    decision, ends = world.decision(LONG_BAKE_SECONDS), list[subprocess.CompletedProcess[str]]()
    threads = [
        threading.Thread(target=lambda: ends.append(world.act("promote", decision, check=False)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    losers = [end for end in ends if end.returncode != 0]
    return (
        ""
        if len(losers) == 1 and "is being rolled out by run acted" in losers[0].stderr
        else f"{len(losers)} failed: {ends[-1].stderr[-300:]}"
    )


def service_is_annotated(world: World) -> str:
    """Somebody else's controller writes to the Service all the time: that is no conflict."""
    running = world.start("promote", world.decision())
    number = 0
    while running.poll() is None:
        number += 1
        world.stage.admin.merge(
            world.stage.target.store.path,
            {"metadata": {"annotations": {"somebody.else/counter": str(number)}}},
        )
    _, errors = running.communicate(timeout=300)
    return "" if running.returncode == 0 else errors[-500:]


def service_is_pointed_back(world: World) -> str:
    """While a promotion bakes, somebody points the Service at the old color. The bake notices, and
    that is where the traffic stays.
    """
    running = world.start("promote", world.decision(LONG_BAKE_SECONDS))
    wait_until(lambda: world.stage.target.read().live == "green", "the switch", 60)
    world.stage.admin.merge(
        world.stage.target.store.path, {"spec": {"selector": {"version": "blue"}}}
    )
    output, errors = running.communicate(timeout=300)
    return "" if '"rolled_back"' in output else errors[-500:]


def green_is_never_ready(world: World) -> str:
    """A truncated model: the init container refuses it."""
    return _does_not_come_up(world, world.uris["truncated"], "fetch crashes")


def image_of_green_is_missing(world: World) -> str:
    path = f"{world.stage.target.apps}/{SERVICE}-green"

    def use(image: str) -> None:
        patch = {
            "spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}
        }
        world.stage.admin.call("PATCH", path, patch, "application/strategic-merge-patch+json")

    use("localhost/no-such-image:1")
    try:
        return _does_not_come_up(world, world.uris["three"], "ErrImageNeverPull")
    finally:
        use(world.stage.image)


def _does_not_come_up(world: World, candidate: str, reason: str) -> str:
    done = world.act("deploy_green", candidate, world.uris["one"], check=False)
    return (
        ""
        if done.returncode != 0 and reason in done.stderr
        else f"expected {reason}: exit code {done.returncode}: {done.stderr[-500:]}"
    )


def all_cases() -> Iterator[Case]:
    yield Case("undisturbed, three times there and back", undisturbed, "one")
    for number, point in enumerate(PROMOTE):
        yield killed(point)
        if number < len(ROLLBACK):
            yield killed(ROLLBACK[number])
    yield Case("API server restarts during a promotion", api_server_restarts, "two")
    yield Case("kubelet is stopped for a while", kubelet_stops, "two")
    yield Case("green's pods are deleted during the benchmark", pods_of_green_are_deleted, "two")
    yield Case("a second run is started", second_run, "two")
    yield Case("a controller writes to the Service all the time", service_is_annotated, "two")
    yield Case("the Service is edited by hand during the bake", service_is_pointed_back, "one")
    yield Case("green is never ready", green_is_never_ready, "one")
    yield Case("green's image is missing", image_of_green_is_missing, "one")
