"""What makes a release new."""

import pytest

from components.resolve.parameters import Parameters
from components.resolve.work import fingerprint

BASE = Parameters()


@pytest.mark.parametrize("change", [{"method": "bnb"}, {"bits": 4}, {"engine": "openvino"}, {"replicas": 2}], ids=str)
def test_settings_of_the_release_make_it_new(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") != fingerprint(BASE, "c", "v")


@pytest.mark.parametrize("change", [{"gate": "x"}, {"prompts": "x"}, {"text": "x"}, {"model": "a/mirror"}, {"port": 1}], ids=str)
def test_what_only_judges_or_locates_it_does_not(change: dict[str, object]) -> None:
    assert fingerprint(BASE.model_copy(update=change), "c", "v") == fingerprint(BASE, "c", "v")


def test_commit_and_code_make_it_new() -> None:
    prints = {fingerprint(BASE, commit, code) for commit in "ab" for code in "vw"}
    assert len(prints) == 4


def test_bits_mean_nothing_without_a_method() -> None:
    plain = BASE.model_copy(update={"method": "none"})
    assert fingerprint(plain, "c", "v") == fingerprint(plain.model_copy(update={"bits": 4}), "c", "v")
