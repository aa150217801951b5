"""bootstrap.sh and destroy.sh against commands that only write down how they were called: the
order, the answers, and what is named how.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = "mock-project"
COMMAND = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
  *"output -raw docker_registry") echo us-central1-docker.pkg.dev/mock-project/greenlight-dev ;;
  *"output -raw model_storage_bucket") echo mock-project-greenlight-dev-models ;;
  *"output -raw pipeline_root") echo gs://mock-project-greenlight-dev-runs/runs ;;
  *"output -raw kubernetes_cluster_name") echo greenlight-dev ;;
  *"output -raw region") echo us-central1 ;;
  *"output -raw target") echo projects/mock-project/locations/us-central1/clusters/greenlight-dev ;;
  *"output -raw pipeline_service_account") echo pipeline@mock-project.iam.gserviceaccount.com ;;
  *"output -raw pipeline_service_account_unique_id") echo 100000000000000000001 ;;
  *"images describe"*serving*) echo sha256:1111 ;;
  *"images describe"*) echo sha256:2222 ;;
  "greenlight status"*) echo '{"live": null}' ;;
  "greenlight run"*) exit "${VERDICT:-0}" ;;
  "gcloud storage buckets describe"*) exit 1 ;;
esac
"""


class Place:
    """A copy of what the scripts read, with those commands in front of the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls_file = folder, folder / "calls"
        for name in ("terraform", "k8s"):
            shutil.copytree(
                ROOT / name,
                folder / name,
                ignore=shutil.ignore_patterns(".terraform*", "__pycache__"),
            )
        (folder / "bin").mkdir()
        (folder / ".venv" / "bin").mkdir(parents=True)
        names = ["gcloud", "terraform", "kubectl", "gke-gcloud-auth-plugin", "docker", "make"]
        for command in [
            *(folder / "bin" / name for name in names),
            folder / ".venv" / "bin" / "greenlight",
        ]:
            command.write_text(COMMAND)
            command.chmod(0o755)
        (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)

    def run(
        self, script: str, *arguments: str, answer: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        self.calls_file.write_text("")
        given = {
            key: value
            for key, value in os.environ.items()
            if key not in ("OVERLAY", "STATE_BUCKET") and not key.startswith("TF_VAR")
        }
        given |= {
            "PATH": f"{self.folder / 'bin'}:{given['PATH']}",
            "CALLS": str(self.calls_file),
            **environment,
        }
        command = [str(self.folder / "terraform" / script), *arguments]
        return subprocess.run(
            command, env=given, input=answer, capture_output=True, text=True, check=False
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    def position(self, part: str) -> int:
        found, *_ = [at for at, call in enumerate(self.calls) if part in call] or [-1]
        assert found >= 0, f"{part} is not in {self.calls}"
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_bootstrap_goes_from_nothing_to_a_promotion(place: Place) -> None:
    result = place.run("bootstrap.sh", PROJECT, "dev", "--yes")
    assert result.returncode == 0, result.stderr
    order = [
        "gcloud storage buckets create gs://mock-project-greenlight-state",
        "terraform -chdir=terraform init",
        (
            "terraform -chdir=terraform apply -input=false -auto-approve"
            " -var-file=environments/dev.tfvars -var project_id=mock-project"
        ),
        "make image",
        "docker push us-central1-docker.pkg.dev/mock-project/greenlight-dev/serving:0.1.0-cpu",
        "docker push us-central1-docker.pkg.dev/mock-project/greenlight-dev/components:0.1.0",
        (
            "gcloud container clusters get-credentials greenlight-dev --location us-central1"
            " --project mock-project --dns-endpoint"
        ),
        "kubectl apply -k",
        "kubectl -n llm-serving create rolebinding",
        "greenlight deploy",
        (
            "greenlight run --model builtin:tiny --method optimum --bits 8 --gate quick --target"
            " projects/mock-project/locations/us-central1/clusters/greenlight-dev --namespace"
            " llm-serving --history gs://mock-project-greenlight-dev-models/greenlight"
        ),
    ]
    places = [place.position(call) for call in order]
    assert places == sorted(places)
    assert (
        "--role greenlight-pipeline --user pipeline@mock-project.iam.gserviceaccount.com --user"
        " 100000000000000000001" in "\n".join(place.calls)
    )


def test_the_images_are_named_by_digest(place: Place) -> None:
    place.run("bootstrap.sh", PROJECT, "--yes")
    folder = place.folder / ".greenlight" / "cloud" / PROJECT / "dev"
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert rendered.returncode == 0, rendered.stderr
    images = set()
    for document in yaml.safe_load_all(rendered.stdout):
        template = (
            document.get("spec", {})
            .get("jobTemplate", document)
            .get("spec", {})
            .get("template", {})
        )
        pod = template.get("spec", {})
        images |= {
            container["image"]
            for container in pod.get("containers", []) + pod.get("initContainers", [])
        }
    registry = "us-central1-docker.pkg.dev/mock-project/greenlight-dev"
    assert images == {f"{registry}/serving@sha256:1111", f"{registry}/components@sha256:2222"}


@pytest.mark.parametrize(("verdict", "code"), [("0", 0), ("3", 0), ("1", 1)])
def test_a_rejection_is_an_end_and_a_failure_is_not(place: Place, verdict: str, code: int) -> None:
    assert place.run("bootstrap.sh", PROJECT, "--yes", VERDICT=verdict).returncode == code


def test_the_gpu_overlay_serves_the_baseline_itself(place: Place) -> None:
    assert place.run("bootstrap.sh", PROJECT, "prod", "--yes").returncode == 0
    assert "make image-gpu" in place.calls and not [
        call for call in place.calls if call.startswith("greenlight deploy")
    ]


@pytest.mark.parametrize("answer", ["", "n\n"])
def test_bootstrap_asks(place: Place, answer: str) -> None:
    result = place.run("bootstrap.sh", PROJECT, answer=answer)
    assert result.returncode == 1 and "nothing was done" in result.stdout
    assert not [
        call
        for call in place.calls
        if call.startswith(("terraform", "kubectl")) or "create" in call
    ]


@pytest.mark.parametrize("answer", ["", "y\n", "yes\n", "other-project\n"])
def test_destroy_wants_the_projects_id(place: Place, answer: str) -> None:
    result = place.run("destroy.sh", PROJECT, answer=answer)
    assert result.returncode == 1 and "nothing was deleted" in result.stdout
    assert not [
        call
        for call in place.calls
        if any(word in call for word in ("destroy", "delete", " rm ", "apply", "scale"))
    ]
    assert "gs://mock-project-greenlight-dev-models" in result.stdout


@pytest.mark.parametrize(("arguments", "answer"), [((), f"{PROJECT}\n"), (("--yes",), "")])
def test_destroy_goes_in_order_and_says_what_is_left(
    place: Place, arguments: tuple[str, ...], answer: str
) -> None:
    result = place.run("destroy.sh", PROJECT, "dev", *arguments, answer=answer)
    assert result.returncode == 0, result.stderr
    order = [
        "kubectl -n llm-serving scale deployment --all --replicas 0",
        "kubectl delete namespace llm-serving",
        (
            "apply -input=false -auto-approve -var-file=environments/dev.tfvars -var"
            " project_id=mock-project -var deletion_protection=false"
        ),
        "gcloud storage rm --recursive --all-versions gs://mock-project-greenlight-dev-models/**",
        "gcloud storage rm --recursive --all-versions gs://mock-project-greenlight-dev-runs/**",
        "terraform -chdir=terraform destroy",
    ]
    places = [place.position(call) for call in order]
    assert places == sorted(places)
    assert (
        "gs://mock-project-greenlight-state" in result.stdout[result.stdout.index("What is left") :]
    )


@pytest.mark.parametrize("script", ["bootstrap.sh", "destroy.sh"])
@pytest.mark.parametrize("arguments", [(), (PROJECT, "nowhere"), (PROJECT, "--force")])
def test_wrong_arguments_do_nothing(place: Place, script: str, arguments: tuple[str, ...]) -> None:
    result = place.run(script, *arguments)
    assert result.returncode == 2 and result.stderr
    assert not place.calls
