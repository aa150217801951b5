"""The DAG on Kubeflow Pipelines, through its own generated client of its API."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from greenlight.core.errors import InputError
from greenlight.pipelines.resources import ALL_STEPS
from greenlight.pipelines.runners.interface import (
    CloudRun,
    CloudRunner,
    RunState,
    Schedule,
    Task,
    TaskState,
    Timetable,
    merge_tasks,
)
from greenlight.pipelines.runners.kubeflow_api import KubeflowApi, display_name_filter
from greenlight.pipelines.runners.settings import KubeflowSettings
from greenlight.resolve.parameters import Parameters

SECONDS = 60
"""After which one call to the API is given up, to be made again."""
PIPELINE = "greenlight-promotion"
PAGE = 100
RUN_STATES: dict[str, RunState] = {
    "RUNNING": "running",
    "CANCELING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "cancelled",
}
TASK_STATES: dict[str, TaskState] = {
    "RUNNING": "running",
    "CANCELING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELED": "failed",
}


class KubeflowRunner(CloudRunner):
    """The server chooses a run's id. Ours is its display name, by which a run whose answer was lost
    is found before another is started.

    Args:
        spec: YAML text, as `compile_for("kubeflow", …)` writes it. Empty where nothing is
            submitted.
    """

    def __init__(self, settings: KubeflowSettings, spec: str = "") -> None:
        self.settings = settings
        self.api = KubeflowApi(settings)
        self.spec = spec

    def submit(self, parameters: Parameters, run_id: str) -> str:
        import kfp_server_api as api

        def create() -> str:
            experiment = self._experiment_id()
            found = self.api.runs.run_service_list_runs(
                experiment_id=experiment,
                filter=display_name_filter(run_id),
                _request_timeout=SECONDS,
            )
            if found.runs:  # an earlier answer was lost: it is this very run
                return str(found.runs[0].run_id)
            wanted = api.V2beta1Run(
                experiment_id=experiment,
                display_name=run_id,
                pipeline_version_reference=self._version(),
                runtime_config=self._runtime(parameters),
                service_account=self.settings.service_account,
            )
            created = self.api.runs.run_service_create_run(run=wanted, _request_timeout=SECONDS)
            return str(created.run_id)

        return self.api.call(create)

    def get_run(self, run_id: str) -> CloudRun:
        run = self.api.call(
            lambda: self.api.runs.run_service_get_run(run_id, _request_timeout=SECONDS),
            ("run", run_id),
        )
        return CloudRun(
            run_id=run_id,
            state=RUN_STATES.get(run.state, "waiting"),
            history=self._history(run),
            began=run.created_at,
            tasks=merge_tasks(
                _tasks(run.run_details.task_details or [] if run.run_details else [])
            ),
            message=run.error.message or "" if run.error else "",
        )

    def cancel(self, run_id: str) -> None:
        self.api.call(
            lambda: self.api.runs.run_service_terminate_run(run_id, _request_timeout=SECONDS),
            ("run", run_id),
        )

    def link(self, run_id: str) -> str:
        return f"{self.settings.host.rstrip('/')}/#/runs/details/{run_id}"

    def reconnect(self) -> None:
        self.api.reconnect()

    def create_schedule(self, name: str, parameters: Parameters, timetable: Timetable) -> Schedule:
        import kfp_server_api as api

        if timetable.cron.startswith(("TZ=", "CRON_TZ=")):
            raise InputError(
                "cron",
                timetable.cron,
                "Kubeflow Pipelines goes by its server's clock, mostly UTC; leave the time"
                " zone out",
            )

        def create() -> Any:  # looked for again at each try: an earlier answer may have been lost
            if found := self._find(name):
                return found
            wanted = api.V2beta1RecurringRun(
                experiment_id=self._experiment_id(),
                display_name=name,
                mode="ENABLE",
                pipeline_version_reference=self._version(),
                runtime_config=self._runtime(parameters),
                service_account=self.settings.service_account,
                max_concurrency=str(timetable.max_concurrent_runs),
                no_catchup=True,  # what was missed while it was paused would run all at once
                trigger=api.V2beta1Trigger(
                    cron_schedule=api.V2beta1CronSchedule(
                        cron=f"0 {timetable.cron}",  # its first field is the second
                        start_time=timetable.start,
                        end_time=timetable.end,
                    )
                ),
            )
            return self.api.recurring.recurring_run_service_create_recurring_run(
                recurring_run=wanted, _request_timeout=SECONDS
            )

        return _shown(self.api.call(create))

    def schedules(self) -> list[Schedule]:
        return sorted(map(_shown, self._list("")), key=lambda schedule: schedule.name)

    def pause_schedule(self, name: str) -> None:
        self.api.call(
            lambda: self.api.recurring.recurring_run_service_disable_recurring_run(
                self._found(name), _request_timeout=SECONDS
            )
        )

    def resume_schedule(self, name: str) -> None:
        self.api.call(
            lambda: self.api.recurring.recurring_run_service_enable_recurring_run(
                self._found(name), _request_timeout=SECONDS
            )
        )

    def update_schedule(
        self, name: str, parameters: Parameters | None, timetable: Timetable
    ) -> Schedule:
        raise InputError(
            "runner",
            "kubeflow",
            "Kubeflow Pipelines changes no recurring run; `greenlight schedule delete` it and"
            " create it again",
        )

    def delete_schedule(self, name: str) -> None:
        self.api.call(
            lambda: self.api.recurring.recurring_run_service_delete_recurring_run(
                self._found(name), _request_timeout=SECONDS
            )
        )

    def push_template(self) -> str:
        """Upload the pipeline as a version that a person can start in the web page. Returns its
        address.
        """
        version = self.api.call(self._version)
        return (
            f"{self.settings.host.rstrip('/')}/#/pipelines/details/{version.pipeline_id}"
            f"/version/{version.pipeline_version_id}"
        )

    # What is sent.

    def _runtime(self, parameters: Parameters) -> Any:
        import kfp_server_api as api

        return api.V2beta1RuntimeConfig(
            parameters=parameters.model_dump(), pipeline_root=self.settings.pipeline_root
        )

    def _version(self) -> Any:
        """The pipeline's version with these very bytes: uploaded, unless it is there."""
        import kfp_server_api as api

        name = hashlib.sha256(self.spec.encode()).hexdigest()[:12]
        scope = {"namespace": self.settings.namespace} if self.settings.namespace else {}
        found = self.api.pipelines.pipeline_service_list_pipelines(
            **scope, filter=display_name_filter(PIPELINE), _request_timeout=SECONDS
        ).pipelines
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "promotion.yaml"
            file.write_text(self.spec)
            if not found:
                made = self.api.uploads.upload_pipeline(
                    str(file),
                    name=PIPELINE,
                    display_name=PIPELINE,
                    **scope,
                    _request_timeout=SECONDS,
                )
                pipeline_id = made.pipeline_id
            else:
                pipeline_id = found[0].pipeline_id
            versions = self.api.pipelines.pipeline_service_list_pipeline_versions(
                pipeline_id, filter=display_name_filter(name), _request_timeout=SECONDS
            ).pipeline_versions
            version = (
                versions[0]
                if versions
                else self.api.uploads.upload_pipeline_version(
                    str(file),
                    name=name,
                    display_name=name,
                    pipelineid=pipeline_id,
                    _request_timeout=SECONDS,
                )
            )
        return api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version.pipeline_version_id
        )

    def _experiment_id(self) -> str:
        import kfp_server_api as api

        scope = {"namespace": self.settings.namespace} if self.settings.namespace else {}
        name = self.settings.experiment
        found = self.api.experiments.experiment_service_list_experiments(
            **scope, filter=display_name_filter(name), _request_timeout=SECONDS
        ).experiments
        if found:
            return str(found[0].experiment_id)
        wanted = api.V2beta1Experiment(display_name=name, **scope)
        return str(
            self.api.experiments.experiment_service_create_experiment(
                experiment=wanted, _request_timeout=SECONDS
            ).experiment_id
        )

    # What is found there.

    def _history(self, run: Any) -> str:
        """Where the run's steps leave their records: as the run was given it, else the default of
        the pipeline.
        """
        given = (run.runtime_config.parameters if run.runtime_config else None) or {}
        reference = run.pipeline_version_reference
        if given.get("history") or not reference:
            return str(given.get("history", ""))
        version = self.api.call(
            lambda: self.api.pipelines.pipeline_service_get_pipeline_version(
                reference.pipeline_id, reference.pipeline_version_id, _request_timeout=SECONDS
            )
        )
        spec: Any = version.pipeline_spec or {}
        # with settings for Kubernetes it is one level deeper
        root = spec.get("pipeline_spec", spec).get("root", {})
        return str(
            root.get("inputDefinitions", {})
            .get("parameters", {})
            .get("history", {})
            .get("defaultValue", "")
        )

    def _list(self, name: str) -> list[Any]:
        wanted = {"filter": display_name_filter(name)} if name else {}
        found: list[Any] = []
        token = ""
        while True:
            page = self.api.call(
                lambda token=token: self.api.recurring.recurring_run_service_list_recurring_runs(  # type: ignore[misc]
                    **wanted,
                    experiment_id=self.api.call(self._experiment_id),
                    page_size=PAGE,
                    page_token=token,
                    _request_timeout=SECONDS,
                )
            )
            found += page.recurring_runs or []
            if not (token := page.next_page_token or ""):
                return found

    def _find(self, name: str) -> Any:
        return next((found for found in self._list(name) if found.display_name == name), None)

    def _found(self, name: str) -> str:
        found = self._find(name)
        if found is None:
            raise InputError(
                "name",
                name,
                "there is no such recurring run; `greenlight schedule list` shows those there are",
            )
        return str(found.recurring_run_id)


def _tasks(details: list[Any]) -> list[Task]:
    """The steps among the nodes of the workflow, whose drivers, groups and pods are nodes too. What
    never ran has no state, or was skipped.
    """
    tasks = []
    for detail in details:
        step = (detail.display_name or "").replace("-", "_")
        if step in ALL_STEPS:
            message = (detail.error.message or "") if detail.error else ""
            tasks.append(
                Task(step=step, state=TASK_STATES.get(detail.state, "waiting"), message=message)
            )
    return tasks


def _shown(run: Any) -> Schedule:
    cron = run.trigger.cron_schedule if run.trigger else None
    return Schedule(
        name=run.display_name,
        state="active" if run.status == "ENABLED" else "paused",
        cron=cron.cron.removeprefix("0 ") if cron else "",
        max_concurrent_runs=int(run.max_concurrency or 1),
        end=cron.end_time if cron else None,
    )
