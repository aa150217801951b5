import textwrap
from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.gate.objectives import load_gate, shipped_gates

GOOD = """
name: mine
confidence: 0.9
objectives:
  - {metric: kl_mean, max: 0.01}
  - {metric: e2e, statistic: p90, scope: vs_live, max: 1.1, confidence: 0.99}
"""


@pytest.mark.parametrize("name", shipped_gates())
def test_shipped_gates_load(name: str) -> None:
    assert load_gate(name).objectives


def test_name_path_and_text(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(GOOD)
    assert load_gate(str(path)) == load_gate(GOOD)
    gate = load_gate(GOOD)
    assert [objective.confidence for objective in gate.objectives] == [0.9, 0.99]
    assert [objective.title for objective in gate.objectives] == [
        "mean KL divergence",
        "p90 of E2E vs live",
    ]
    assert (
        gate.digest
        == load_gate("# a comment\n" + GOOD).digest
        != load_gate(GOOD.replace("0.01", "0.02")).digest
    )


def gate(objective: str, rest: str = "") -> str:
    return f"name: mine\nconfidence: 0.95\nobjectives:\n  - {objective}\n{textwrap.dedent(rest)}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            gate("{metric: kl_men, max: 1}"),
            "objectives.1.metric is 'kl_men': no such metric; did you mean kl_mean?",
        ),
        (
            gate("{metric: kl_mean}"),
            "objectives.1 (kl_mean): the limit is missing; add max: or min:",
        ),
        (gate("{metric: kl_mean, max: 1, min: 0}"), "objectives.1 (kl_mean): has both max and min"),
        (
            gate("{metric: kl_mean, maxx: 1}"),
            "objectives.1.maxx (kl_mean): no such key; did you mean max?",
        ),
        (
            gate("{metric: kl_mean, max: 1.1x}"),
            "objectives.1.max (kl_mean) is '1.1x': Input should be a valid number",
        ),
        (
            gate("{metric: kl_mean, max: .nan}"),
            "objectives.1.max (kl_mean) is nan: Input should be a finite number",
        ),
        (
            gate("{metric: kl_mean, max: yes}"),
            "objectives.1.max (kl_mean) is True: a number is needed",
        ),
        (
            gate("{metric: kl_mean, max: 1, confidence: 95}"),
            (
                "objectives.1.confidence (kl_mean) is 95: must lie between 0.5 and 1; write 0.95"
                " for 95%"
            ),
        ),
        (gate("{metric: kl_mean, max: 1, confidence: 0.5}"), "must lie between 0.5 and 1"),
        (
            gate("{metric: kl_mean, scope: vs_live, max: 1}"),
            "scope vs_live is not known for kl_mean",
        ),
        (
            gate("{metric: kl_mean, statistic: p50, max: 1}"),
            "kl_mean is one number; leave statistic out",
        ),
        (
            gate("{metric: ttft, scope: vs_live, max: 1}"),
            "statistic is missing; use one of p50, p90, p95, mean",
        ),
        (
            gate("{metric: ttft, statistic: p99, scope: vs_live, max: 1}"),
            "statistic p99 cannot be judged",
        ),
        (gate("{metric: ttft, statistic: p50, scope: vs_live, max: 0}"), "limit 0 is not a ratio"),
        (gate("{metric: ttft, statistic: over_slo, max: 0.1}"), "slo is missing"),
        (
            gate("{metric: ttft, statistic: p50, slo: 1, max: 0.1}"),
            "slo belongs to statistic over_slo",
        ),
        (gate("{metric: ttft, statistic: p50, better_by: 0.1}"), "use it with scope: vs_live"),
        (
            gate("{metric: error_rate, scope: vs_live, better_by: 0.1}"),
            "not with error_rate or over_slo",
        ),
        (
            gate("{metric: ttft, statistic: p50, scope: vs_live, better_by: 10}"),
            "Input should be less than 1",
        ),
        (
            gate("{metric: ttft, statistic: p50, scope: vs_live, better_by: 0.1, max: 1}"),
            "leave max and min out",
        ),
        (
            gate("{metric: kl_mean, max: 1}", "benchmark: {pair: 3}"),
            "benchmark.pair: no such key; did you mean pairs?",
        ),
        (
            gate("{metric: ttft, statistic: p95, max: 1}", "benchmark: {pairs: 99}"),
            "p95 of TTFT needs benchmark.pairs to be 100 or more, and it is 99",
        ),
        (
            gate("{metric: output_tokens_per_second, min: 1}", "benchmark: {throughput_blocks: 2}"),
            "throughput_blocks to be 3 or more",
        ),
        (
            gate("{metric: itl, statistic: p50, max: 1}", "benchmark: {max_tokens: 1}"),
            "max_tokens to be 2 or more",
        ),
        (
            gate("{metric: kl_mean, max: 1}\n  - {metric: kl_mean, max: 2}"),
            "two objectives are called 'mean KL divergence'",
        ),
        (gate("{metric: kl_mean, max: 1}", "bake: {seconds: -1}"), "bake.seconds is -1"),
        (
            gate("{metric: kl_mean, max: 1}", "bake: {max_slower: 1}"),
            "bake.max_slower is 1: Input should be greater than 1",
        ),
        (
            gate("{metric: kl_mean, max: 1}", "bake: {reference_pairs: 29}"),
            "bake.reference_pairs is 29: is too few for a bound; write 30 or more, or 0",
        ),
        (
            gate("{metric: kl_mean, max: 1}").replace("objectives", "objective"),
            "objective: no such key; did you mean objectives?",
        ),
        (
            gate("{metric: kl_mean, max: 1}").replace("confidence: 0.95\n", ""),
            "confidence: is missing",
        ),
        ("name: x\nconfidence: 0.95\nobjectives: []\n", "at least 1 item"),
        (gate("{metric: kl_mean, max: 1"), "is not valid YAML; line 5"),
        ("name: x\nname: y\n", "line 2: the key 'name' is there twice"),
        ("\n", "holds no keys"),
        ("- a\n- b\n", "holds no keys"),
        ("\x00\n", "is not valid YAML"),
        ("/nothing/here.yaml", "there is no such file"),
        ("defalt", "did you mean default?"),
    ],
)
def test_a_bad_gate_is_refused_in_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_gate(text)
    assert says in str(caught.value)
    assert caught.value.field == "gate"
    assert "\n" not in str(caught.value)
