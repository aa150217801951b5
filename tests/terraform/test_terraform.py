"""The Terraform configuration: its form, its own tests against mocks, what a scanner finds, and
that it names things as k8s/ does. Nothing needs a cloud.

The providers come from, in this order: the file or folder that GREENLIGHT_TERRAFORM_MIRROR names (a
CLI configuration file, or a filesystem mirror), the mirror that `make mirror` made, or wherever
terraform gets them by itself. Those are kept in ~/.cache/greenlight/terraform.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
SOURCES = sorted(TERRAFORM.rglob("*.tf"))
CACHE = Path.home() / ".cache" / "greenlight"
MADE = CACHE / "terraform-mirror" / "terraform.rc"
TEXT = "\n".join(path.read_text() for path in SOURCES)


def terraform(
    *arguments: str, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    command = ["terraform", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the configuration with its providers, and the environment that terraform runs in.

    A copy, since a lock file fits the real providers or a mirror, and not both.
    """
    environment = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    mirror = os.environ.get("GREENLIGHT_TERRAFORM_MIRROR") or (str(MADE) if MADE.is_file() else "")
    if mirror:
        configuration = Path(mirror)
        if configuration.is_dir():
            configuration = tmp_path_factory.mktemp("mirror") / "terraform.rc"
            configuration.write_text(
                "provider_installation {\n  filesystem_mirror {\n    path ="
                f" {json.dumps(str(Path(mirror).absolute()))}\n  }}\n}}\n"
            )
        environment["TF_CLI_CONFIG_FILE"] = str(configuration.absolute())
    else:
        cache = CACHE / "terraform"
        cache.mkdir(parents=True, exist_ok=True)
        environment |= {
            "TF_PLUGIN_CACHE_DIR": os.environ.get("TF_PLUGIN_CACHE_DIR", str(cache)),
            "TF_REGISTRY_DISCOVERY_RETRY": "0",
            "TF_REGISTRY_CLIENT_TIMEOUT": "5",
        }
    folder = tmp_path_factory.mktemp("terraform") / "terraform"
    shutil.copytree(TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    result = terraform(
        "init", "-backend=false", "-input=false", "-no-color", cwd=folder, environment=environment
    )
    if (
        result.returncode
        and not mirror
        and re.search(r"registry|connect|lookup|timeout", result.stderr)
    ):
        reason = next(
            (line for line in result.stderr.splitlines() if line.startswith("Error")), "init failed"
        )
        pytest.skip(
            f"terraform cannot download its providers ({reason}): name a mirror in"
            " GREENLIGHT_TERRAFORM_MIRROR"
        )
    assert result.returncode == 0, result.stderr
    return folder, environment


def test_the_configuration_is_formatted() -> None:
    result = terraform("fmt", "-check", "-recursive", "-diff", "-no-color", cwd=TERRAFORM)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_configuration_is_valid(initialized: tuple[Path, dict[str, str]]) -> None:
    folder, environment = initialized
    result = terraform("validate", "-json", cwd=folder, environment=environment)
    report = json.loads(result.stdout)
    assert report["valid"] and not report["diagnostics"], report["diagnostics"]


def test_what_matters_holds(initialized: tuple[Path, dict[str, str]]) -> None:
    """terraform/tests, against mocked providers."""
    folder, environment = initialized
    result = terraform("test", "-no-color", cwd=folder, environment=environment)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Success! \d+ passed, 0 failed", result.stdout)


def test_the_scanner_finds_nothing() -> None:
    checkov = ROOT / ".cache" / "checkov" / "bin" / "checkov"
    if not checkov.is_file():
        pytest.skip("checkov is not installed: `make test-terraform` does that")
    command = [
        str(checkov),
        "--directory",
        str(TERRAFORM),
        "--framework",
        "terraform",
        "--skip-download",
        "--compact",
        "--quiet",
        "--output",
        "json",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(result.stdout)
    assert not [
        (check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]
    ]
    assert report["summary"]["passed"] > 50 and not report["summary"]["parsing_errors"]


def test_every_exception_is_explained() -> None:
    exceptions = re.findall(r"checkov:skip=(\w+)(.*)", TEXT)
    assert exceptions
    for name, reason in exceptions:
        assert len(reason) > len(": as for") and reason.startswith(":"), name


def test_there_is_no_key() -> None:
    assert not re.search(
        r'"google_service_account_key"|private_key|"google_service_account_access_token"', TEXT
    )
    assert not re.search(r'"roles/(owner|editor|viewer)"', TEXT), "basic roles"
    assert "allUsers" not in TEXT and "allAuthenticatedUsers" not in TEXT


def test_the_provider_is_pinned() -> None:
    assert re.search(r'source\s+= "hashicorp/google"\s+version = "~> 6\.50"', TEXT)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environment_sets_only_what_there_is(environment: str) -> None:
    """Terraform only warns of a name that no variable has."""
    variables = set(
        re.findall(r'^variable "(\w+)"', (TERRAFORM / "variables.tf").read_text(), re.M)
    )
    assigned = set(
        re.findall(
            r"^(\w+)\s*=", (TERRAFORM / "environments" / f"{environment}.tfvars").read_text(), re.M
        )
    )
    assert (
        {"environment", "region", "gke_num_nodes", "machine_type", "gpu_count"}
        <= assigned
        <= variables
    )


def test_variables_and_outputs_that_users_know() -> None:
    variables = (TERRAFORM / "variables.tf").read_text()
    for name in ("project_id", "region", "gke_num_nodes", "machine_type", "gpu_type", "gpu_count"):
        assert f'variable "{name}"' in variables
    outputs = (TERRAFORM / "outputs.tf").read_text()
    for name in ("kubernetes_cluster_name", "region", "project_id", "model_storage_bucket"):
        assert f'output "{name}"' in outputs


def test_names_are_those_of_the_manifests() -> None:
    """Nothing refuses a binding to a service account that does not exist; the bucket then refuses
    its pods.
    """
    accounts = list(
        yaml.safe_load_all((ROOT / "k8s" / "base" / "serviceaccounts.yaml").read_text())
    )
    (namespace,) = {account["metadata"]["namespace"] for account in accounts}
    assert re.search(rf'namespace += "{namespace}"', (TERRAFORM / "main.tf").read_text())
    identity = (TERRAFORM / "modules" / "identity" / "main.tf").read_text()
    (bound,) = re.findall(r"for name in \[(.+?)\]", identity)
    assert set(re.findall(r'"([\w-]+)"', bound)) == {
        account["metadata"]["name"] for account in accounts
    }


def test_pools_are_those_that_the_overlays_ask_for() -> None:
    cluster = (TERRAFORM / "modules" / "cluster" / "main.tf").read_text()
    dev = yaml.safe_load((ROOT / "k8s" / "overlays" / "dev" / "deployments.yaml").read_text())[
        "spec"
    ]["template"]["spec"]
    (toleration,) = dev["tolerations"]
    assert toleration["key"] in cluster and toleration["effect"] == "NoSchedule"
    gpu = yaml.safe_load((ROOT / "k8s" / "overlays" / "gpu" / "deployments.yaml").read_text())[
        "spec"
    ]["template"]["spec"]
    asked = gpu["nodeSelector"]["cloud.google.com/gke-accelerator"]
    for file in ("variables.tf", "environments/prod.tfvars"):
        assert f'"{asked}"' in (TERRAFORM / file).read_text()
