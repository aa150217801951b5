import numpy as np
import pytest
from scipy.special import log_softmax

from components.errors import GreenlightError
from components.evaluate.compare import Sums, compare

torch = pytest.importorskip("torch")


def random_logits(seed: int, tokens: int = 50, vocabulary: int = 97):
    return torch.tensor(np.random.default_rng(seed).normal(0, 3, (tokens, vocabulary)), dtype=torch.float32)


@pytest.mark.parametrize("cells", [97, 1000, 1 << 23])
def test_agrees_with_double_precision(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr("components.evaluate.compare.CELLS", cells)
    baseline, candidate, targets = random_logits(1), random_logits(2), list(range(50))
    found = compare(baseline, candidate, targets)
    p, q = log_softmax(baseline.double().numpy(), axis=1), log_softmax(candidate.double().numpy(), axis=1)
    assert found.tokens == 50
    assert found.nll_baseline == pytest.approx(-p[range(50), targets].sum(), rel=1e-6)
    assert found.nll_candidate == pytest.approx(-q[range(50), targets].sum(), rel=1e-6)
    assert found.kl_sum == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-6)
    assert found.top1_agree == (p.argmax(1) == q.argmax(1)).sum()


def test_same_logits_do_not_diverge() -> None:
    logits = random_logits(3).bfloat16()
    found = compare(logits, logits.clone(), list(range(50)))
    assert (found.kl_sum, found.top1_agree) == (0.0, 50)
    assert found.nll_baseline == found.nll_candidate


def test_shift_of_all_logits_is_no_divergence() -> None:
    logits = random_logits(4)
    assert compare(logits, logits + 100, list(range(50))).kl_sum == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("role", ["baseline", "candidate"])
def test_logits_that_are_not_finite_are_refused(value: float, role: str) -> None:
    good, bad = random_logits(5), random_logits(5)
    bad[17, 3] = value
    with pytest.raises(GreenlightError, match=f"The {role} gives logits that are not finite"):
        compare(*(bad, good) if role == "baseline" else (good, bad), list(range(50)))


def test_other_vocabulary_is_refused() -> None:
    with pytest.raises(GreenlightError, match="predicts 60 tokens and the baseline 97"):
        compare(random_logits(6), random_logits(6, vocabulary=60), list(range(50)))


def test_sums_add_up() -> None:
    sums = Sums()
    sums += Sums(2, 1.0, 2.0, 0.5, 1)
    sums += Sums(3, 1.5, 2.5, 0.25, 3)
    assert sums == Sums(5, 2.5, 4.5, 0.75, 4)
