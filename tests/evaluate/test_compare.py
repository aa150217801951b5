import numpy as np
import pytest
from scipy.special import log_softmax

from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.evaluate.compare import DRAWN, TOP, Kept, Predicted, Sums, compare, keep, predict

torch = pytest.importorskip("torch")


def random_logits(seed: int, tokens: int = 50, vocabulary: int = 97):
    return torch.tensor(
        np.random.default_rng(seed).normal(0, 3, (tokens, vocabulary)), dtype=torch.float32
    )


def expected(logits, targets: list[int]) -> Kept:
    """As a reference holds all of it, in 32 bits."""
    parts = list(predict("baseline", logits, targets))
    logprobs, target, top1 = (
        torch.cat([getattr(part, name) for part in parts]) for name in Predicted._fields
    )
    return Kept(logprobs, target, top1, logits.shape[-1])


def expected_in_part(logits, targets: list[int]) -> Kept:
    """As a reference holds it of a large vocabulary."""
    parts = [keep(part, at) for at, part in enumerate(predict("baseline", logits, targets))]
    logprobs, target, top1, ids, rest = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("logprobs", "target", "top1", "ids", "rest")
    )
    return Kept(logprobs, target, top1, logits.shape[-1], ids, rest)


@pytest.mark.parametrize("cells", [97, 1000, 1 << 23])
def test_agrees_with_double_precision(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr("greenlight.evaluate.compare.CELLS", cells)
    baseline, candidate, targets = random_logits(1), random_logits(2), list(range(50))
    found = compare(expected(baseline, targets), candidate, targets)
    p, q = (
        log_softmax(baseline.double().numpy(), axis=1),
        log_softmax(candidate.double().numpy(), axis=1),
    )
    assert found.tokens == 50
    assert found.nll_baseline == pytest.approx(-p[range(50), targets].sum(), rel=1e-6)
    assert found.nll_candidate == pytest.approx(-q[range(50), targets].sum(), rel=1e-6)
    assert found.kl_sum == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-6)
    assert found.top1_agree == (p.argmax(1) == q.argmax(1)).sum()


def test_same_logits_do_not_diverge() -> None:
    logits = random_logits(3).bfloat16()
    found = compare(expected(logits, list(range(50))), logits.clone(), list(range(50)))
    assert found.kl_sum == pytest.approx(0, abs=1e-5)  # 50 tokens, normalised again in 32 bits
    assert found.top1_agree == 50
    assert found.nll_baseline == found.nll_candidate


def test_shift_of_all_logits_is_no_divergence() -> None:
    logits = random_logits(4)
    assert compare(
        expected(logits, list(range(50))), logits + 100, list(range(50))
    ).kl_sum == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("role", ["baseline", "candidate"])
def test_logits_that_are_not_finite_are_refused(value: float, role: str) -> None:
    good, bad = random_logits(5), random_logits(5)
    bad[17, 3] = value
    with pytest.raises(GreenlightError, match=f"The {role} gives logits that are not finite"):
        compare(
            expected(bad if role == "baseline" else good, list(range(50))),
            good if role == "baseline" else bad,
            list(range(50)),
        )


def test_other_vocabulary_is_refused() -> None:
    with pytest.raises(GreenlightError, match="predicts 60 tokens and the baseline 97"):
        compare(
            expected(random_logits(6), list(range(50))),
            random_logits(6, vocabulary=60),
            list(range(50)),
        )


def test_sums_add_up() -> None:
    sums = Sums()
    sums += Sums(2, 1.0, 2.0, 0.5, 1)
    sums += Sums(3, 1.5, 2.5, 0.25, 3)
    assert sums == Sums(5, 2.5, 4.5, 0.75, 4)


def test_sixteen_bits_change_a_divergence_by_millionths_of_a_nat() -> None:
    """A baseline of 128,000 words, peaked and flat predictions among them, against a candidate that
    is near it.
    """
    draw = np.random.default_rng(8)
    spread = np.linspace(0.3, 6, 40)[:, None]
    baseline = torch.tensor(draw.normal(0, 1, (40, 128_000)) * spread, dtype=torch.float32)
    candidate = baseline + torch.tensor(draw.normal(0, 0.1, (40, 128_000)), dtype=torch.float32)
    targets = list(range(40))
    exact = expected(baseline, targets)
    kept = exact._replace(logprobs=exact.logprobs.half())
    full, half = (compare(each, candidate, targets) for each in (exact, kept))
    assert full.kl_sum / 40 > 1e-3
    assert half.kl_sum / 40 == pytest.approx(full.kl_sum / 40, abs=1e-5)
    assert np.abs(np.subtract(half.kl, full.kl)).max() < 5e-5
    assert (half.nll_baseline, half.top1_agree) == (full.nll_baseline, full.top1_agree)


def test_what_is_no_distribution_is_refused() -> None:
    logits = random_logits(9)
    predictions = expected(logits, list(range(50)))
    shifted = predictions._replace(
        logprobs=torch.roll(predictions.logprobs.half(), 13).flip(0) * 1.1
    )
    with pytest.raises(IntegrityError, match="no log-probabilities"):
        compare(shifted, logits, list(range(50)))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("spread", [0.02, 3.0])
def test_what_is_kept_in_part_costs_little_of_a_divergence(spread: float, noise: float) -> None:
    """Of flat predictions, as an untrained model makes, and of peaked ones: what the draws miss is
    within 4 of the standard errors that are said, and these are below a tenth of a gate's 0.05.
    """
    draw, tokens = np.random.default_rng(12), 400
    baseline = torch.tensor(draw.normal(0, spread, (tokens, 16_000)), dtype=torch.float32)
    candidate = baseline + torch.tensor(draw.normal(0, noise, baseline.shape), dtype=torch.float32)
    targets = list(range(tokens))
    kept = expected_in_part(baseline, targets)
    assert kept.logprobs.shape == (tokens, TOP + DRAWN)
    exact, found = (
        compare(each, candidate, targets) for each in (expected(baseline, targets), kept)
    )
    error = found.kl_variance**0.5 / tokens
    assert error < 0.01 * noise + 1e-4
    assert abs(found.kl_sum - exact.kl_sum) / tokens < 4 * error + 1e-5
    assert (found.nll_baseline, found.nll_candidate, found.top1_agree, found.leads) == (
        exact.nll_baseline,
        exact.nll_candidate,
        exact.top1_agree,
        exact.leads,
    )


def test_draws_are_repeated() -> None:
    logits = random_logits(3, 5, 10_000)
    first, second = (expected_in_part(logits, list(range(5))) for _ in range(2))
    assert first.ids is not None and torch.equal(first.ids, second.ids)


def test_a_certain_prediction_leaves_no_rest() -> None:
    logits = torch.zeros(3, 10_000)
    logits[:, 7] = 1000.0
    kept = expected_in_part(logits, [7, 7, 7])
    assert kept.rest is not None and kept.rest.max() < 1e-30
    assert compare(kept, logits, [7, 7, 7]).kl_sum == pytest.approx(0, abs=1e-6)
