"""The compiled pipeline breaches no demand of a backend, and each demand is seen to catch a
pipeline that does.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035  the compiler knows no other

import pytest
import yaml
from kfp import compiler, dsl

from greenlight.pipelines.compiler import Build, compile_for, compile_promotion
from greenlight.pipelines.resources import load_resources
from greenlight.resolve.parameters import Parameters
from tests.pipelines.demands import CACHED, VERTEX_RULES, Spec, breaches

PLAIN: dict[str, Any] = {
    "base_image": "image",
    "packages_to_install": [],
    "install_kfp_package": False,
}


@dsl.component(**PLAIN)
def say(word: str) -> str:
    return word


@dsl.component(**PLAIN)
def gate(word: str) -> str:
    return word


@dsl.component(**PLAIN)
def measure(number: int) -> float:
    return float(int(number))


@dsl.component(**PLAIN)
def take(item: dict) -> str:
    return str(item)


@dsl.component(**PLAIN)
def download(source: str, build: str = "") -> str:
    return source


@dsl.component(**PLAIN)
def end(status: dsl.PipelineTaskFinalStatus) -> None:
    print("the end")


@dsl.component(base_image="image", packages_to_install=["requests"])
def install(word: str) -> str:
    return word


@dsl.component(**PLAIN)
def repeat(word: str, times: int) -> str:
    return word * times


@dsl.component(**PLAIN)
def end_by_status(status: dsl.PipelineTaskFinalStatus) -> None:
    print(status.state == "SUCCEEDED")


@dsl.component(**PLAIN)
def sign_in(api_token: str) -> str:
    return api_token


@dsl.container_component
def container() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="image", command=["true"])


def uncached(task: Any) -> Any:
    return task.set_caching_options(False)


@dsl.pipeline(name="inner")
def branching(word: str) -> str:
    with dsl.If(uncached(say(word=word)).output == "a"):
        yes = uncached(say(word="yes"))
    with dsl.Else():
        no = uncached(say(word="no"))
    return dsl.OneOf(yes.output, no.output)


def compiled(body: Callable[..., Any], handler: Any = end) -> str:
    """A pipeline whose steps, as `body` makes them, are in an exit handler."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(dsl.pipeline(name="broken")(body), str(path))
        return path.read_text()


def handled(handler: Any = end) -> dsl.ExitHandler:
    return dsl.ExitHandler(uncached(handler()))


def good(word: str = "a", items: List[dict] = [{"a": 1}]):  # noqa: B006, UP006
    with handled():
        said = uncached(say(word=word))
        with dsl.If(said.output == "a"):
            uncached(measure(number=1)).after(said)
        with dsl.Else():
            download(source=word, build="b")
        with dsl.ParallelFor(items) as item:
            uncached(take(item=item))


def null_default(word: Optional[str] = None):  # noqa: UP045
    with handled():
        uncached(say(word=word))


def list_of_anything(items: list = [{"a": 1}]):  # noqa: B006
    with handled(), dsl.ParallelFor(items) as item:
        uncached(take(item=item))


def list_of_nothing():
    with handled(), dsl.ParallelFor([{"a": 1}]) as item:
        uncached(take(item=item))


def float_against_int():
    with handled():
        measured = uncached(measure(number=1))
        with dsl.If(measured.output == 1):
            uncached(say(word="one"))


def text_with_a_quote(word: str = "a"):
    with handled(), dsl.If(word == "it's"):
        uncached(say(word="one"))


def cached_say():
    with handled():
        say(word="a")


def cached_with_run():
    with handled():
        download(source=dsl.PIPELINE_JOB_ID_PLACEHOLDER, build="b")


def cached_without_code():
    with handled():
        download(source="a")


def two_ignored():
    with handled():
        one, other = uncached(say(word="a")), uncached(say(word="b"))
        uncached(say(word="c")).after(one, other).ignore_upstream_failure()


def branches_twice():
    with handled():
        with dsl.If(uncached(say(word="a")).output == "a"):
            branching(word="a")
        with dsl.Else():
            branching(word="b")


def with_pip():
    with handled():
        uncached(install(word="a"))


def with_container():
    with handled():
        uncached(container())


def with_importer():
    with handled():
        dsl.importer(artifact_uri="gs://bucket/model", artifact_class=dsl.Model)


def with_plain_int():
    with handled():
        uncached(repeat(word="a", times=2))


def with_status():
    with handled(end_by_status):
        uncached(say(word="a"))


def without_handler():
    uncached(say(word="a"))


def beside_handler():
    with handled():
        uncached(say(word="a"))
    uncached(say(word="b"))


def with_token(api_token: str = ""):
    with handled():
        uncached(sign_in(api_token=api_token))


def with_secret_value():
    with handled():
        uncached(say(word="a")).set_env_variable("HF_TOKEN", "hf_abc").set_env_variable(
            "GREENLIGHT_SECRET_HF_TOKEN", "hf-token"
        )


def gate_asked_again():
    with handled():
        uncached(gate(word="a")).set_retry(2)


def edited(body: Callable[..., Any], edit: Callable[[dict[str, Any]], object]) -> str:
    """What only a compiler's bug, or a hand, writes."""
    spec = yaml.safe_load(compiled(body))
    edit(spec)
    return yaml.safe_dump(spec)


BROKEN = [
    ("nullable_parameter: parameter word", lambda: compiled(null_default)),
    (
        "untyped_loop: for-loop-2 hands STRING to parameter item of take",
        lambda: compiled(list_of_anything),
    ),
    (
        "empty_loop: for-loop-3",
        lambda: compiled(list_of_nothing).replace("""'[{"a": 1}]'""", "'[]'"),
    ),
    ("condition_on_no_string: condition-2", lambda: compiled(float_against_int)),
    ("condition_on_no_string: condition-2", lambda: compiled(text_with_a_quote)),
    ("cached_side_effect: say is cached", lambda: compiled(cached_say)),
    ("cached_step_knows_the_run: download", lambda: compiled(cached_with_run)),
    ("cached_step_does_not_know_the_code: download", lambda: compiled(cached_without_code)),
    (
        "ignored_failures_of_two: say-3 ignores the failure of say and say-2",
        lambda: compiled(two_ignored),
    ),
    (
        "no_implementation: comp-say",
        lambda: edited(
            cached_say, lambda spec: spec["components"]["comp-say"].pop("executorLabel")
        ),
    ),
    (
        "no_implementation: say is of comp-say, which is not there",
        lambda: edited(cached_say, lambda spec: spec["components"].pop("comp-say")),
    ),
    ("branches_in_two_pipelines: inner branches again", lambda: compiled(branches_twice)),
    ("installs_packages: comp-install", lambda: compiled(with_pip)),
    ("no_python_component: comp-container", lambda: compiled(with_container)),
    ("no_python_component: comp-importer", lambda: compiled(with_importer)),
    ("integer_taken_as_it_comes: comp-repeat takes times", lambda: compiled(with_plain_int)),
    (
        "reads_the_final_status: comp-end-by-status reads status.state",
        lambda: compiled(with_status),
    ),
    (
        "step_outside_the_exit_handler: 0 tasks run whatever happened",
        lambda: compiled(without_handler),
    ),
    ("step_outside_the_exit_handler: say-2", lambda: compiled(beside_handler)),
    ("secret_parameter: the pipeline takes api_token", lambda: compiled(with_token)),
    ("secret_parameter: comp-say has the value of HF_TOKEN", lambda: compiled(with_secret_value)),
    ("retried_verdict: gate is tried again", lambda: compiled(gate_asked_again)),
    (
        "settings_of_kubernetes: the 2nd document has platforms",
        lambda: compiled(good) + "---\nplatforms: {kubernetes: {}}\n",
    ),
]


def test_the_compiled_pipeline() -> None:
    build = Build(
        f"registry.example.com/components@sha256:{'ab' * 32}", load_resources(), Parameters()
    )
    assert breaches(compile_promotion(), VERTEX_RULES) == []
    assert breaches(compile_for("vertex", build), VERTEX_RULES) == []
    assert breaches(compile_for("kubeflow", build)) == []


def test_what_takes_long_is_reused() -> None:
    assert {task.name for task in Spec(compile_promotion()).tasks if task.is_cached} == CACHED


def test_a_good_pipeline_breaches_nothing() -> None:
    assert breaches(compiled(good)) == []


@pytest.mark.parametrize(("breach", "broken"), BROKEN, ids=[breach for breach, _ in BROKEN])
def test_a_broken_pipeline(breach: str, broken: Callable[[], str]) -> None:
    found = breaches(broken(), VERTEX_RULES)
    assert [each for each in found if each.startswith(breach)], found


def test_every_demand_has_a_pipeline_that_breaches_it() -> None:
    assert {breach.partition(":")[0] for breach, _ in BROKEN} == {
        rule.__name__ for rule in VERTEX_RULES
    }
