"""Two models' predictions of the same tokens, reduced to sums."""

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from components.errors import GreenlightError

if TYPE_CHECKING:
    import torch

TAIL = 0.99  # of tokens: kl_p99 is what so many do not exceed
CELLS = 1 << 23  # logits that are held in 32 bits at once: 32 MiB a copy


@dataclass
class Sums:
    """Over scored tokens. Losses and divergences in nats.

    Attributes:
        tokens: scored tokens.
        nll_baseline, nll_candidate: negative log-likelihood of the tokens that the text has.
        kl_sum: KL(baseline || candidate) of the predicted distributions.
        top1_agree: tokens whose most likely prediction is the same.
        kl: the divergence at each token, in their order.
    """

    tokens: int = 0
    nll_baseline: float = 0.0
    nll_candidate: float = 0.0
    kl_sum: float = 0.0
    top1_agree: int = 0
    kl: list[float] = field(default_factory=list)

    def __iadd__(self, other: "Sums") -> "Sums":
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def compare(baseline: "torch.Tensor", candidate: "torch.Tensor", targets: list[int]) -> Sums:
    """Compare logits of shape (tokens, vocabulary) in any floating type.

    Raises:
        GreenlightError: the shapes differ, or a logit is not finite.
    """
    import torch

    if baseline.shape != candidate.shape:
        raise GreenlightError(f"The candidate predicts {candidate.shape[-1]} tokens and the baseline {baseline.shape[-1]}: it is not made from this baseline.")
    sums = Sums(tokens=len(targets))
    rows = max(1, CELLS // baseline.shape[-1])
    wanted = torch.tensor(targets)[:, None]
    for start in range(0, len(targets), rows):
        p = _log_probabilities("baseline", baseline[start : start + rows])
        q = _log_probabilities("candidate", candidate[start : start + rows])
        target = wanted[start : start + rows]
        sums.nll_baseline -= p.gather(-1, target).double().sum().item()
        sums.nll_candidate -= q.gather(-1, target).double().sum().item()
        sums.top1_agree += int((p.argmax(-1) == q.argmax(-1)).sum())
        divergences = (p.exp() * (p - q)).sum(-1)
        sums.kl_sum += divergences.double().sum().item()
        sums.kl += divergences.tolist()
    return sums


def _log_probabilities(role: str, logits: "torch.Tensor") -> "torch.Tensor":
    values = logits.float().log_softmax(-1)
    if not math.isfinite(values.sum().item()):
        raise GreenlightError(f"The {role} gives logits that are not finite (NaN or infinite): its weights are damaged or overflow. Make it again.")
    return values
