import pytest

from greenlight.core.errors import InputError
from greenlight.gate.objectives import load_gate
from greenlight.gate.quality_limits import parse_quality_limits, write_quality_limits

LATENCY_ONLY = (
    "{name: fast, confidence: 0.95, objectives: [{metric: ttft, statistic: p50, scope: vs_live,"
    " max: 1.1}, {metric: bits_per_byte, max: 2}]}"
)


def test_say_the_objectives_on_quality() -> None:
    limits = write_quality_limits(load_gate("quick"))
    assert (
        limits
        == "kl_mean max 0.05 at 0.95, perplexity_ratio max 1.03 at 0.95, top1_agreement min 0.9 at"
        " 0.95"
    )


def test_become_the_same_objectives_again() -> None:
    gate = load_gate(
        "{name: own, confidence: 0.9, objectives: [{metric: kl_p99, max: 0.1, confidence: 0.99},"
        " {metric: top1_agreement, min: 0.95}]}"
    )
    assert [
        each.model_dump() for each in parse_quality_limits(write_quality_limits(gate)).objectives
    ] == [each.model_dump() for each in gate.objectives]


def test_two_objectives_on_one_metric_stay_two() -> None:
    sure, likely = (
        "{metric: kl_mean, max: 0.1, confidence: 0.99, name: sure}",
        "{metric: kl_mean, max: 0.05, name: likely}",
    )
    gate = load_gate(f"{{name: own, confidence: 0.9, objectives: [{sure}, {likely}]}}")
    found = parse_quality_limits(write_quality_limits(gate)).objectives
    assert [(each.max, each.confidence) for each in found] == [(0.1, 0.99), (0.05, 0.9)]
    assert found[1].title == "kl_mean max 0.05 at 0.9"


def test_gate_without_quality_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"gate: 'fast': has no objective on quality.*add one on kl_mean"
    ):
        write_quality_limits(load_gate(LATENCY_ONLY))


@pytest.mark.parametrize(
    "limits",
    [
        "",
        "kl_mean",
        "kl_mean max much at 0.95",
        "kl_mean below 0.05 at 0.95",
        "speed max 1 at 0.95",
    ],
)
def test_other_text_is_refused(limits: str) -> None:
    with pytest.raises(InputError, match="limits"):
        parse_quality_limits(limits)
