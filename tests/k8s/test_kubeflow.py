"""The account of the steps on Kubeflow: valid, named as runs name it, and bound to the roles that
there are.
"""

from importlib.resources import files
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from greenlight.pipelines.runners.settings import CloudOptions, kubeflow_settings

ROOT = Path(str(files("greenlight.k8s")))
DOCUMENTS = list(yaml.safe_load_all((ROOT / "kubeflow" / "service-account.yaml").read_text()))


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: f"{document['kind']} {document['metadata']['name']}"
)
def test_valid(document: dict[str, object]) -> None:
    kubernetes_validate.validate(document, "1.36", strict=True)


def test_runs_name_this_account() -> None:
    account = DOCUMENTS[0]["metadata"]
    settings = kubeflow_settings(
        CloudOptions(kfp_host="http://127.0.0.1:8080", pipeline_root="gs://runs/runs")
    )
    assert settings.service_account == account["name"]
    for binding in DOCUMENTS[1:]:
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_beside_the_servers_it_may_what_a_rollout_may() -> None:
    roles = {
        (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
        for each in yaml.safe_load_all((ROOT / "base" / "rbac.yaml").read_text())
    }
    binding = DOCUMENTS[-1]
    assert ("Role", binding["metadata"]["namespace"], binding["roleRef"]["name"]) in roles
