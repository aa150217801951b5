"""The DAG on Vertex AI Pipelines, through Google's own client of its API."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import yaml

from greenlight.core.errors import GreenlightError, InputError
from greenlight.pipelines.resources import ALL_STEPS
from greenlight.pipelines.runners.interface import (
    CloudRun,
    CloudRunner,
    RunState,
    Schedule,
    Task,
    TaskState,
    Timetable,
    UnavailableError,
    merge_tasks,
)
from greenlight.pipelines.runners.settings import VertexSettings
from greenlight.resolve.parameters import Parameters

T = TypeVar("T")

SECONDS = 60.0
"""After which one call to the API is given up, to be made again."""
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PIPELINE_LABEL = "greenlight"
RUN_STATES: dict[str, RunState] = {
    "PIPELINE_STATE_RUNNING": "running",
    "PIPELINE_STATE_CANCELLING": "running",
    "PIPELINE_STATE_SUCCEEDED": "succeeded",
    "PIPELINE_STATE_FAILED": "failed",
    "PIPELINE_STATE_CANCELLED": "cancelled",
}
TASK_STATES: dict[str, TaskState] = {
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "reused",  # Vertex's word for a cache hit
    "NOT_TRIGGERED": "skipped",
    "FAILED": "failed",
    "CANCEL_PENDING": "running",
    "CANCELLING": "running",
    "CANCELLED": "failed",
}


class VertexRunner(CloudRunner):
    """Run ids are job ids, which this side chooses: a submission whose answer was lost is found
    again under its id.

    Args:
        spec: YAML text, as `compile_for("vertex", …)` writes it. Empty where nothing is submitted.
    """

    def __init__(self, settings: VertexSettings, spec: str = "") -> None:
        self.settings = settings
        self.spec: dict[str, Any] = yaml.safe_load(spec) if spec else {}

    def submit(self, parameters: Parameters, run_id: str) -> str:
        from google.api_core.exceptions import Conflict

        def create() -> None:
            try:
                self._jobs.create_pipeline_job(
                    parent=self.settings.parent,
                    pipeline_job=self._job(parameters, run_id),
                    pipeline_job_id=run_id,
                    timeout=SECONDS,
                )
            except Conflict:  # an earlier answer was lost: it is this very run
                self._jobs.get_pipeline_job(name=self._name(run_id), timeout=SECONDS)

        self._call(create)
        return run_id

    def get_run(self, run_id: str) -> CloudRun:
        job = self._call(
            lambda: self._jobs.get_pipeline_job(name=self._name(run_id), timeout=SECONDS),
            ("run", run_id),
        )
        details = {
            (task.task_name.replace("-", "_"), task.parent_task_id): task
            for task in job.job_detail.task_details
        }
        tasks = [
            Task(
                step=step,
                state=TASK_STATES.get(task.state.name, "waiting"),
                message=task.error.message,
            )
            for (step, _), task in details.items()
            if step in ALL_STEPS
        ]
        return CloudRun(
            run_id=run_id,
            state=RUN_STATES.get(job.state.name, "waiting"),
            history=_history(job),
            began=job.create_time or None,
            tasks=merge_tasks(tasks),
            message=job.error.message,
        )

    def cancel(self, run_id: str) -> None:
        self._call(
            lambda: self._jobs.cancel_pipeline_job(name=self._name(run_id), timeout=SECONDS),
            ("run", run_id),
        )

    def link(self, run_id: str) -> str:
        settings = self.settings
        return (
            f"https://console.cloud.google.com/vertex-ai/locations/{settings.region}"
            f"/pipelines/runs/{run_id}?project={settings.project}"
        )

    def reconnect(self) -> None:
        for name in ("_jobs", "_schedules", "_credentials"):
            self.__dict__.pop(name, None)

    def create_schedule(self, name: str, parameters: Parameters, timetable: Timetable) -> Schedule:
        wanted = self._schedule(name, parameters, timetable)

        def create() -> Any:  # looked for again at each try: an earlier answer may have been lost
            return self._find(name) or self._schedules.create_schedule(
                parent=self.settings.parent, schedule=wanted, timeout=SECONDS
            )

        return _shown(self._call(create))

    def schedules(self) -> list[Schedule]:
        return sorted(map(_shown, self._list("")), key=lambda schedule: schedule.name)

    def pause_schedule(self, name: str) -> None:
        self._call(
            lambda: self._schedules.pause_schedule(name=self._found(name).name, timeout=SECONDS)
        )

    def resume_schedule(self, name: str) -> None:
        from google.cloud import aiplatform_v1 as api

        # Without catching up: what was missed while it was paused would run all at once.
        request = {"name": self._found(name).name, "catch_up": False}
        self._call(
            lambda: self._schedules.resume_schedule(
                api.ResumeScheduleRequest(request), timeout=SECONDS
            )
        )

    def update_schedule(
        self, name: str, parameters: Parameters | None, timetable: Timetable
    ) -> Schedule:
        from google.protobuf.field_mask_pb2 import FieldMask

        found = self._found(name)
        wanted = self._schedule(name, parameters or Parameters(), timetable)
        wanted.name = found.name
        fields = ["cron", "max_concurrent_run_count"]
        fields += ["start_time"] if timetable.start else []
        fields += ["end_time"] if timetable.end else []
        if parameters is None:
            del wanted.create_pipeline_job_request
        else:
            fields.append("create_pipeline_job_request")
        updated = self._call(
            lambda: self._schedules.update_schedule(
                schedule=wanted, update_mask=FieldMask(paths=fields), timeout=SECONDS
            )
        )
        return _shown(updated)

    def delete_schedule(self, name: str) -> None:
        self._call(
            lambda: self._schedules.delete_schedule(name=self._found(name).name, timeout=SECONDS)
        )

    def push_template(self, file: str, tags: list[str]) -> str:
        """Put a compiled pipeline where the console offers it. Returns its address. The repository
        knows a version by its content: twice is once.
        """
        from google.auth.transport.requests import Request
        from kfp.registry import ApiAuth, RegistryClient

        def push() -> tuple[str, str]:
            self._credentials.refresh(Request())
            client = RegistryClient(
                host=self.settings.templates, auth=ApiAuth(self._credentials.token)
            )
            uploaded: tuple[str, str] = client.upload_pipeline(file, tags=tags)
            return uploaded

        package, version = self._call(push)
        return f"{self.settings.templates.rstrip('/')}/{package}/{version}"

    # What is sent.

    def _job(self, parameters: Parameters | None, display_name: str) -> Any:
        from google.cloud import aiplatform_v1 as api

        settings = self.settings
        runtime: dict[str, Any] = {
            "gcs_output_directory": settings.pipeline_root,
            "failure_policy": f"PIPELINE_FAILURE_POLICY_FAIL_{settings.failure_policy.upper()}",
        }
        if parameters:
            runtime["parameter_values"] = parameters.model_dump()
        job: dict[str, Any] = {
            "display_name": display_name,
            "pipeline_spec": self.spec,
            "runtime_config": runtime,
            "service_account": settings.service_account,
            "labels": {PIPELINE_LABEL: "promotion", **settings.labels},
            "network": settings.network,
        }
        if settings.kms_key:
            job["encryption_spec"] = {"kms_key_name": settings.kms_key}
        return api.PipelineJob(job)

    def _schedule(self, name: str, parameters: Parameters, timetable: Timetable) -> Any:
        from google.cloud import aiplatform_v1 as api

        return api.Schedule(
            {
                "display_name": name,
                "cron": timetable.cron,
                "max_concurrent_run_count": timetable.max_concurrent_runs,
                "start_time": timetable.start,
                "end_time": timetable.end,
                "create_pipeline_job_request": {
                    "parent": self.settings.parent,
                    "pipeline_job": self._job(parameters, name),
                },
            }
        )

    # How it is sent.

    def _name(self, run_id: str) -> str:
        return f"{self.settings.parent}/pipelineJobs/{run_id}"

    def _list(self, name: str) -> list[Any]:
        wanted = {
            "parent": self.settings.parent,
            "filter": f'display_name="{name}"' if name else "",
        }
        return [
            found
            for found in self._call(
                lambda: list(self._schedules.list_schedules(wanted, timeout=SECONDS))
            )
            if _is_ours(found)
        ]

    def _find(self, name: str) -> Any:
        return next((found for found in self._list(name) if found.display_name == name), None)

    def _found(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            raise InputError(
                "name",
                name,
                "there is no such schedule; `greenlight schedule list` shows those there are",
            )
        return found

    @cached_property
    def _credentials(self) -> Any:
        import google.auth

        return google.auth.default(scopes=[SCOPE])[0]

    @cached_property
    def _jobs(self) -> Any:
        from google.cloud import aiplatform_v1 as api

        return api.PipelineServiceClient(
            credentials=self._credentials,
            transport="rest",
            client_options={"api_endpoint": self.settings.endpoint},
        )

    @cached_property
    def _schedules(self) -> Any:
        from google.cloud import aiplatform_v1 as api

        return api.ScheduleServiceClient(
            credentials=self._credentials,
            transport="rest",
            client_options={"api_endpoint": self.settings.endpoint},
        )

    def _call(self, call: Callable[[], T], what: tuple[str, str] | None = None) -> T:
        """One call to the API, its errors in our words.

        Args:
            what: the field and value that a 404 means.
        """
        from google.api_core import exceptions as api
        from google.auth.exceptions import GoogleAuthError
        from requests import HTTPError, RequestException

        try:
            return call()
        except GoogleAuthError as error:
            raise UnavailableError(
                f"not signed in to Google Cloud: {_line(error)}. Run `gcloud auth"
                " application-default login`"
            ) from None
        except api.Unauthorized as error:
            raise UnavailableError(
                f"the sign-in has expired: {_line(error)}. Run `gcloud auth application-default"
                " login`"
            ) from None
        except (api.TooManyRequests, api.ServerError, api.RetryError) as error:
            raise UnavailableError(f"Vertex AI cannot answer now: {_line(error)}") from None
        except api.NotFound as error:
            if what:
                raise InputError(
                    *what,
                    f"there is none on Vertex AI in {self.settings.parent}; see the console, or"
                    " --project and --region",
                ) from None
            raise GreenlightError(
                f"Vertex AI does not find it: {_line(error)}. Check --project and --region"
            ) from None
        except api.GoogleAPICallError as error:
            raise GreenlightError(f"Vertex AI refused it: {_line(error)}") from None
        except HTTPError as error:  # of the repository of templates
            code = error.response.status_code
            kind = UnavailableError if code in (401, 429) or code >= 500 else GreenlightError
            raise kind(
                f"the repository of templates answers {code}: {error.response.text[:300] or error}."
                " Check --templates and your role on it"
            ) from None
        except (RequestException, ConnectionError, TimeoutError) as error:
            raise UnavailableError(f"Vertex AI cannot be reached: {_line(error)}") from None


def _shown(schedule: Any) -> Schedule:
    return Schedule(
        name=schedule.display_name,
        state={"ACTIVE": "active", "PAUSED": "paused"}.get(schedule.state.name, "completed"),
        cron=schedule.cron,
        max_concurrent_runs=schedule.max_concurrent_run_count,
        next_run=schedule.next_run_time or None,
        end=schedule.end_time or None,
    )


def _is_ours(schedule: Any) -> bool:
    labels = schedule.create_pipeline_job_request.pipeline_job.labels
    return bool(labels.get(PIPELINE_LABEL) == "promotion")


def _history(job: Any) -> str:
    """Where the run's steps leave their records: as the run was given it, else the default of the
    pipeline.
    """
    if given := dict(job.runtime_config.parameter_values).get("history"):
        return str(given)
    parameters = (
        dict(job.pipeline_spec or {})
        .get("root", {})
        .get("inputDefinitions", {})
        .get("parameters", {})
    )
    return str(parameters.get("history", {}).get("defaultValue", ""))


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
