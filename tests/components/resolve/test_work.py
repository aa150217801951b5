"""What makes a release new."""

from pathlib import Path

import pytest

from components.errors import InputError
from components.resolve.parameters import Parameters
from components.resolve.work import candidate_build, fingerprint, planned

BASE = Parameters()


@pytest.mark.parametrize("change", [{"method": "bnb"}, {"bits": 4}, {"engine": "openvino"}, {"replicas": 2}], ids=str)
def test_settings_of_the_release_make_it_new(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") != fingerprint(BASE, "c", "v")


@pytest.mark.parametrize("change", [{"gate": "x"}, {"prompts": "x"}, {"text": "x"}, {"model": "a/mirror"}, {"port": 1}], ids=str)
def test_what_only_judges_or_locates_it_does_not(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") == fingerprint(BASE, "c", "v")


def test_calibration_counts_where_the_method_calibrates(tmp_path: Path) -> None:
    data, copy = tmp_path / "data.jsonl", tmp_path / "copy.jsonl"
    for path in (data, copy):
        path.write_text('{"text": "a"}\n{"text": "b"}\n')

    def made(method: str, **change: object) -> tuple[str, str]:
        parameters = BASE.model_copy(update={"method": method, "bits": 4, "calibration": str(data)} | change)
        return fingerprint(parameters, "c", "v"), candidate_build(parameters, "builds/c-v", method, 4)

    first, plain = made("gptq"), made("optimum")
    assert plain[1] == "builds/c-v/optimum-4"
    assert first[1].startswith("builds/c-v/gptq-4-")
    assert made("gptq", calibration=str(copy)) == first  # the same text by another name
    for change in ({"calibration": "builtin"}, {"calibration_samples": 7}, {"calibration_length": 7}):
        assert not set(made("gptq", **change)) & set(first)
        assert made("optimum", **change) == plain
    data.write_text('{"text": "a"}\n{"text": "c"}\n')  # other text by the same name
    assert not set(made("gptq")) & set(first)
    assert made("optimum") == plain


def test_commit_and_code_make_it_new() -> None:
    prints = {fingerprint(BASE, commit, code) for commit in "ab" for code in "vw"}
    assert len(prints) == 4


def test_bits_mean_nothing_without_a_method() -> None:
    plain = BASE.model_copy(update={"method": "none"})
    assert fingerprint(plain, "c", "v") == fingerprint(plain.model_copy(update={"bits": 4}), "c", "v")


def test_a_sweep_is_the_same_in_any_order_and_no_single_method() -> None:
    sweep = BASE.model_copy(update={"methods": "optimum:8,bnb:4"})
    assert fingerprint(sweep, "c", "v") == fingerprint(BASE.model_copy(update={"methods": " bnb:4 , optimum:8", "method": "gptq"}), "c", "v")
    assert len({fingerprint(each, "c", "v") for each in (BASE, sweep, BASE.model_copy(update={"methods": "optimum:8,bnb:8"}))}) == 3
    assert fingerprint(BASE.model_copy(update={"methods": "optimum:8"}), "c", "v") == fingerprint(BASE, "c", "v")


def test_a_candidate_that_failed_is_not_looked_up_in_a_cache_again(tmp_path: Path) -> None:
    sweep = BASE.model_copy(update={"methods": "optimum:8,none", "history": str(tmp_path)})
    first, plain = planned(sweep, "builds/abc")
    assert (first.build, first.attempt, plain.build, plain.name) == ("builds/abc/optimum-8", "", "builds/abc/none-16", "none")
    (tmp_path / "builds/abc/optimum-8").mkdir(parents=True)
    (tmp_path / "builds/abc/optimum-8/last_failure").write_text("2026-11-25T15:00:00")
    assert [each.attempt for each in planned(sweep, "builds/abc")] == ["2026-11-25T15:00:00", ""]


NO_RECIPE = "is not a method and its bits; write them as optimum:8,optimum:4,bnb:4; none and smallest have no bits"


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("optimum", f"methods: 'optimum': 'optimum' {NO_RECIPE}"),
        (
            "optimum:8,,bnb:4",
            "methods: 'optimum:8,,bnb:4': '' is not a method and its bits; write them as optimum:8,optimum:4,bnb:4; none and smallest have no bits",
        ),
        ("bnb:4,bnb:4", "methods: 'bnb:4,bnb:4': names bnb:4 twice; name each once"),
        ("bnb:4,gguf:4", "methods: 'bnb:4,gguf:4': gguf:4: use one of: awq, bnb, fp8, gptq, none, optimum, smallest, w8a8"),
        ("bnb:4,gptq:5", "methods: 'bnb:4,gptq:5': gptq:5: method gptq does 4 or 8 bits"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_done(methods: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        BASE.model_copy(update={"methods": methods}).check_values()
    assert str(refused.value) == message


def test_a_sweep_by_cost_needs_a_price() -> None:
    gate = "{name: cheap, confidence: 0.95, select: {prefer: cost}, objectives: [{metric: kl_mean, max: 0.1}]}"
    sweep = BASE.model_copy(update={"methods": "optimum:8,bnb:4", "gate": gate})
    with pytest.raises(InputError, match="add price_per_hour"):
        sweep.check_values()
    sweep.model_copy(update={"workload": "{name: priced, price_per_hour: 0.4}"}).check_values()
    BASE.model_copy(update={"gate": gate}).check_values()  # one method: nothing is weighed


def test_a_search_is_told_the_limits_of_the_gate(tmp_path: Path) -> None:
    """They are part of what it makes: another gate is another build, and nothing else of the gate counts. Other methods do not know them."""
    tight = "{name: tight, confidence: 0.9, objectives: [{metric: kl_mean, max: 0.01}, {metric: ttft, statistic: p50, scope: vs_live, max: 1.1}]}"
    sweep = BASE.model_copy(update={"methods": "optimum:8,smallest", "gate": tight, "history": str(tmp_path)})
    uniform, searched = planned(sweep, "builds/abc")
    assert (uniform.limits, searched.limits, searched.name) == ("", "kl_mean max 0.01 at 0.9", "smallest")
    faster = sweep.model_copy(update={"gate": tight.replace("max: 1.1", "max: 1.2")})
    looser = sweep.model_copy(update={"gate": tight.replace("0.01", "0.02")})
    assert planned(faster, "builds/abc") == [uniform, searched]
    assert planned(looser, "builds/abc")[0] == uniform
    assert planned(looser, "builds/abc")[1].build != searched.build
    alone = BASE.model_copy(update={"method": "smallest", "gate": tight})
    assert fingerprint(alone, "c", "v") != fingerprint(alone.model_copy(update={"gate": looser.gate}), "c", "v")
    assert fingerprint(BASE, "c", "v") == fingerprint(BASE.model_copy(update={"gate": tight}), "c", "v")


def test_a_search_needs_limits() -> None:
    gate = "{name: fast, confidence: 0.95, objectives: [{metric: ttft, statistic: p50, scope: vs_live, max: 1.1}]}"
    with pytest.raises(InputError, match=r"gate: 'fast': has no objective on quality"):
        BASE.model_copy(update={"method": "smallest", "gate": gate}).check_values()
    BASE.model_copy(update={"gate": gate}).check_values()
