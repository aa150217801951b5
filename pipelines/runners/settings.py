"""What a person says about the cloud that runs the pipeline: the options, and from them the
settings of one backend, checked.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from greenlight.core.errors import InputError

RunnerName = Literal["local", "vertex", "kubeflow"]
RUNNERS = ("local", "vertex", "kubeflow")

LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


class CloudOptions(BaseModel):
    """Options of every command that talks to a cloud. Each has an environment variable, GREENLIGHT_
    and its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: str = Field(
        "local",
        description=(
            "Where the steps run: local (this machine), vertex (Vertex AI Pipelines) or kubeflow"
            " (Kubeflow Pipelines)."
        ),
    )
    components_image: str = Field(
        "", description="Container image that the steps run in, as REPOSITORY@sha256:DIGEST."
    )
    allow_tag: bool = Field(
        False,
        description="Accept an image that is named by a tag, which may change during a run.",
    )
    resources: str = Field(
        "",
        description=(
            "YAML file with the machine, time limit and retries of each step. Empty: the shipped"
            " file."
        ),
    )
    pipeline_root: str = Field(
        "",
        description=(
            "gs:// prefix where the steps keep their artifacts: Terraform's output pipeline_root."
        ),
    )
    service_account: str = Field(
        "",
        description=(
            "Service account that the steps run as: an e-mail address on Vertex, a name in the"
            " cluster on Kubeflow."
        ),
    )
    poll_seconds: float = Field(
        10.0, description="Seconds between two queries of the state of a run."
    )
    project: str = Field("", description="Vertex: id of the Google Cloud project.")
    region: str = Field("us-central1", description="Vertex: region that the pipeline runs in.")
    network: str = Field(
        "",
        description=(
            "Vertex: network that the steps are peered with, projects/NUMBER/global/networks/NAME."
        ),
    )
    kms_key: str = Field(
        "",
        description=(
            "Vertex: Cloud KMS key that encrypts the run,"
            " projects/P/locations/L/keyRings/R/cryptoKeys/K."
        ),
    )
    labels: str = Field("", description="Vertex: labels of the run, such as team=ml,cost=42.")
    failure_policy: str = Field(
        "slow",
        description=(
            "Vertex: what happens when a step has failed. slow: steps that do not depend on it"
            " still run; fast: no further step starts."
        ),
    )
    templates: str = Field(
        "",
        description=(
            "Vertex: repository for pipeline templates, https://REGION-kfp.pkg.dev/PROJECT/NAME."
            " It is Terraform's output kfp_registry."
        ),
    )
    api_endpoint: str = Field(
        "",
        description=(
            "Vertex: address of the API, such as one of Private Service Connect. Empty: that of"
            " the region."
        ),
    )
    kfp_host: str = Field("", description="Kubeflow: URL of Kubeflow Pipelines.")
    kfp_namespace: str = Field(
        "",
        description="Kubeflow: namespace of your profile, in an installation with several users.",
    )
    kfp_token_file: str = Field(
        "",
        description=(
            "Kubeflow: file that holds a bearer token, read again for each call. Empty:"
            " GREENLIGHT_KFP_TOKEN holds the token, if one is needed."
        ),
    )
    experiment: str = Field("greenlight", description="Kubeflow: experiment that groups the runs.")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline_root: str
    service_account: str
    poll_seconds: float


class VertexSettings(_Settings):
    """Where and as whom runs go on Vertex AI Pipelines."""

    project: str
    region: str
    network: str = ""
    kms_key: str = ""
    labels: dict[str, str] = {}
    failure_policy: Literal["slow", "fast"] = "slow"
    templates: str = ""
    api_endpoint: str = ""

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def endpoint(self) -> str:
        return self.api_endpoint or f"https://{self.region}-aiplatform.googleapis.com"


class KubeflowSettings(_Settings):
    """Where and as whom runs go on Kubeflow Pipelines."""

    host: str
    namespace: str = ""
    token_file: str = ""
    experiment: str = "greenlight"


def vertex_settings(options: CloudOptions, submits: bool = True) -> VertexSettings:
    """Settings of Vertex.

    Args:
        submits: also check what only a run or a schedule needs: where its files go, and as whom it
            works.

    Raises:
        InputError: names the option, its value and the fix.
    """
    _match(
        "project",
        options.project,
        r"[a-z][a-z0-9.:-]{3,60}[a-z0-9]",
        "give the id of a Google Cloud project",
    )
    _match("region", options.region, r"[a-z]+-[a-z]+\d+", "give a region, such as us-central1")
    _shared(options, submits)
    account = r"[^@\s]+@[^@\s]+\.gserviceaccount\.com"
    if submits or options.service_account:
        _match(
            "service_account",
            options.service_account,
            account,
            "give its e-mail address; Terraform's output pipeline_service_account",
        )
    _match(
        "network",
        options.network,
        r"(projects/[^/]+/global/networks/[^/]+)?",
        "write projects/NUMBER/global/networks/NAME",
    )
    key = r"(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)?"
    _match("kms_key", options.kms_key, key, "write projects/P/locations/L/keyRings/R/cryptoKeys/K")
    _match("failure_policy", options.failure_policy, "slow|fast", "use slow or fast")
    _match(
        "templates",
        options.templates,
        r"(https?://[^\s/]+(/[^\s/]+)+)?",
        "write https://REGION-kfp.pkg.dev/PROJECT/NAME",
    )
    _match(
        "api_endpoint",
        options.api_endpoint,
        r"(https?://[^\s/]+/?)?",
        "write its address, such as https://aiplatform.example.com",
    )
    shared: Any = options.model_dump(include=set(VertexSettings.model_fields) - {"labels"})
    return VertexSettings(**shared, labels=_labels(options.labels))


def kubeflow_settings(options: CloudOptions, submits: bool = True) -> KubeflowSettings:
    """Settings of Kubeflow Pipelines; arguments and errors as for Vertex."""
    _match(
        "kfp_host",
        options.kfp_host,
        r"https?://\S+",
        "give the address of Kubeflow Pipelines, such as http://127.0.0.1:8080 behind `kubectl"
        " port-forward`",
    )
    _shared(options, submits)
    name = options.service_account or "greenlight-pipeline"
    _match(
        "service_account",
        name,
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
        "give the name of a service account in the namespace of Kubeflow Pipelines",
    )
    return KubeflowSettings(
        pipeline_root=options.pipeline_root,
        service_account=name,
        poll_seconds=options.poll_seconds,
        host=options.kfp_host,
        namespace=options.kfp_namespace,
        token_file=options.kfp_token_file,
        experiment=options.experiment,
    )


def check_runner(name: str) -> RunnerName:
    """Raises InputError: there is no such runner."""
    if name not in RUNNERS:
        raise InputError("runner", name, f"use one of: {', '.join(RUNNERS)}")
    return name  # type: ignore[return-value]


def _shared(options: CloudOptions, submits: bool) -> None:
    if submits or options.pipeline_root:
        _match(
            "pipeline_root",
            options.pipeline_root,
            r"gs://[a-z0-9][a-z0-9._-]+(/\S*)?",
            "give a gs:// prefix; Terraform's output pipeline_root",
        )
    if not options.poll_seconds > 0:
        raise InputError("poll_seconds", options.poll_seconds, "use a number above 0, such as 10")


def _match(field: str, value: str, pattern: str, fix: str) -> None:
    if not re.fullmatch(pattern, value):
        raise InputError(
            field, value, f"{fix}, by --{field.replace('_', '-')} or GREENLIGHT_{field.upper()}"
        )


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.strip().partition("=")
        if not equals or not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise InputError(
                "labels",
                text,
                f"{pair.strip()!r} is none; write key=value in lower-case letters, digits, - and _,"
                " separated by commas",
            )
        labels[key] = value
    return labels
