"""A backend for a compiled pipeline: what the drivers and launchers of KFP and Vertex do, around
the steps' own command lines.

The driver's part: resolve a task's inputs, skip groups whose condition is false and what comes
after them, run a loop for each item and collect what its steps leave, reuse the outputs of a cached
task. The launcher's: bring the input artifacts from the bucket to /gcs/BUCKET/…, fill the executor
input into the command line, run it, bring the outputs back.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
RunCommand = Callable[[list[str], dict[str, str]], tuple[int, str]]

CONDITION = re.compile(r"inputs\.parameter_values\['([\w-]+)'\] == '(\w+)'")
SELECTOR = re.compile(r'parseJson\(string_value\)\["(\w+)"\]')
RUN_PLACEHOLDER = re.compile(r"\{\{\$\.pipeline_job_(uuid|name)\}\}")
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True)
class Inputs:
    """Parameters and artifacts by their name. An artifact is a RuntimeArtifact as the executor
    input has it, or a list of them that a loop left.
    """

    parameters: Json = field(default_factory=dict)
    artifacts: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """How a task ended, and what it said. Its outputs are what later tasks get."""

    state: Literal["succeeded", "reused", "failed", "skipped"]
    outputs: Inputs = Inputs()
    log: str = ""


class Backend:
    """Runs the tasks of a DAG one after another.

    Args:
        spec: the compiled pipeline.
        bucket: of google.cloud.storage, which keeps the artifacts below `root/`.
        gcs: the folder that is /gcs where commands run; emptied before each, as the next pod's
            would be.
        run_command: runs a command line there, with these environment variables; returns its exit
            code and what it printed.
    """

    def __init__(self, spec: Json, bucket: Any, gcs: Path, run_command: RunCommand) -> None:
        self.spec, self.bucket, self.gcs, self.run_command = spec, bucket, gcs, run_command
        self.cache: dict[str, Inputs] = {}
        self.run_id, self.tasks = "", dict[str, Task]()

    def run(self, run_id: str, parameters: Json) -> dict[str, Task]:
        """A whole run; returns each task of every group by its name."""
        self.run_id, self.tasks = run_id, {}
        definitions = self.spec["root"]["inputDefinitions"]["parameters"]
        assert parameters.keys() <= definitions.keys(), (
            "a backend refuses parameters that it does not know"
        )
        values = {
            name: definition["defaultValue"] for name, definition in definitions.items()
        } | parameters
        self._dag(
            self.spec["root"]["dag"],
            Inputs({name: _as_double(value) for name, value in values.items()}),
        )
        return self.tasks

    def _dag(self, dag: Json, given: Inputs, iteration: str = "") -> dict[str, Task]:
        """Every task by its name. `iteration`: of the loop that this is in."""
        left = dict(dag["tasks"])
        done: dict[str, Task] = {}
        while left:
            name = next(name for name, task in left.items() if self._waits_for(task) <= done.keys())
            task = left.pop(name)
            before = {done[each].state for each in self._waits_for(task)}
            policy = task.get("triggerPolicy", {})
            if before & {"failed", "skipped"} and policy.get("strategy") != EXIT:
                done[name] = Task("skipped")
            else:
                inputs = self._inputs(task, given, done)
                done[name] = (
                    self._task(name, task, inputs, iteration)
                    if _holds(policy.get("condition", ""), inputs)
                    else Task("skipped")
                )
            self.tasks[name + iteration] = done[name]
        return done

    def _waits_for(self, task: Json) -> set[str]:
        return set(task.get("dependentTasks", []))

    def _inputs(self, task: Json, given: Inputs, done: dict[str, Task]) -> Inputs:
        parameters: Json = {}
        artifacts: Json = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            match source:
                case {"componentInputParameter": key, "parameterExpressionSelector": selector}:
                    match = SELECTOR.fullmatch(selector)
                    assert match, f"this backend takes one value of a dict, not: {selector}"
                    parameters[name] = given.parameters[key][match[1]]
                case {"componentInputParameter": key}:
                    parameters[name] = given.parameters[key]
                case {"runtimeValue": {"constant": value}}:
                    parameters[name] = (
                        RUN_PLACEHOLDER.sub(self.run_id, value) if isinstance(value, str) else value
                    )
                case {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}:
                    parameters[name] = done[producer].outputs.parameters[key]
                case {"taskFinalStatus": {"producerTask": producer}}:
                    state = "FAILED" if done[producer].state == "failed" else "COMPLETE"
                    parameters[name] = {
                        "state": state,
                        "pipelineJobResourceName": self.run_id,
                        "pipelineTaskName": producer,
                        "error": {},
                    }
                case _:
                    raise NotImplementedError(source)
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            match source:
                case {"componentInputArtifact": key}:
                    artifacts[name] = given.artifacts[key]
                case {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}:
                    artifacts[name] = done[producer].outputs.artifacts[key]
                case _:
                    raise NotImplementedError(source)
        return Inputs(parameters, artifacts)

    def _task(self, name: str, task: Json, inputs: Inputs, iteration: str) -> Task:
        component = self.spec["components"][task["componentRef"]["name"]]
        if "parameterIterator" in task:
            return self._loop(task["parameterIterator"], component["dag"], inputs)
        if "dag" in component:
            assert "outputs" not in component["dag"]
            return Task("failed" if _failed(self._dag(component["dag"], inputs)) else "succeeded")
        uris = {
            name: [one["uri"] for one in _listed(each)] for name, each in inputs.artifacts.items()
        }
        key = json.dumps([component["executorLabel"], inputs.parameters, uris], sort_keys=True)
        cached = task.get("cachingOptions", {}).get("enableCache", False)
        if cached and key in self.cache:
            return Task("reused", self.cache[key])
        done = self._launch(name + iteration, component, inputs)
        if cached and done.state == "succeeded":
            self.cache[key] = done.outputs
        return done

    def _loop(self, iterator: Json, dag: Json, inputs: Inputs) -> Task:
        items = inputs.parameters[iterator["items"]["inputParameter"]]
        rounds = []
        for number, item in enumerate(items):
            given = Inputs(inputs.parameters | {iterator["itemInput"]: item}, inputs.artifacts)
            rounds.append(self._dag(dag, given, f"/{number}" if len(items) > 1 else ""))
        if any(map(_failed, rounds)):
            return Task("failed")
        collected = {}
        for name, output in dag["outputs"]["artifacts"].items():
            (selector,) = output["artifactSelectors"]
            collected[name] = [
                done[selector["producerSubtask"]].outputs.artifacts[selector["outputArtifactKey"]]
                for done in rounds
            ]
        return Task("succeeded", Inputs(artifacts=collected))

    def _launch(self, name: str, component: Json, inputs: Inputs) -> Task:
        place = f"{self.bucket.name}/root/promotion/{self.run_id}/{name}"
        outputs = component.get("outputDefinitions", {})
        made = {
            key: {
                "name": key,
                "type": definition["artifactType"],
                "uri": f"gs://{place}/{key}",
                "metadata": {},
            }
            for key, definition in outputs.get("artifacts", {}).items()
        }
        executor_input = {
            "inputs": {
                "parameterValues": inputs.parameters,
                "artifacts": {
                    key: {"artifacts": _listed(each)} for key, each in inputs.artifacts.items()
                },
            },
            "outputs": {
                "parameters": {
                    key: {"outputFile": f"/gcs/{place}/{key}"}
                    for key in outputs.get("parameters", {})
                },
                "artifacts": {key: {"artifacts": [each]} for key, each in made.items()},
                "outputFile": f"/gcs/{place}/executor_output.json",
            },
        }
        self._empty()
        for artifact in (one for each in inputs.artifacts.values() for one in _listed(each)):
            self._bring(artifact["uri"])
        (self.gcs / place).mkdir(parents=True)
        for folder in [self.gcs / place, *(self.gcs / place).parents]:
            if folder.is_relative_to(self.gcs) and folder != self.gcs:
                folder.chmod(0o777)
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]][
            "container"
        ]
        variables = {variable["name"]: variable["value"] for variable in container.get("env", [])}
        code, log = self.run_command(
            [_filled(word, executor_input) for word in [*container["command"], *container["args"]]],
            variables,
        )
        self._send(place)
        if code:
            return Task("failed", log=log)
        said = json.loads((self.gcs / place / "executor_output.json").read_text())
        for key, listed in said.get("artifacts", {}).items():
            (artifact,) = listed["artifacts"]
            # a step may pass on what another wrote, by its URI
            made[key] |= {
                "uri": artifact["uri"],
                "metadata": artifact["metadata"],
            }
            written = self.bucket.list_blobs(
                prefix=artifact["uri"].removeprefix(f"gs://{self.bucket.name}/"), max_results=1
            )
            assert list(written), (
                f"{name} never wrote its output {key}, of which a backend only warns"
            )
        values = dict(said.get("parameterValues", {}))
        for key in outputs.get("parameters", {}).keys() - values.keys():
            text = (self.gcs / place / key).read_text()
            values[key] = (
                json.loads(text)
                if outputs["parameters"][key]["parameterType"] in ("LIST", "STRUCT")
                else text
            )
        return Task(
            "succeeded",
            Inputs({key: _as_double(value) for key, value in values.items()}, made),
            log,
        )

    def _empty(self) -> None:
        for path in self.gcs.iterdir():
            shutil.rmtree(path)

    def _bring(self, uri: str) -> None:
        """The objects of an artifact, a file or a folder."""
        prefix = uri.removeprefix(f"gs://{self.bucket.name}/")
        for blob in self.bucket.list_blobs(prefix=prefix):
            if blob.name == prefix or blob.name.startswith(f"{prefix}/"):
                path = self.gcs / self.bucket.name / blob.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(blob.download_as_bytes())

    def _send(self, place: str) -> None:
        for path in (self.gcs / place).rglob("*"):
            if path.is_file():
                self.bucket.blob(
                    path.relative_to(self.gcs / self.bucket.name).as_posix()
                ).upload_from_filename(str(path))


def _failed(done: dict[str, Task]) -> bool:
    return any(task.state == "failed" for task in done.values())


def _listed(artifact: Any) -> list[Any]:
    return artifact if isinstance(artifact, list) else [artifact]


def _holds(condition: str, inputs: Inputs) -> bool:
    if not condition:
        return True
    match = CONDITION.fullmatch(condition)
    assert match, f"this backend compares a string with another, not: {condition}"
    return bool(inputs.parameters[match[1]] == match[2])


def _filled(word: str, executor_input: Json) -> str:
    text = json.dumps(executor_input)
    word = word.replace("{{$.json_escape[1]}}", json.dumps(text)[1:-1]).replace("{{$}}", text)
    assert "{{$" not in word, word
    return word


def _as_double(value: Any) -> Any:
    """Numbers travel as doubles."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
