"""What kfp.local, the KFP 2.17 backend and Vertex demand of a compiled pipeline, beyond what the
compiler checks: each failed, or misled, without a word.

A rule is a generator of the places that breach it. Its docstring says what happens where it is
breached.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Json = dict[str, Any]

# the steps that do nothing but write their outputs
CACHED = {
    "download",
    "reference",
    "quantize",
    "evaluate",
}
VERDICTS = {"gate"}
RUN_PLACEHOLDERS = re.compile(r"\{\{\$\.(pipeline_job|pipeline_task)")
COMPARISON = r"inputs\.parameter_values\['([^']+)'\] [=!]= '[^'\\\n]*'"
CONDITION = re.compile(rf"(!\({COMPARISON}\)|{COMPARISON})( && (!\({COMPARISON}\)|{COMPARISON}))*")
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
NAMES_A_SECRET = "GREENLIGHT_SECRET_"  # what the secret is called, not what it is
SECRET = re.compile(r"(^|_)(token|secret|password|credentials?|key)$")


@dataclass(frozen=True)
class Task:
    """A task of the DAG or of a group in it, and the component that it is of."""

    name: str
    spec: Json
    component: Json
    group: str  # the component whose DAG it is in; empty: the pipeline's own

    @property
    def is_group(self) -> bool:
        return "dag" in self.component

    @property
    def is_cached(self) -> bool:
        return not self.is_group and bool(self.spec.get("cachingOptions", {}).get("enableCache"))


@dataclass(frozen=True)
class Step:
    """A component that runs something."""

    name: str
    component: Json
    executor: Json

    def parameters(self, kind: str) -> set[str]:
        return {
            name
            for name, each in (
                self.component.get("inputDefinitions", {}).get("parameters", {}).items()
            )
            if each["parameterType"] == kind
        }

    @property
    def source(self) -> ast.Module:
        """The component's function, which the compiler puts into the command line."""
        command = self.executor.get("container", {}).get("command", [""])
        return ast.parse(command[-1]) if "kfp.dsl.executor_main" in str(command) else ast.parse("")


class Spec:
    """A compiled pipeline, read."""

    def __init__(self, text: str) -> None:
        self.documents = list(yaml.safe_load_all(text))
        self.pipeline: Json = self.documents[0]
        self.components: Json = self.pipeline["components"]
        executors = self.pipeline["deploymentSpec"]["executors"]
        self.steps = [
            Step(name, each, executors.get(each["executorLabel"], {}))
            for name, each in self.components.items()
            if "executorLabel" in each
        ]

    @property
    def tasks(self) -> Iterator[Task]:
        for group, holder in {"": self.pipeline["root"], **self.components}.items():
            for name, task in holder.get("dag", {}).get("tasks", {}).items():
                yield Task(name, task, self.components.get(task["componentRef"]["name"], {}), group)


def nullable_parameter(spec: Spec) -> Iterator[str]:
    """A pipeline parameter that is None fails in a group: "resolved input parameter is null"."""
    for name, parameter in (
        spec.pipeline["root"].get("inputDefinitions", {}).get("parameters", {}).items()
    ):
        if parameter.get("isOptional") and parameter.get("defaultValue") is None:
            yield f"parameter {name} may be null; make its default an empty text"


def untyped_loop(spec: Spec) -> Iterator[str]:
    """A loop over a `list` without a type hands its items on as texts: "expect STRUCT, got
    string".
    """
    for loop in spec.tasks:
        item = loop.spec.get("parameterIterator", {}).get("itemInput")
        for task in spec.tasks if item and loop.is_group else ():
            if task.group != loop.spec["componentRef"]["name"]:
                continue
            given = loop.component["inputDefinitions"]["parameters"][item]["parameterType"]
            for name, source in task.spec.get("inputs", {}).get("parameters", {}).items():
                # else a text or number of a dict, which only a STRUCT can be asked for
                whole = "parameterExpressionSelector" not in source
                wanted = (
                    task.component["inputDefinitions"]["parameters"][name]["parameterType"]
                    if whole
                    else "STRUCT"
                )
                if source.get("componentInputParameter") == item and wanted != given:
                    yield (
                        f"{loop.name} hands {given} to parameter {name} of {task.name}, which wants"
                        f" {wanted}; annotate the list's items"
                    )


def empty_loop(spec: Spec) -> Iterator[str]:
    """A loop over nothing, whose results are collected, fails in kfp.local."""
    for task in spec.tasks:
        raw = task.spec.get("parameterIterator", {}).get("items", {}).get("raw")
        if raw is not None and not json.loads(raw):
            yield f"{task.name} loops over an empty list"


def condition_on_no_string(spec: Spec) -> Iterator[str]:
    """A float compared with an int skips every branch, Else too, and so does a text with a quote or
    a line break in it; the run reports success.
    """
    for task in spec.tasks:
        if condition := task.spec.get("triggerPolicy", {}).get("condition", ""):
            types = task.component.get("inputDefinitions", {}).get("parameters", {})
            names = re.findall(r"parameter_values\['([^']+)'\]", condition)
            if not CONDITION.fullmatch(condition) or any(
                types[name]["parameterType"] != "STRING" for name in names
            ):
                yield f"{task.name} compares more than plain texts: {condition}"


def cached_side_effect(spec: Spec) -> Iterator[str]:
    """Caching is on unless it is turned off, and crosses pipeline roots: a deployment that is
    reused deploys nothing.
    """
    for task in spec.tasks:
        if task.is_cached and task.name not in CACHED:
            yield (
                f"{task.name} is cached; set_caching_options(False), or name it among those that"
                " only write their outputs"
            )


def cached_step_knows_the_run(spec: Spec) -> Iterator[str]:
    """What differs between runs makes each cache key new."""
    for task in spec.tasks:
        if task.is_cached and RUN_PLACEHOLDERS.search(str(task.spec.get("inputs", {}))):
            yield f"{task.name} is cached, but is given the run's id"


def cached_step_does_not_know_the_code(spec: Spec) -> Iterator[str]:
    """A cache key is of the command line and the arguments, not of the code of the packages that it
    imports.
    """
    for task in spec.tasks:
        if task.is_cached and "build" not in task.spec.get("inputs", {}).get("parameters", {}):
            yield (
                f"{task.name} is cached, but is not given its build, whose name holds the key of"
                " its code"
            )


def ignored_failures_of_two(spec: Spec) -> Iterator[str]:
    """`ignore_upstream_failure` after two tasks compiles to a task that runs twice."""
    for task in spec.tasks:
        if (
            task.spec.get("triggerPolicy", {}).get("strategy") == EXIT
            and len(task.spec.get("dependentTasks", [])) > 1
        ):
            yield f"{task.name} ignores the failure of {' and '.join(task.spec['dependentTasks'])}"


def no_implementation(spec: Spec) -> Iterator[str]:
    """If and Else both in a pipeline and in one that it calls compile to components that are
    nothing.
    """
    for name, component in spec.components.items():
        if (
            "dag" not in component
            and component.get("executorLabel") not in spec.pipeline["deploymentSpec"]["executors"]
        ):
            yield f"{name} has no implementation"
    for task in spec.tasks:
        if not task.component:
            yield f"{task.name} is of {task.spec['componentRef']['name']}, which is not there"


def branches_in_two_pipelines(spec: Spec) -> Iterator[str]:
    """What `no_implementation` comes from; kfp.local runs neither branch then. If and Else belong
    to one level.
    """
    holders = {task.group for task in spec.tasks if task.name.startswith("condition-branches")}
    for holder in sorted(holders):
        inside = [holder]
        while inside:
            for task in [task for task in spec.tasks if task.group == inside[0] and task.is_group]:
                component = task.spec["componentRef"]["name"]
                inside.append(component)
                if component in holders and component != holder:
                    yield f"{task.name} branches again, below {holder or 'the pipeline'}"
            inside.pop(0)


def installs_packages(spec: Spec) -> Iterator[str]:
    """Steps would come with other versions than the image that was tested, and need a package
    index.
    """
    for step in spec.steps:
        if "pip install" in str(step.executor):
            yield (
                f"{step.name} installs packages; packages_to_install=[] and"
                " install_kfp_package=False"
            )


def no_python_component(spec: Spec) -> Iterator[str]:
    """kfp.local runs no container component, and an importer of gs:// downloads nothing there and
    succeeds.
    """
    for step in spec.steps:
        container = step.executor.get("container", {})
        if "kfp.dsl.executor_main" not in str(container.get("command")) or container.get(
            "args", []
        )[:2] != ["--executor_input", "{{$}}"]:
            yield f"{step.name} is no Python component"


def integer_taken_as_it_comes(spec: Spec) -> Iterator[str]:
    """Numbers travel as doubles: 8 comes as 8.0, and is written so into names and command lines."""
    for step in spec.steps:
        numbers, converted, nodes = (
            step.parameters("NUMBER_INTEGER"),
            set(),
            list(ast.walk(step.source)),
        )
        for call in (
            node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ):
            # A model of pydantic, by its name of a class, converts too.
            if call.func.id == "int" or call.func.id[0].isupper():  # type: ignore[attr-defined]
                converted |= {
                    id(value)
                    for value in [*call.args, *(keyword.value for keyword in call.keywords)]
                }
        names = [node for node in nodes if isinstance(node, ast.Name) and node.id in numbers]
        for name in sorted({node.id for node in names if id(node) not in converted}):
            yield f"{step.name} takes {name} as it comes; write int({name})"


def reads_the_final_status(spec: Spec) -> Iterator[str]:
    """Its state is COMPLETE, SUCCEEDED or even RUNNING when nothing failed, and its error is empty:
    backends disagree. What the steps wrote is the truth.
    """
    for step in spec.steps:
        statuses = step.parameters("TASK_FINAL_STATUS")
        for node in ast.walk(step.source):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in statuses
            ):
                yield f"{step.name} reads {node.value.id}.{node.attr}"


def step_outside_the_exit_handler(spec: Spec) -> Iterator[str]:
    """A failure there ends the run without a report."""
    top = [task for task in spec.tasks if task.group == ""]
    exits = [task for task in top if task.spec.get("triggerPolicy", {}).get("strategy") == EXIT]
    handled = {name for task in exits for name in task.spec["dependentTasks"]}
    if len(exits) != 1:
        yield f"{len(exits)} tasks run whatever happened, instead of one"
    for task in top:
        if task not in exits and task.name not in handled:
            yield f"{task.name} is outside the exit handler"


def secret_parameter(spec: Spec) -> Iterator[str]:
    """Consoles show parameters to everybody, and the executor's log, which holds them, is published
    beside the outputs.
    """
    for holder, component in {"the pipeline": spec.pipeline["root"], **spec.components}.items():
        for name in component.get("inputDefinitions", {}).get("parameters", {}):
            if SECRET.search(name.rpartition("--")[2]):
                yield f"{holder} takes {name}"
    for step in spec.steps:
        for variable in step.executor.get("container", {}).get("env", []):
            if (
                SECRET.search(variable["name"].lower())
                and variable.get("value")
                and not variable["name"].startswith(NAMES_A_SECRET)
            ):
                yield f"{step.name} has the value of {variable['name']}"


def retried_verdict(spec: Spec) -> Iterator[str]:
    """To ask a gate twice is another test. A step that fails with a verdict would be asked
    again.
    """
    for task in spec.tasks:
        if task.name in VERDICTS and task.spec.get("retryPolicy", {}).get("maxRetryCount"):
            yield f"{task.name} is tried again"


def settings_of_kubernetes(spec: Spec) -> Iterator[str]:
    """Vertex refuses a second document."""
    if len(spec.documents) > 1:
        yield (
            f"the {len(spec.documents)}nd document has {', '.join(spec.documents[1])}; compile a"
            " pipeline of its own for Vertex"
        )


Rule = Callable[[Spec], Iterator[str]]
RULES: tuple[Rule, ...] = (
    nullable_parameter,
    untyped_loop,
    empty_loop,
    condition_on_no_string,
    cached_side_effect,
    cached_step_knows_the_run,
    cached_step_does_not_know_the_code,
    ignored_failures_of_two,
    no_implementation,
    branches_in_two_pipelines,
    installs_packages,
    no_python_component,
    integer_taken_as_it_comes,
    reads_the_final_status,
    step_outside_the_exit_handler,
    secret_parameter,
    retried_verdict,
)
VERTEX_RULES = (*RULES, settings_of_kubernetes)


def breaches(text: str, rules: tuple[Rule, ...] = RULES) -> list[str]:
    """Every breach in a compiled pipeline, as `rule: where and what`."""
    spec = Spec(text)
    return [f"{rule.__name__}: {place}" for rule in rules for place in rule(spec)]
