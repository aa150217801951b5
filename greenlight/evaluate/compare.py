"""Two models' predictions of the same tokens, reduced to sums.

Of a large vocabulary the baseline's predictions are kept in part: the TOP likeliest tokens of each,
the summed probability r of all others (the rest), and DRAWN tokens drawn from the rest, each as
often as it is likely, with their log-probabilities. With p the baseline and q the candidate,

    KL = sum over the top of p log(p / q)  +  r * mean over the drawn of log(p / q)

The first sum is exact. The second is an unbiased estimate of what the rest adds, since the drawn
follow p within it (importance sampling; Owen, Monte Carlo theory, chapter 9). It is exactly 0 where
the models agree. The standard error of the mean over N tokens is

    sqrt(sum of r^2 s^2 / DRAWN) / N

where s is the standard deviation of log(p / q) within the rest of a token: `Sums.kl_variance` adds
up the terms, and the bootstrap over documents contains this error too, as the draws of documents
are independent. No sum alone could be bounded as well: that over the partition {top, rest} is a
lower bound of KL (data processing inequality; Cover and Thomas, Elements of Information Theory,
section 2.7), but what it lacks, r * KL within the rest, has no upper bound that is of use.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

from greenlight.core.errors import GreenlightError, IntegrityError

if TYPE_CHECKING:
    import torch

TAIL = 0.99  # of tokens: kl_p99 is what so many do not exceed
CELLS = 1 << 23  # logits that are held in 32 bits at once: 32 MiB a copy
WHOLE = 1 << 13
"""Entries of the largest vocabulary of which everything is kept."""
TOP, DRAWN = 1024, 64
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
        kl_variance: of kl_sum, from what the reference keeps in part. 0 where it keeps all.
    """

    tokens: int = 0
    nll_baseline: float = 0.0
    nll_candidate: float = 0.0
    kl_sum: float = 0.0
    top1_agree: int = 0
    kl: list[float] = field(default_factory=list)
    leads: list[float] = field(default_factory=list)
    kl_variance: float = 0.0

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


class Kept(NamedTuple):
    """What a reference holds of the baseline's predictions after each of some tokens.

    Attributes:
        logprobs: of shape (tokens, vocabulary), or (tokens, TOP + DRAWN), in 16 bits.
        target, top1: as predicted, in 32 bits.
        vocabulary: number of tokens that the model predicts among.
        ids: the token of each log-probability. None: all are there, in their order.
        rest: the probability of all tokens outside of the top, in 32 bits.
    """

    logprobs: "torch.Tensor"
    target: "torch.Tensor"
    top1: "torch.Tensor"
    vocabulary: int
    ids: "torch.Tensor | None" = None
    rest: "torch.Tensor | None" = None


LEAST = -65504.0  # the lowest number in 16 bits: what is less likely is as good as impossible


def keep(predicted: Predicted, seed: int) -> Kept:
    """What is kept of a baseline's predictions.

    Args:
        seed: of what is drawn.
    """
    import torch

    values, target, top1 = predicted
    vocabulary = values.shape[-1]
    if vocabulary <= WHOLE:
        return Kept(values.clamp(min=LEAST).half(), target, top1, vocabulary)
    top, ids = values.topk(TOP, sorted=False)
    # a rest that is as good as impossible can still be drawn from
    others = values.exp().clamp_(min=1e-37).scatter_(-1, ids, 0.0)
    drawn = others.multinomial(
        DRAWN, replacement=True, generator=torch.Generator(values.device).manual_seed(seed)
    )
    logprobs = torch.cat([top, values.gather(-1, drawn)], -1).clamp_(min=LEAST).half()
    return Kept(logprobs, target, top1, vocabulary, torch.cat([ids, drawn], -1), others.sum(-1))


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


def compare(baseline: Kept, logits: "torch.Tensor", targets: list[int]) -> Sums:
    """Compare what the baseline predicts with the candidate's logits of shape (tokens, vocabulary).

    Raises:
        GreenlightError: the shapes differ, or a logit is not finite.
        IntegrityError: the baseline's are no log-probabilities.
    """
    if (len(baseline.logprobs), baseline.vocabulary) != tuple(logits.shape):
        raise GreenlightError(
            f"The candidate predicts {logits.shape[-1]} tokens and the baseline"
            f" {baseline.vocabulary}: it is not made from this baseline."
        )
    sums = Sums(tokens=len(targets), nll_baseline=-baseline.target.double().sum().item())
    at = 0
    for q in predict("candidate", logits, targets):
        here = slice(at, at := at + len(q.target))
        sums.nll_candidate -= q.target.double().sum().item()
        sums.top1_agree += int((baseline.top1[here] == q.top1).sum())
        if baseline.ids is None or baseline.rest is None:
            p = _normalise(baseline.logprobs[here])
            divergences = (p.exp() * (p - q.logprobs)).sum(-1)
        else:
            divergences, variances = _estimate(
                baseline.logprobs[here], baseline.rest[here], q.logprobs, baseline.ids[here]
            )
            sums.kl_variance += variances.double().sum().item()
        sums.kl_sum += divergences.double().sum().item()
        sums.kl += divergences.tolist()
        own, other = (
            q.logprobs.gather(-1, choice[:, None])[:, 0] for choice in (q.top1, baseline.top1[here])
        )
        sums.leads += (own - other).tolist()
    return sums


def _estimate(
    logprobs: "torch.Tensor", rest: "torch.Tensor", candidate: "torch.Tensor", ids: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The divergence at each token from what is kept in part, and the variance of its estimate."""
    import torch

    q = candidate.gather(-1, ids)
    p = _normalise(torch.cat([logprobs[:, :-DRAWN].float(), rest.log()[:, None]], -1))[:, :-1]
    top = (p.exp() * (p - q[:, :-DRAWN])).sum(-1)
    ratios = logprobs[:, -DRAWN:].float() - q[:, -DRAWN:]
    return top + rest * ratios.mean(-1), rest.square() * ratios.var(-1) / DRAWN


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
