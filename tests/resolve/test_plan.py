"""What makes a release new."""

from pathlib import Path

import pytest

from greenlight.core.cache_keys import step_key
from greenlight.core.errors import InputError
from greenlight.resolve import plan
from greenlight.resolve.parameters import Parameters
from greenlight.resolve.plan import (
    candidate_build,
    fingerprint,
    plan_candidates,
    reference_build,
    source_build,
)

BASE = Parameters()


@pytest.mark.parametrize(
    "change", [{"method": "bnb"}, {"bits": 4}, {"engine": "openvino"}, {"replicas": 2}], ids=str
)
def test_settings_of_the_release_make_it_new(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") != fingerprint(BASE, "c", "v")


@pytest.mark.parametrize(
    "change",
    [
        {"gate": "x"},
        {"prompts": "x"},
        {"text": "x"},
        {"tasks": "x"},
        {"few_shot": 1},
        {"model": "a/mirror"},
        {"port": 1},
    ],
    ids=str,
)
def test_what_only_judges_or_locates_it_does_not(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") == fingerprint(BASE, "c", "v")


def test_calibration_counts_where_the_method_calibrates(tmp_path: Path) -> None:
    data, copy = tmp_path / "data.jsonl", tmp_path / "copy.jsonl"
    for path in (data, copy):
        path.write_text('{"text": "a"}\n{"text": "b"}\n')

    def made(method: str, **change: object) -> tuple[str, str]:
        parameters = BASE.model_copy(
            update={"method": method, "bits": 4, "calibration": str(data)} | change
        )
        return fingerprint(parameters, "c", "v"), candidate_build(
            parameters, "builds/c-v", method, 4
        )

    first, plain = made("gptq"), made("optimum")
    assert plain[1] == f"builds/c-v/optimum-4-{step_key('quantize')}"
    assert first[1].startswith("builds/c-v/gptq-4-")
    assert made("gptq", calibration=str(copy)) == first  # the same text by another name
    for change in (
        {"calibration": "builtin"},
        {"calibration_samples": 7},
        {"calibration_length": 7},
    ):
        assert not set(made("gptq", **change)) & set(first)
        assert made("optimum", **change) == plain
    data.write_text('{"text": "a"}\n{"text": "c"}\n')  # other text by the same name
    assert not set(made("gptq")) & set(first)
    assert made("optimum") == plain


def test_tasks_name_the_build_of_the_reference_by_what_they_hold(tmp_path: Path) -> None:
    file, copy = tmp_path / "facts.jsonl", tmp_path / "copy" / "facts.jsonl"
    copy.parent.mkdir()
    for path in (file, copy):
        path.write_text(
            '{"question": "Two and two are", "choices": ["four", "five"], "answer": 0}\n'
        )

    def build(**change: object) -> str:
        return reference_build(BASE.model_copy(update={"tasks": str(file)} | change), "builds/c-v")

    without = reference_build(BASE, "builds/c-v")
    key = f"-{step_key('reference')}"
    assert (
        build().startswith(f"{without.removesuffix(key)}-tasks-")
        and build(tasks=str(copy)) == build()
        and build(tasks="") == without
    )
    assert (
        len({build(), build(task_limit=1), build(few_shot=1), build(tasks=f"{file},sciq"), without})
        == 5
    )
    file.write_text('{"question": "Two and two are", "choices": ["four", "five"], "answer": 1}\n')
    assert build() != build(tasks=str(copy))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tasks": "nowhere.jsonl"},
            (
                "tasks: 'nowhere.jsonl': there is no such file; give the path or gs:// URI of a"
                " JSONL or Parquet file"
            ),
        ),
        ({"few_shot": -1}, "few_shot: -1: use 0 for no examples, or more"),
        ({"task_limit": -1}, "task_limit: -1: use 0 for all items, or more"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused_before_anything_is_done(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        BASE.model_copy(update=change).check_values()
    assert str(refused.value) == message


def test_a_gate_that_judges_tasks_needs_enough_of_them(tmp_path: Path) -> None:
    gate = "{name: exam, confidence: 0.95, objectives: [{metric: task_accuracy_drop, max: 0.01}]}"
    file = tmp_path / "facts.jsonl"
    file.write_text(
        "".join(
            f'{{"question": "{number}", "choices": ["a", "b"], "answer": 0}}\n'
            for number in range(20)
        )
    )
    judged = BASE.model_copy(update={"gate": gate})
    with pytest.raises(InputError) as refused:
        judged.check_values()
    fix = (
        "the gate exam has the objective drop in task accuracy; name tasks or files of items, or"
        " take it out of the gate"
    )
    assert (refused.value.field, refused.value.fix) == ("tasks", fix)
    asked = judged.model_copy(update={"tasks": str(file)})
    asked.check_values()
    with pytest.raises(
        InputError,
        match="judges 20 items or more, and 19 are asked; give more, or raise task_limit",
    ):
        asked.model_copy(update={"task_limit": 19}).check_values()


def test_files_of_this_machine_are_no_tasks_in_a_cloud(tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text('{"question": "Two and two are", "choices": ["four", "five"], "answer": 0}\n')
    there = {
        "target": "projects/p/locations/l/clusters/c",
        "history": "gs://b/h",
        "tasks": f"sciq, {file}",
    }
    with pytest.raises(
        InputError, match="steps in a cloud do not see this machine's files"
    ) as refused:
        BASE.model_copy(update=there).check_for_cloud()
    assert (refused.value.field, refused.value.value) == ("tasks", str(file))


def test_commit_and_code_make_it_new() -> None:
    prints = {fingerprint(BASE, commit, code) for commit in "ab" for code in "vw"}
    assert len(prints) == 4


def test_bits_mean_nothing_without_a_method() -> None:
    plain = BASE.model_copy(update={"method": "none"})
    assert fingerprint(plain, "c", "v") == fingerprint(
        plain.model_copy(update={"bits": 4}), "c", "v"
    )


def test_a_sweep_is_the_same_in_any_order_and_no_single_method() -> None:
    sweep = BASE.model_copy(update={"methods": "optimum:8,bnb:4"})
    assert fingerprint(sweep, "c", "v") == fingerprint(
        BASE.model_copy(update={"methods": " bnb:4 , optimum:8", "method": "gptq"}), "c", "v"
    )
    assert (
        len(
            {
                fingerprint(each, "c", "v")
                for each in (BASE, sweep, BASE.model_copy(update={"methods": "optimum:8,bnb:8"}))
            }
        )
        == 3
    )
    assert fingerprint(BASE.model_copy(update={"methods": "optimum:8"}), "c", "v") == fingerprint(
        BASE, "c", "v"
    )


def test_a_candidate_that_failed_is_not_looked_up_in_a_cache_again(tmp_path: Path) -> None:
    sweep = BASE.model_copy(update={"methods": "optimum:8,none", "history": str(tmp_path)})
    first, plain = plan_candidates(sweep, "builds/abc", "builds/abc/text-1")
    key = step_key("quantize")
    assert (first.build, first.attempt) == (f"builds/abc/optimum-8-{key}", "")
    assert (plain.build, plain.name) == (f"builds/abc/none-16-{key}", "none")
    for build in (first.build, plain.evaluation_build):
        (tmp_path / build).mkdir(parents=True)
    (tmp_path / first.build / "last_failure").write_text("2026-11-25T15:00:00")
    (tmp_path / plain.evaluation_build / "last_failure").write_text("2026-11-26T15:00:00")
    assert [each.attempt for each in plan_candidates(sweep, "builds/abc", "builds/abc/text-1")] == [
        "2026-11-25T15:00:00",
        "2026-11-26T15:00:00",
    ]


def test_each_folder_names_the_code_that_writes_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that it builds upon: what older code left is not taken for what this code makes."""

    def folders() -> dict[str, str]:
        source = source_build("c0ffee")
        reference = reference_build(BASE, source)
        (candidate,) = plan_candidates(BASE, source, reference)
        return {
            "download": source,
            "reference": reference,
            "quantize": candidate.build,
            "evaluate": candidate.evaluation_build,
        }

    before, moved = folders(), {}
    for step in before:
        monkeypatch.setattr(
            plan, "step_key", lambda each, step=step: "other" if each == step else step_key(each)
        )
        moved[step] = {name for name, folder in folders().items() if folder != before[name]}
    assert moved == {
        "download": set(before),
        "reference": {"reference", "evaluate"},
        "quantize": {"quantize", "evaluate"},
        "evaluate": {"evaluate"},
    }


NO_RECIPE = (
    "is not a method and its bits; write them as optimum:8,optimum:4,bnb:4; none and smallest have"
    " no bits"
)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("optimum", f"methods: 'optimum': 'optimum' {NO_RECIPE}"),
        (
            "optimum:8,,bnb:4",
            (
                "methods: 'optimum:8,,bnb:4': '' is not a method and its bits; write them as"
                " optimum:8,optimum:4,bnb:4; none and smallest have no bits"
            ),
        ),
        ("bnb:4,bnb:4", "methods: 'bnb:4,bnb:4': names bnb:4 twice; name each once"),
        (
            "bnb:4,gguf:4",
            (
                "methods: 'bnb:4,gguf:4': gguf:4: use one of: awq, bnb, fp8, gptq, none, optimum,"
                " smallest, w8a8"
            ),
        ),
        ("bnb:4,gptq:5", "methods: 'bnb:4,gptq:5': gptq:5: method gptq supports 4 or 8 bits"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_done(
    methods: str, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        BASE.model_copy(update={"methods": methods}).check_values()
    assert str(refused.value) == message


def test_a_sweep_by_cost_needs_a_price() -> None:
    gate = (
        "{name: cheap, confidence: 0.95, select: {prefer: cost}, objectives: [{metric: kl_mean,"
        " max: 0.1}]}"
    )
    sweep = BASE.model_copy(update={"methods": "optimum:8,bnb:4", "gate": gate})
    with pytest.raises(InputError, match="add price_per_hour"):
        sweep.check_values()
    sweep.model_copy(update={"workload": "{name: priced, price_per_hour: 0.4}"}).check_values()
    BASE.model_copy(update={"gate": gate}).check_values()  # one method: nothing is weighed


def test_a_search_is_told_the_limits_of_the_gate(tmp_path: Path) -> None:
    """They are part of what it makes: another gate is another build, and nothing else of the gate
    counts. Other methods do not know them.
    """
    tight = (
        "{name: tight, confidence: 0.9, objectives: [{metric: kl_mean, max: 0.01}, {metric: ttft,"
        " statistic: p50, scope: vs_live, max: 1.1}]}"
    )
    sweep = BASE.model_copy(
        update={"methods": "optimum:8,smallest", "gate": tight, "history": str(tmp_path)}
    )
    uniform, searched = plan_candidates(sweep, "builds/abc", "builds/abc/text-1")
    assert (uniform.limits, searched.limits, searched.name) == (
        "",
        "kl_mean max 0.01 at 0.9",
        "smallest",
    )
    faster = sweep.model_copy(update={"gate": tight.replace("max: 1.1", "max: 1.2")})
    looser = sweep.model_copy(update={"gate": tight.replace("0.01", "0.02")})
    assert plan_candidates(faster, "builds/abc", "builds/abc/text-1") == [uniform, searched]
    assert plan_candidates(looser, "builds/abc", "builds/abc/text-1")[0] == uniform
    assert plan_candidates(looser, "builds/abc", "builds/abc/text-1")[1].build != searched.build
    alone = BASE.model_copy(update={"method": "smallest", "gate": tight})
    assert fingerprint(alone, "c", "v") != fingerprint(
        alone.model_copy(update={"gate": looser.gate}), "c", "v"
    )
    assert fingerprint(BASE, "c", "v") == fingerprint(
        BASE.model_copy(update={"gate": tight}), "c", "v"
    )


def test_a_search_needs_limits() -> None:
    gate = (
        "{name: fast, confidence: 0.95, objectives: [{metric: ttft, statistic: p50, scope: vs_live,"
        " max: 1.1}]}"
    )
    with pytest.raises(InputError, match=r"gate: 'fast': has no objective on quality"):
        BASE.model_copy(update={"method": "smallest", "gate": gate}).check_values()
    BASE.model_copy(update={"gate": gate}).check_values()
