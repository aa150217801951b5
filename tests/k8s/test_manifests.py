"""The manifests as they would be applied: every overlay and component, rendered by kubectl, against
the schemas of every Kubernetes that GKE offers.
"""

import functools
import importlib.util
import json
import re

import kubernetes_validate
import pytest

from greenlight.serving.metrics import Metrics
from greenlight.serving.settings import Settings
from tests.k8s.rendered import (
    COLORS,
    EXTENSIONS,
    MINORS,
    RENDERED,
    ROOT,
    containers,
    deployments,
    field,
    kind_of,
    load,
    only,
    render,
    templates,
)


def test_base_parses_and_lists_every_file() -> None:
    listed = load("kustomization.yaml")[0]["resources"]
    assert sorted(listed) == sorted(
        path.name for path in (ROOT / "base").glob("*.yaml") if path.name != "kustomization.yaml"
    )
    for name in listed:
        for item in load(name):
            namespace = (
                item["metadata"]["name"]
                if item["kind"] == "Namespace"
                else item["metadata"]["namespace"]
            )
            assert namespace == "llm-serving", name
            assert item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "greenlight", name


def test_every_object_is_valid_in_every_kubernetes_that_gke_offers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # without the cache, each minor version takes seconds
    monkeypatch.setattr(
        kubernetes_validate.utils,
        "schema_contents",
        functools.cache(kubernetes_validate.utils.schema_contents),
    )
    distinct = {
        json.dumps(item, sort_keys=True): item for name in RENDERED for item in render(name)
    }
    for item in distinct.values():
        if kind_of(item) in EXTENSIONS:
            continue
        for minor in MINORS:
            kubernetes_validate.validate(item, minor, strict=True)


def test_a_field_that_does_not_exist_is_found() -> None:
    broken = load("deployment-blue.yaml")[0]
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, MINORS[-1], strict=True)


@pytest.mark.parametrize("name", RENDERED)
def test_kinds_of_gke_and_the_gateway_have_what_they_require(name: str) -> None:
    for item in render(name):
        for path in EXTENSIONS.get(kind_of(item), []):
            assert field(item["spec"], path), f"{item['kind']}: {path}"


def test_the_colors_differ_in_the_color_only() -> None:
    blue, green = load("deployment-blue.yaml"), load("deployment-green.yaml")
    assert json.loads(json.dumps(blue).replace("blue", "green")) == green
    for name in ("hpa.yaml", "pdb.yaml"):
        first, second = load(name)
        assert json.loads(json.dumps(first).replace("blue", "green")) == second, name


@pytest.mark.parametrize("name", RENDERED)
def test_overlays_treat_both_colors_alike(name: str) -> None:
    blue, green = deployments(render(name))
    assert json.loads(json.dumps(blue).replace("blue", "green")) == green


def test_services_select_what_they_are_named_for() -> None:
    services = load("services.yaml")
    labels = {
        color: deployment["spec"]["template"]["metadata"]["labels"]
        for color in COLORS
        for deployment in load(f"deployment-{color}.yaml")
    }
    for service, color in [
        ("llm-inference", "blue"),
        ("llm-inference-blue-svc", "blue"),
        ("llm-inference-green-svc", "green"),
    ]:
        spec = only(services, "Service", service)["spec"]
        # the rollout's own: in the file, it would move the traffic when applied again
        version = {} if service == "llm-inference" else {"version": color}
        assert spec["selector"] == {"app.kubernetes.io/name": "llm-inference"} | version
        assert spec["selector"].items() <= labels[color].items()
        assert [(port["name"], port["port"], port["targetPort"]) for port in spec["ports"]] == [
            ("http", 80, "http")
        ]


@pytest.mark.parametrize("name", RENDERED)
def test_pods_are_restricted(name: str) -> None:
    objects = render(name)
    labels = only(objects, "Namespace", "llm-serving")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for owner, template in templates(objects).items():
        pod = template["spec"]
        # which alone talks to the Kubernetes API
        assert pod["automountServiceAccountToken"] is (owner == "llm-inference-recover")
        context = pod["securityContext"]
        assert (
            context["runAsNonRoot"]
            and context["runAsUser"] > 0
            and context["seccompProfile"] == {"type": "RuntimeDefault"}
        )
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() & {"emptyDir", "csi"} for volume in pod["volumes"])
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert (
                container["resources"]["requests"].keys() >= {"cpu", "memory"}
                and container["resources"]["limits"]["memory"]
            )
    for account in objects:
        if account["kind"] == "ServiceAccount":
            assert account["automountServiceAccountToken"] is False, account["metadata"]["name"]


@pytest.mark.parametrize("name", RENDERED)
def test_commands_start_modules_that_there_are(name: str) -> None:
    started = {
        container["command"][2]
        for template in templates(render(name)).values()
        for container in containers(template)
        if container.get("command", [])[:2] == ["python", "-m"]
    }
    assert started and all(importlib.util.find_spec(module) for module in started), started


@pytest.mark.parametrize("name", RENDERED)
def test_images_are_pinned_and_an_overlay_names_them_all(name: str) -> None:
    for owner, template in templates(render(name)).items():
        for container in containers(template):
            repository, _, tag = container["image"].rpartition(":")
            assert re.fullmatch(r"\d+\.\d+\.\d+(-[cg]pu)?", tag), owner
            assert name == "base" or repository.startswith(
                "REGION-docker.pkg.dev/PROJECT/greenlight/"
            ), owner


@pytest.mark.parametrize("name", RENDERED)
def test_the_grace_period_holds_the_longest_stream(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(name)
    data = only(objects, "ConfigMap", "llm-inference-settings")["data"]
    for variable, value in (data | {"MODEL_ID": "/models/model"}).items():
        monkeypatch.setenv(variable, value)
    settings = Settings.from_environment()
    for deployment in deployments(objects):
        pod = deployment["spec"]["template"]["spec"]
        server = pod["containers"][0]
        assert (
            pod["terminationGracePeriodSeconds"]
            > server["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.grace_seconds
        )
        assert (
            deployment["spec"]["progressDeadlineSeconds"]
            > server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"]
        )
        paths = [
            server[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        ]
        assert paths == ["/ready", "/ready", "/health"]
    if "dev" not in name:  # Spot nodes give less
        assert settings.grace_seconds >= 2 * settings.request_timeout


def test_settings_are_those_of_the_server() -> None:
    known = {name.upper() for name in Settings.model_fields}
    of_libraries = {"HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"}
    for name in RENDERED:
        assert (
            only(render(name), "ConfigMap", "llm-inference-settings")["data"].keys()
            <= known | of_libraries
        )


def test_the_rollout_has_its_fields_to_itself() -> None:
    """Else applying the files by hand would take them away, or conflict."""
    for deployment in deployments(load("deployment-blue.yaml") + load("deployment-green.yaml")):
        assert "replicas" not in deployment["spec"] and deployment["spec"]["paused"] is True
        assert (
            "annotations" not in deployment["metadata"]
            and "annotations" not in deployment["spec"]["template"]["metadata"]
        )
        variables = {
            variable["name"]
            for container in containers(deployment["spec"]["template"])
            for variable in container["env"]
        }
        assert not variables & {"MODEL_URI", "MODEL_DIGEST", "RELEASE_ID", "ENGINE", "STABLE_URL"}


def test_the_pipeline_may_do_nothing_it_need_not() -> None:
    objects = load("rbac.yaml")
    assert {item["kind"] for item in objects} == {"Role", "RoleBinding"}
    rules = only(objects, "Role", "greenlight-pipeline")["rules"]
    assert "*" not in json.dumps(rules)
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert not resources & {
        "secrets",
        "namespaces",
        "serviceaccounts",
        "serviceaccounts/token",
        "roles",
        "rolebindings",
        "pods/exec",
    }
    for rule in rules:
        changes = set(rule["verbs"]) & {"patch", "update", "delete"}
        if changes and not set(rule["resources"]) & {"events", "jobs", "configmaps"}:
            assert rule["resourceNames"], rule


def test_the_monitor_and_the_autoscaler_know_real_metrics() -> None:
    metrics = Metrics(
        "r",
        "m",
        {name: ("", lambda: 0.0) for name in ("queued_requests", "running_requests")},
        lambda: 0,
    )
    exposed = metrics.exposition().decode()
    for color in COLORS:
        hpa = only(
            render("overlays/gpu + queue-depth-hpa"),
            "HorizontalPodAutoscaler",
            f"llm-inference-{color}",
        )
        names = [metric["pods"]["metric"]["name"] for metric in hpa["spec"]["metrics"]]
        for name in names:
            _, series, kind = name.split("|")
            assert f"# TYPE {series} {kind}" in exposed
    for server in (
        deployment["spec"]["template"]["spec"]["containers"][0]
        for deployment in deployments(render("base"))
    ):
        assert load("podmonitoring.yaml")[0]["spec"]["endpoints"][0]["port"] in [
            port["name"] for port in server["ports"]
        ]


def test_cpu_fits_its_machine() -> None:
    for deployment in deployments(render("overlays/cpu")):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"node.kubernetes.io/instance-type": "n2-standard-8"}
        assert pod["containers"][0]["resources"]["limits"] == {"cpu": "7", "memory": "24Gi"}


def test_gpu_asks_for_one() -> None:
    objects = render("overlays/gpu")
    assert only(objects, "ConfigMap", "llm-inference-settings")["data"]["ENGINE"] == "vllm"
    for deployment in deployments(objects):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "cloud.google.com/gke-accelerator" in pod["nodeSelector"]
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod[
            "tolerations"
        ]


def test_dev_is_one_pod_on_spot() -> None:
    objects = render("overlays/dev")
    for deployment, color in zip(deployments(objects), COLORS, strict=True):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
        assert pod["tolerations"][0]["key"] == "cloud.google.com/gke-spot"
        assert pod["terminationGracePeriodSeconds"] <= 15
        assert (
            only(objects, "HorizontalPodAutoscaler", f"llm-inference-{color}")["spec"][
                "maxReplicas"
            ]
            == 1
        )


def test_exposure_is_of_the_stable_service() -> None:
    assert (
        only(render("overlays/gpu + load-balancer"), "Service", "llm-inference")["spec"]["type"]
        == "LoadBalancer"
    )
    objects = render("overlays/gpu + gateway")
    (rule,) = only(objects, "HTTPRoute", "llm-inference")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "llm-inference", "port": 80}]
    for kind in ("GCPBackendPolicy", "HealthCheckPolicy"):
        assert only(objects, kind, "llm-inference")["spec"]["targetRef"] == {
            "group": "",
            "kind": "Service",
            "name": "llm-inference",
        }


def test_the_mounted_bucket_is_read_only() -> None:
    for deployment in deployments(render("overlays/gpu + gcs-fuse")):
        (bucket,) = [
            volume
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
            if "csi" in volume
        ]
        assert (
            bucket["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
            and bucket["csi"]["readOnly"] is True
        )
        assert all(
            {"name": "bucket", "mountPath": "/bucket", "readOnly": True}
            in container["volumeMounts"]
            for container in containers(deployment["spec"]["template"])
        )
