"""The resources file: what is wrong in it is named with its key, its value and the fix."""

from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.pipelines.resources import ALL_STEPS, load_resources

GOOD = (
    "defaults: {cpu: 2, memory: 8Gi, timeout_minutes: 60, retries: {attempts: 0}}\nsteps:"
    " {quantize: {cpu: 8}}\n"
)


def load(tmp_path: Path, text: str):
    file = tmp_path / "resources.yaml"
    file.write_text(text)
    return load_resources(str(file))


def test_a_step_takes_from_the_defaults_what_it_does_not_say(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert set(found) == set(ALL_STEPS)
    assert (found["quantize"].cpu, found["quantize"].memory, found["gate"].cpu) == (8, "8Gi", 2)


def test_memory_is_counted_in_powers_of_ten(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD)["gate"].memory_gb == pytest.approx(8 * 1.073741824)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("cpu: 8", "cpu: none"), ["steps.quantize.cpu", "'none'", "number"]),
        (("cpu: 8", "cpu: 0"), ["steps.quantize.cpu", "0", "greater than 0"]),
        (("cpu: 8", "memory: 16GB"), ["steps.quantize.memory", "16GB", "16Gi"]),
        (("cpu: 8", "ram: 16Gi"), ["steps.quantize.ram", "no such key"]),
        (("cpu: 8", "accelerator: {type: L4}"), ["steps.quantize.accelerator.type", "L4"]),
        (
            ("cpu: 8", "accelerator: {type: nvidia-l4, count: 3}"),
            ["steps.quantize.accelerator.count", "3"],
        ),
        (("cpu: 8", "retries: {attempts: 99}"), ["steps.quantize.retries.attempts", "99", "10"]),
        (
            ("cpu: 8", "secrets: [{env: HF_TOKEN}]"),
            ["steps.quantize.secrets.0.kubernetes_secret", "missing"],
        ),
        (("quantize", "quantise"), ["quantise", "quantize"]),
        (("attempts: 0", "attempts: 1"), ["gate", "retries.attempts", "1", "verdict"]),
        (("memory: 8Gi, ", ""), ["defaults.memory", "missing"]),
        (("defaults: {", "defaults: ["), ["YAML"]),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_a_mistake_is_named(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        load(tmp_path, GOOD.replace(*change))
    for word in ["resources", *words]:
        assert word in str(raised.value)


def test_no_such_file() -> None:
    with pytest.raises(InputError, match=r"resources: '/no/such.yaml'"):
        load_resources("/no/such.yaml")
