"""The procedures, on real processes that are up in a tenth of a second."""

import logging
import os
import subprocess
import sys
import time

import psutil
import pytest

from greenlight.core.errors import (
    ConflictError,
    DeployError,
    GreenlightError,
    InputError,
    IntegrityError,
)
from greenlight.core.records import Deployment
from greenlight.rollout import bluegreen, lifecycle
from greenlight.rollout.status import read_status
from tests.rollout.stage import HERE, Stage, assert_serving, decision_on, kill


class TestDeploy:
    def test_first_run_puts_the_baseline_live_and_the_candidate_beside_it(
        self, stage: Stage
    ) -> None:
        deployment = stage.deploy(replicas=2)
        assert (deployment.live.color, deployment.candidate.color) == ("blue", "green")
        assert deployment.live.method == "none" and deployment.candidate.method == "bnb"
        assert len(deployment.candidate.endpoints) == 2
        assert deployment.candidate.model_uri == str(stage.candidate)
        assert_serving(stage, "blue", deployment.live.digest)
        state = stage.target.read()
        assert [event.what for event in state.history] == ["went_live", "deployed"]
        assert all("@" in event.who and event.run_id == "run-1" for event in state.history)

    def test_the_same_release_is_taken_as_it_is(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = stage.deploy()
        caplog.set_level(logging.INFO)
        again = stage.deploy(run_id="run-2")
        assert again.candidate.instances == first.candidate.instances
        assert again.candidate.release_id == first.candidate.release_id
        assert "runs already, and is taken as it is" in caplog.text

    @pytest.mark.parametrize(
        "change", [{"replicas": 2}, {"fingerprint": "f2"}, {"engine": "other"}]
    )
    def test_another_release_replaces_the_candidate(self, stage: Stage, change: dict) -> None:
        first = stage.deploy()
        again = stage.deploy(run_id="run-2", **change)
        assert again.candidate.release_id != first.candidate.release_id
        assert not psutil.pid_exists(
            first.candidate.instances[0].pid
        ) or stage.target.processes.has_ended(first.candidate.instances[0])
        assert again.live == first.live

    def test_a_candidate_with_a_dead_process_is_deployed_again(self, stage: Stage) -> None:
        first = stage.deploy(replicas=2)
        kill(first.candidate.instances[1])
        again = stage.deploy(replicas=2)
        assert {i.pid for i in again.candidate.instances}.isdisjoint(
            i.pid for i in first.candidate.instances
        )
        assert len(stage.target.running("green")) == 2

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (
                "fails_to_start",
                "ended while starting with exit code 1.*the weights are of another shape",
            ),
            ("lies", "not bnb8-"),
            ("sick", "answered 500"),
        ],
    )
    def test_a_failed_deploy_leaves_live_alone_and_nothing_behind(
        self, stage: Stage, fault: str, words: str
    ) -> None:
        before = stage.deploy()
        bad = stage.another_candidate("bad")
        (bad / fault).touch()
        with pytest.raises(DeployError, match=f"(?s){words}"):
            stage.deploy(bad, run_id="run-2", fingerprint="f2")
        assert stage.target.running("green") == []
        assert stage.target.read().green is None
        assert stage.target.live() == before.live
        assert_serving(stage, "blue", before.live.digest)

    def test_never_ready_fails_in_time_with_progress_and_the_log(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        object.__setattr__(stage.target.timings, "ready", 1.5)
        try:
            (stage.candidate / "never_ready").touch()
            with pytest.raises(
                DeployError,
                match=(
                    r"not ready within 1.5 s \(1 of 1 processes\). The last lines of .*green-0.log"
                ),
            ):
                stage.deploy()
        finally:
            object.__setattr__(stage.target.timings, "ready", 20)
        assert "green: 0 of 1 servers ready after" in caplog.text
        assert any(
            getattr(record, "figure", "").startswith("green 0/1 ready") for record in caplog.records
        )

    def test_a_first_run_that_fails_before_anything_is_live_leaves_nothing(
        self, stage: Stage
    ) -> None:
        (stage.baseline / "fails_to_start").touch()
        with pytest.raises(DeployError):
            stage.deploy()
        assert stage.processes() == []
        assert stage.target.live() is None

    def test_changed_files_are_refused_before_anything_is_started(self, stage: Stage) -> None:
        before = stage.deploy()
        bad = stage.another_candidate("bad")
        (bad / "model" / "config.json").write_text("bed")
        with pytest.raises(IntegrityError):
            stage.deploy(bad, fingerprint="f2")
        assert stage.target.running("green") == before.candidate.instances

    def test_a_live_release_that_is_down_is_started_again(self, stage: Stage) -> None:
        before = stage.deploy()
        kill(before.live.instances[0])
        again = stage.deploy()
        assert again.live.release_id == before.live.release_id
        assert again.live.instances != before.live.instances
        assert_serving(stage, "blue", before.live.digest)

    def test_of_two_live_processes_only_the_dead_one_is_started_again(self, stage: Stage) -> None:
        before = stage.deploy(replicas=2)
        kill(before.live.instances[0])
        again = stage.deploy(replicas=2)
        assert again.live.instances[0] != before.live.instances[0]
        assert again.live.instances[1] == before.live.instances[1]

    def test_where_live_is_down_and_its_files_are_gone_the_baseline_takes_its_place(
        self, stage: Stage
    ) -> None:
        stage.promoted()
        lifecycle.down(stage.target)
        (stage.candidate / "model" / "config.json").unlink()
        deployment = stage.deploy(stage.another_candidate("next"), fingerprint="f2")
        assert (deployment.live.color, deployment.live.method, deployment.candidate.color) == (
            "green",
            "none",
            "blue",
        )
        assert_serving(stage, "green", deployment.live.digest)


class TestPromote:
    def test_moves_the_traffic_and_keeps_the_old_color_warm(self, stage: Stage) -> None:
        deployment = stage.deploy()
        promotion = bluegreen.promote(stage.target, decision_on(deployment), "run-1")
        assert promotion.outcome == "promoted" and promotion.errors == 0 and promotion.probes >= 2
        assert promotion.previous == deployment.live and promotion.switched_at
        assert stage.target.running("green") == deployment.candidate.instances, (
            "the processes that were measured"
        )
        assert stage.target.is_healthy(deployment.live)
        assert_serving(stage, "green", deployment.candidate.digest)
        event = stage.target.read().history[-1]
        assert (event.what, event.run_id, len(event.decision)) == ("promoted", "run-1", 12)

    def test_twice_is_once(self, stage: Stage) -> None:
        decision = decision_on(stage.deploy())
        bluegreen.promote(stage.target, decision)
        assert bluegreen.promote(stage.target, decision).outcome == "already_live"

    @pytest.mark.parametrize("verdict", ["reject", "inconclusive"])
    def test_only_the_verdict_promote_moves_traffic(self, stage: Stage, verdict: str) -> None:
        deployment = stage.deploy()
        with pytest.raises(GreenlightError, match=f"says {verdict}"):
            bluegreen.promote(stage.target, decision_on(deployment, verdict))
        assert_serving(stage, "blue", deployment.live.digest)

    def test_refused_when_live_has_changed_since_the_benchmark(self, stage: Stage) -> None:
        first = stage.deploy()
        old = decision_on(first)
        bluegreen.promote(stage.target, old)
        second = stage.deploy(stage.another_candidate("next"), run_id="run-2", fingerprint="f2")
        assert second.candidate.color == "blue"
        foreign = Deployment(candidate=second.candidate, live=first.live)
        with pytest.raises(
            ConflictError,
            match=(
                r"live has changed since the benchmark: it was baseline-.* on blue, it is bnb8-.*"
                r" on green"
            ),
        ):
            bluegreen.promote(stage.target, decision_on(foreign))
        assert_serving(stage, "green", first.candidate.digest)

    def test_refused_when_a_process_was_replaced_since_it_was_measured(self, stage: Stage) -> None:
        deployment = stage.deploy()
        kill(deployment.candidate.instances[0])
        again = stage.deploy()
        assert again.candidate.release_id == deployment.candidate.release_id, (
            "the same release, another process"
        )
        with pytest.raises(
            ConflictError, match=r"green-0, process \d+, was measured, and does not run any more"
        ):
            bluegreen.promote(stage.target, decision_on(deployment))
        assert_serving(stage, "blue", deployment.live.digest)

    def test_refused_when_another_release_was_deployed_since(self, stage: Stage) -> None:
        deployment = stage.deploy()
        stage.deploy(stage.another_candidate("next"), run_id="run-2", fingerprint="f2")
        with pytest.raises(
            ConflictError, match=r"green holds bnb8-.*, not bnb8-.* that was measured"
        ):
            bluegreen.promote(stage.target, decision_on(deployment))

    def test_refused_when_it_serves_another_digest_by_now(self, stage: Stage) -> None:
        deployment = stage.deploy()
        (stage.candidate / "lies").touch()
        with pytest.raises(DeployError, match="digest 000000000000"):
            bluegreen.promote(stage.target, decision_on(deployment))
        assert_serving(stage, "blue", deployment.live.digest)

    def test_a_bad_bake_goes_back_by_itself_and_is_not_tried_again(self, stage: Stage) -> None:
        deployment = stage.deploy()
        decision = decision_on(deployment, bake_seconds=5, bake_max_errors=1)
        code = "import sys, pathlib, time; time.sleep(1); pathlib.Path(sys.argv[1]).touch()"
        sickness = subprocess.Popen([sys.executable, "-c", code, str(stage.candidate / "sick")])
        promotion = bluegreen.promote(stage.target, decision, "run-1")
        sickness.wait()
        assert promotion.outcome == "rolled_back" and promotion.errors == 2
        assert "2 of" in promotion.reason and "answered 500" in promotion.reason
        assert promotion.live == deployment.live and promotion.previous == deployment.candidate
        assert_serving(stage, "blue", deployment.live.digest)
        (stage.candidate / "sick").unlink()
        again = bluegreen.promote(stage.target, decision, "run-1")
        assert again.outcome == "rolled_back" and "this decision was tried" in again.reason
        assert_serving(stage, "blue", deployment.live.digest)

    def test_a_candidate_that_never_answers_through_the_endpoint_goes_back(
        self, stage: Stage
    ) -> None:
        deployment = stage.deploy()
        (stage.candidate / "sick").touch()
        promotion = bluegreen.promote(stage.target, decision_on(deployment, bake_max_errors=100))
        assert (
            promotion.outcome == "rolled_back" and "does not answer from green" in promotion.reason
        )
        assert_serving(stage, "blue", deployment.live.digest)

    def test_what_fails_on_both_colors_is_not_held_against_the_new_one(self, stage: Stage) -> None:
        deployment = stage.deploy()
        code = (
            "import sys, time; from pathlib import Path; files = [Path(p) for p in sys.argv[1:]]\n"
        )
        code += (
            "time.sleep(1); [f.touch() for f in files]; time.sleep(0.5); [f.unlink() for f in"
            " files]"
        )
        trouble = subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                str(stage.baseline / "sick"),
                str(stage.candidate / "sick"),
            ]
        )
        promotion = bluegreen.promote(stage.target, decision_on(deployment, bake_seconds=2.5))
        trouble.wait()
        assert promotion.outcome == "promoted"

    def test_two_at_once_one_wins_and_the_other_names_it(self, stage: Stage) -> None:
        decision = decision_on(stage.deploy(), bake_seconds=2)
        command = [
            sys.executable,
            "-m",
            "tests.rollout.killed_run",
            str(stage.folder),
            str(stage.port),
            "-",
            "promote",
            str(stage.save(decision)),
        ]
        winner = subprocess.Popen(command, cwd=HERE.parents[1])
        while not (holder := stage.target.holder()):
            time.sleep(0.02)
            assert winner.poll() is None
        assert (holder.run_id, holder.action, holder.pid) == ("killed", "promote", winner.pid)
        with pytest.raises(
            ConflictError, match=f"run killed .promote by .*, process {winner.pid}, since"
        ):
            bluegreen.promote(stage.target, decision, "run-2")
        assert read_status(stage.target).holder == holder
        assert winner.wait(20) == 0
        assert stage.target.holder() is None
        assert bluegreen.promote(stage.target, decision, "run-2").outcome == "already_live"

    @pytest.mark.alone
    def test_a_dead_holder_holds_nothing(self, stage: Stage) -> None:
        decision = decision_on(stage.deploy())
        stage.killed("promote.leased", "promote", stage.save(decision))
        began = time.monotonic()
        assert bluegreen.promote(stage.target, decision).outcome == "promoted"
        assert time.monotonic() - began < 3

    def test_the_proxy_is_started_again_when_it_died(self, stage: Stage) -> None:
        decision = decision_on(stage.deploy())
        for running in stage.target.processes.find("proxy"):
            kill(running.instance)
        assert not stage.target.endpoint_open()
        assert bluegreen.promote(stage.target, decision).outcome == "promoted"
        assert_serving(stage, "green", decision.deployment.candidate.digest)


def test_a_corrupt_state_is_a_clear_error_and_serving_goes_on(stage: Stage) -> None:
    deployment = stage.deploy()
    stage.target.store.path.write_text('{"version": ')
    for command in (
        lambda: read_status(stage.target),
        lambda: bluegreen.rollback(stage.target),
        lambda: lifecycle.down(stage.target),
        stage.deploy,
    ):
        with pytest.raises(
            IntegrityError, match=r"state\.json is not readable .* move the file away"
        ):
            command()
    assert stage.target.ask_stable("Hello", 4).color == "blue"
    stage.target.store.path.unlink()
    again = stage.deploy()
    assert again.live.instances != deployment.live.instances
    assert_serving(stage, "blue", deployment.live.digest)


def test_the_port_of_somebody_else_is_refused(stage: Stage) -> None:
    with pytest.raises(InputError, match="something else listens there"):
        import socket

        with socket.create_server(("127.0.0.1", stage.port)):
            stage.target.check()
    stage.target.check()


def test_signals_to_the_runner_do_not_reach_what_it_started(stage: Stage) -> None:
    deployment = stage.deploy()
    for instance in [*deployment.live.instances, *deployment.candidate.instances]:
        assert os.getsid(instance.pid) == instance.pid
