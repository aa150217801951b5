"""Bad options of runs in a cloud: refused before anything is sent, and before anything heavy is
imported.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.cloud_fixtures import Outcome, greenlight, on_vertex, private_key, vertex
from tests.pipelines.runners.conftest import CLUSTER
from tests.pipelines.runners.fake_api import FakeVertex

__all__ = ["greenlight", "on_vertex", "private_key", "vertex"]

RUN = "promotion-20261125-050000-4f2a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bits", "3"], ["bits", "3", "4 or 8"]),
        (["--bits", "four"], ["--bits", "valid integer"]),
        (["--quantisation", "bnb"], ["--quantisation"]),
        (["--method", "awq9"], ["method", "awq9"]),
        (["--replicas", "0"], ["replicas", "0"]),
        (["--target", "local"], ["target", "local", "projects/P"]),
        (["--target", "kubernetes:mine"], ["target", "kubernetes:mine"]),
        (["--history", "out/history"], ["history", "out/history", "gs://"]),
        (["--prompts", __file__], ["prompts", "bucket"]),
        (["--runner", "airflow"], ["runner", "airflow", "vertex"]),
        (["--project", "P"], ["project", "'P'"]),
        (["--region", "europe"], ["region", "europe", "us-central1"]),
        (["--pipeline-root", "/tmp/x"], ["pipeline_root", "/tmp/x", "gs://"]),
        (["--service-account", "me"], ["service_account", "me", "e-mail"]),
        (["--network", "vpc"], ["network", "vpc", "projects/"]),
        (["--kms-key", "k"], ["kms_key", "keyRings"]),
        (["--labels", "Team=ML"], ["labels", "Team=ML", "key=value"]),
        (["--failure-policy", "never"], ["failure_policy", "never", "slow or fast"]),
        (["--components-image", "components:1"], ["components_image", "components:1", "digest"]),
        (["--resources", "/no/such.yaml"], ["resources", "/no/such.yaml"]),
        (["--poll-seconds", "0"], ["poll_seconds", "0"]),
    ],
    ids=lambda value: (
        " ".join(value) if isinstance(value, list) and value and value[0].startswith("--") else None
    ),
)
def test_a_wrong_value_is_refused_before_anything_is_sent(
    greenlight: Callable[..., Outcome], on_vertex: FakeVertex, words: list[str], said: list[str]
) -> None:
    code, out, err = greenlight(
        "run", "--target", CLUSTER, "--history", "gs://models/greenlight", *words
    )
    assert (code, out, on_vertex.requests) == (2, "", [])
    for word in said:
        assert word in err


HEAVY = """
import sys
from greenlight.cli import main
sys.argv = ["greenlight", *{words}]
try:
    main.main()
except SystemExit as ended:
    assert ended.code == 2
heavy = ("kfp.compiler", "google.cloud.aiplatform_v1", "kfp_server_api", "torch", "transformers")
print([name for name in heavy if name in sys.modules])
"""


def test_a_refusal_imports_nothing_heavy() -> None:
    words = ["run", "--runner", "vertex", "--target", CLUSTER, "--history", "gs://m/g"]
    done = subprocess.run(
        [sys.executable, "-c", HEAVY.format(words=[*words, "--bits", "3"])],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.strip() == "[]" and "bits: 3" in done.stderr


def test_what_only_a_run_needs_is_not_asked_for_a_link(
    greenlight: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIPELINE_ROOT", "SERVICE_ACCOUNT", "COMPONENTS_IMAGE"):
        monkeypatch.delenv(f"GREENLIGHT_{name}", raising=False)
    assert greenlight("ui", RUN, "--runner", "vertex", "--project", "proj-1")[0] == 0
