"""Two models' predictions of the same tokens, reduced to sums."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

from greenlight.core.errors import GreenlightError, IntegrityError

if TYPE_CHECKING:
    import torch

TAIL = 0.99  # of tokens: kl_p99 is what so many do not exceed
CELLS = 1 << 23  # logits that are held in 32 bits at once: 32 MiB a copy
ROUNDING = (
    0.02  # nats that probabilities may miss 1 by: 16 bits miss a log-probability of -32 by 0.008
)


@dataclass
class Sums:
    """Over scored tokens. Losses and divergences in nats.

    Attributes:
        tokens: scored tokens.
        nll_baseline, nll_candidate: negative log-likelihood of the tokens that the text has.
        kl_sum: KL(baseline || candidate) of the predicted distributions.
        top1_agree: tokens whose most likely prediction is the same.
        kl: the divergence at each token, in their order.
        leads: at each token, how much likelier the candidate holds its own choice than the
            baseline's, in nats. 0 where they are the same.
    """

    tokens: int = 0
    nll_baseline: float = 0.0
    nll_candidate: float = 0.0
    kl_sum: float = 0.0
    top1_agree: int = 0
    kl: list[float] = field(default_factory=list)
    leads: list[float] = field(default_factory=list)

    def __iadd__(self, other: "Sums") -> "Sums":
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


class Predicted(NamedTuple):
    """What a model predicts after each of some tokens.

    Attributes:
        logprobs: log-probabilities in nats, of shape (tokens, vocabulary), in 32 or 16 bits.
        target: of the token that the text has there, in 32 bits.
        top1: the most likely token.
    """

    logprobs: "torch.Tensor"
    target: "torch.Tensor"
    top1: "torch.Tensor"


def predict(role: str, logits: "torch.Tensor", targets: list[int]) -> Iterator[Predicted]:
    """From logits of shape (tokens, vocabulary) in any floating type, so many tokens at a time as
    memory is meant for.

    Raises:
        GreenlightError: a logit is not finite.
    """
    import torch

    rows = max(1, CELLS // logits.shape[-1])
    wanted = torch.tensor(targets)[:, None]
    for start in range(0, len(targets), rows):
        values = logits[start : start + rows].float().log_softmax(-1)
        if not math.isfinite(values.sum().item()):
            raise GreenlightError(
                f"The {role} gives logits that are not finite (NaN or infinite): its weights are"
                " damaged or overflow. Make it again."
            )
        yield Predicted(
            values, values.gather(-1, wanted[start : start + rows])[:, 0], values.argmax(-1)
        )


def compare(baseline: Predicted, logits: "torch.Tensor", targets: list[int]) -> Sums:
    """Compare what the baseline predicts with the candidate's logits of shape (tokens, vocabulary).

    Raises:
        GreenlightError: the shapes differ, or a logit is not finite.
        IntegrityError: the baseline's are no log-probabilities.
    """
    if baseline.logprobs.shape != logits.shape:
        raise GreenlightError(
            f"The candidate predicts {logits.shape[-1]} tokens and the baseline"
            f" {baseline.logprobs.shape[-1]}: it is not made from this baseline."
        )
    sums = Sums(tokens=len(targets), nll_baseline=-baseline.target.double().sum().item())
    at = 0
    for q in predict("candidate", logits, targets):
        here = slice(at, at := at + len(q.target))
        p = _normalise(baseline.logprobs[here])
        sums.nll_candidate -= q.target.double().sum().item()
        sums.top1_agree += int((baseline.top1[here] == q.top1).sum())
        divergences = (p.exp() * (p - q.logprobs)).sum(-1)
        sums.kl_sum += divergences.double().sum().item()
        sums.kl += divergences.tolist()
        own, other = (
            q.logprobs.gather(-1, choice[:, None])[:, 0] for choice in (q.top1, baseline.top1[here])
        )
        sums.leads += (own - other).tolist()
    return sums


def _normalise(logprobs: "torch.Tensor") -> "torch.Tensor":
    """In 32 bits, and again of probabilities that add up to 1: those kept in 16 bits were
    rounded.
    """
    values = logprobs.float()
    total = values.logsumexp(-1, keepdim=True)
    if not total.abs().max().item() <= ROUNDING:
        raise IntegrityError(
            "What the reference holds are no log-probabilities: its file is damaged. Run the step"
            " reference again."
        )
    return values - total
