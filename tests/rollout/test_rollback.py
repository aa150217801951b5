"""Going back, and stopping a release that is not live."""

import time

import pytest

from greenlight.core.errors import (
    GreenlightError,
    IntegrityError,
)
from greenlight.rollout import bluegreen
from tests.rollout.stage import Stage, assert_serving


class TestRetire:
    def test_stops_the_candidate_and_is_repeatable(self, stage: Stage) -> None:
        deployment = stage.deploy()
        for _ in range(2):
            promotion = bluegreen.retire(stage.target, deployment.candidate)
            assert promotion.outcome == "retired" and promotion.live == deployment.live
        assert stage.target.running("green") == []
        assert_serving(stage, "blue", deployment.live.digest)
        assert [event.what for event in stage.target.read().history].count("retired") == 1

    def test_never_live(self, stage: Stage) -> None:
        promotion = stage.promoted()
        with pytest.raises(GreenlightError, match="is live on green and is not retired"):
            bluegreen.retire(stage.target, promotion.live)
        assert_serving(stage, "green", promotion.live.digest)

    def test_leaves_a_release_that_took_its_place(self, stage: Stage) -> None:
        first = stage.deploy()
        second = stage.deploy(stage.another_candidate("next"), run_id="run-2", fingerprint="f2")
        assert "replaced" in bluegreen.retire(stage.target, first.candidate).reason
        assert stage.target.is_healthy(second.candidate)


class TestRollback:
    @pytest.mark.alone
    def test_is_instant_while_the_old_color_is_warm(self, stage: Stage) -> None:
        promoted = stage.promoted()
        began = time.monotonic()
        promotion = bluegreen.rollback(stage.target)
        assert time.monotonic() - began < 2
        assert promotion.outcome == "rolled_back" and promotion.live == promoted.previous
        assert_serving(stage, "blue", promotion.live.digest)

    def test_twice_is_once(self, stage: Stage) -> None:
        stage.promoted()
        bluegreen.rollback(stage.target)
        again = bluegreen.rollback(stage.target)
        assert again.outcome == "already_live" and again.live.color == "blue"

    def test_starts_the_old_release_again_when_it_is_down(self, stage: Stage) -> None:
        promoted = stage.promoted()
        stage.target.stop("blue")
        promotion = bluegreen.rollback(stage.target)
        assert promoted.previous and promotion.live.release_id == promoted.previous.release_id
        assert promotion.live.instances != promoted.previous.instances
        assert_serving(stage, "blue", promoted.previous.digest)

    def test_another_candidate_makes_way(self, stage: Stage) -> None:
        promoted = stage.promoted()
        stage.deploy(stage.another_candidate("next"), run_id="run-2", fingerprint="f2")
        promotion = bluegreen.rollback(stage.target)
        assert promoted.previous and promotion.live.release_id == promoted.previous.release_id
        assert_serving(stage, "blue", promoted.previous.digest)

    def test_fails_clearly_when_the_files_are_gone(self, stage: Stage) -> None:
        promoted = stage.promoted()
        stage.target.stop("blue")
        stage.baseline.rename(stage.folder / "elsewhere")
        with pytest.raises(IntegrityError, match=r"the files of release baseline-.* are gone"):
            bluegreen.rollback(stage.target)
        assert_serving(stage, "green", promoted.live.digest)

    def test_fails_clearly_when_the_files_have_changed(self, stage: Stage) -> None:
        promoted = stage.promoted()
        stage.target.stop("blue")
        (stage.baseline / "model" / "config.json").write_text("b4seline")
        with pytest.raises(IntegrityError):
            bluegreen.rollback(stage.target)
        assert_serving(stage, "green", promoted.live.digest)

    def test_nothing_to_go_back_to(self, stage: Stage) -> None:
        stage.deploy()
        with pytest.raises(GreenlightError, match="nothing to roll back to"):
            bluegreen.rollback(stage.target)
