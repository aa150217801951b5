"""`greenlight schedule` and `greenlight template`, and the pipeline compiled for a cloud."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.cli import main as cli
from tests.cli.cloud_fixtures import Outcome, greenlight, on_vertex, private_key, vertex
from tests.pipelines.runners.conftest import CLUSTER, IMAGE
from tests.pipelines.runners.fake_api import FakeVertex

__all__ = ["greenlight", "on_vertex", "private_key", "vertex"]


def test_a_schedule_from_the_command_line(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex
) -> None:
    where = ("--target", CLUSTER, "--history", "gs://models/greenlight")
    code, out, err = greenlight(
        "schedule", "create", "weekly", "--cron", "0 3 * * 1", "--start", "2127-01-01", *where
    )
    assert (code, out.strip()) == (0, "weekly: 0 3 * * 1, active"), err
    assert greenlight("schedule", "create", "weekly", "--cron", "0 3 * * 1", *where)[0] == 2
    assert greenlight("schedule", "create", "other", "--cron", "0 25 * * 1", *where)[0] == 2
    assert greenlight("schedule", "pause", "weekly")[0] == 0
    assert "paused" in greenlight("schedule", "list")[1]
    assert [
        (each["name"], each["state"])
        for each in json.loads(greenlight("schedule", "list", "--json")[1])
    ] == [("weekly", "paused")]
    assert greenlight("schedule", "resume", "weekly")[0] == 0
    assert greenlight("schedule", "update", "weekly", "--cron", "0 4 * * 1", "--times-only")[0] == 0
    assert "0 4 * * 1" in greenlight("schedule", "list")[1]
    assert greenlight("schedule", "delete", "weekly")[0] == 0
    assert len(on_vertex.sent("POST", ".*/schedules")) == 1 and on_vertex.schedules == {}


def test_a_template_from_the_command_line(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex
) -> None:
    where = ("--target", CLUSTER, "--history", "gs://models/greenlight")
    code, out, err = greenlight("template", "push", "--tag", "v1", *where)
    assert code == 0, err
    assert out.strip().endswith("/templates/promotion/sha256:0123")
    (request,) = on_vertex.sent("POST", "/pipelines.*")
    assert "latest,v1" in request.body and f"defaultValue: {CLUSTER}" in request.body


@pytest.mark.parametrize("backend", ["vertex", "kubeflow"])
def test_compile_for_a_cloud(
    greenlight: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    file = tmp_path / "out" / "promotion.yaml"
    command = ["compile", "--runner", backend, "--components-image", IMAGE]
    monkeypatch.setattr(sys, "argv", ["greenlight", *command, "--target", CLUSTER, str(file)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert greenlight(*command, "--bits", "3", str(tmp_path / "x"))[0] == 2
    assert IMAGE in file.read_text() and f"defaultValue: {CLUSTER}" in file.read_text()
