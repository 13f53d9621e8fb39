"""Preference objectives: small functions from log-probabilities to a loss, named as in their papers."""

from __future__ import annotations

import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253


def plackett_luce_log_probability(logits: Tensor, places: Tensor) -> Tensor:
    """Log-probability of drawing sets in their order without replacement from softmax(logits).

    logits: (batch, M) of the pool; places: (batch, k) places in the pool in the order of the draw. Returns (batch,), in nats.
    log p = sum_i [ s_i - log( sum_j exp s_j - sum_{l < i} exp s_l ) ]   (Plackett 1975; Luce 1959).
    """
    chosen = logits.gather(1, places)  # (batch, k)
    members = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, places, True)
    outside = torch.logsumexp(logits.masked_fill(members, -torch.inf), dim=1, keepdim=True)  # (batch, 1)
    # what is left before draw i: the movies outside the set, and the set's members from i on
    left = torch.logcumsumexp(torch.cat([outside, chosen.flip(1)], dim=1), dim=1)[:, 1:].flip(1)  # (batch, k)
    return (chosen - left).sum(dim=1)


def dpo(
    winner: Tensor, loser: Tensor, reference_winner: Tensor, reference_loser: Tensor, *, beta: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Direct preference optimisation (Rafailov et al., 2023, eq. 7) with label smoothing e (cDPO, Mitchell 2023).

    All arguments: (batch,) log-probabilities of whole sets, in nats. Returns the mean loss
    -(1 - e) log sigma(m) - e log sigma(-m) and the margins m = beta [(winner - loser) - (reference_winner - reference_loser)], (batch,).
    """
    margin = beta * ((winner - loser) - (reference_winner - reference_loser))
    loss = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return loss.mean(), margin
