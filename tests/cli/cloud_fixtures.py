"""The command line in this process, set up for clouds that are servers of these tests."""

import sys
from collections.abc import Callable

import pytest

from greenlight.cli import main as cli
from tests.pipelines.runners import conftest as cloud
from tests.pipelines.runners.conftest import (
    bucket,
    gcs_server,
    history,
    kubeflow,
    private_key,
    upload,
    vertex,
)
from tests.pipelines.runners.fake_api import FakeKubeflow, FakeVertex

__all__ = ["bucket", "gcs_server", "history", "kubeflow", "private_key", "upload", "vertex"]

Outcome = tuple[int, str, str]
"""Exit code, stdout and stderr."""


@pytest.fixture
def greenlight(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """The command in this process: exit code, stdout, stderr."""

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["greenlight", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def on_vertex(vertex: FakeVertex, monkeypatch: pytest.MonkeyPatch) -> FakeVertex:
    for name, value in cloud.vertex_options(vertex).model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"GREENLIGHT_{name.upper()}", str(value))
    return vertex


@pytest.fixture
def on_kubeflow(kubeflow: FakeKubeflow, monkeypatch: pytest.MonkeyPatch) -> FakeKubeflow:
    for name, value in cloud.kubeflow_options(kubeflow).model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"GREENLIGHT_{name.upper()}", str(value))
    return kubeflow
