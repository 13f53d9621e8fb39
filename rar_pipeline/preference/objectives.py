"""Preference objectives: small functions from log-probabilities to a loss, named as in their papers.

Shapes: b contexts, M movies in a context's pool, G candidate sets of a context, k movies in a set, p preference pairs. All logarithms are natural.
Nothing here knows of the retriever, and each loss is a mean, so that losses of different batches compare. `training.py` adds what they share: the
cross-entropy on the target and, for those that have no reference of their own, the divergence from the reference.
"""

from __future__ import annotations

import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253


def plackett_luce_log_probability(logits: Tensor, places: Tensor) -> Tensor:
    """Log-probability of drawing sets in their order without replacement from softmax(logits).

    logits: (b, M) of the pool; places: (b, ..., k) places in the pool in the order of the draw. Returns (b, ...), in nats.
    log p = sum_i [ s_i - log( sum_j exp s_j - sum_{l < i} exp s_l ) ]   (Plackett 1975; Luce 1959).
    """
    lowest = torch.finfo(
        logits.dtype
    ).min  # not -inf: where a set is its whole pool, nothing is left outside, and the gradient must stay a number
    pool = logits.view(len(logits), *(1,) * (places.ndim - 2), -1).expand(*places.shape[:-1], logits.shape[-1])  # (b, ..., M)
    chosen = pool.gather(-1, places)  # (b, ..., k)
    members = torch.zeros_like(pool, dtype=torch.bool).scatter(-1, places, True)
    outside = torch.logsumexp(pool.masked_fill(members, lowest), dim=-1, keepdim=True)  # (b, ..., 1)
    # what is left before draw i: the movies outside the set, and the set's members from i on
    left = torch.logcumsumexp(torch.cat([outside, chosen.flip(-1)], dim=-1), dim=-1)[..., 1:].flip(-1)  # (b, ..., k)
    return (chosen - left).sum(dim=-1)


def independent_log_probability(logits: Tensor, places: Tensor) -> Tensor:
    """The plain sum of a set's log-probabilities, as if its movies were drawn with replacement: sum_i log softmax(s)_i.

    Shapes as in `plackett_luce_log_probability`. In a difference of two sets all normalisers cancel and with them every movie that both hold.
    """
    logs = logits.log_softmax(dim=-1)
    return logs.view(len(logits), *(1,) * (places.ndim - 2), -1).expand(*places.shape[:-1], -1).gather(-1, places).sum(dim=-1)


def dpo(
    winner: Tensor, loser: Tensor, reference_winner: Tensor, reference_loser: Tensor, *, beta: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Direct preference optimisation (Rafailov et al., 2023, eq. 7) with label smoothing e (cDPO, Mitchell 2023).

    All arguments: (p,) log-probabilities of whole sets, in nats. Returns the mean loss
    -(1 - e) log sigma(m) - e log sigma(-m) and the margins m = beta [(winner - loser) - (reference_winner - reference_loser)], (p,).
    """
    margin = beta * ((winner - loser) - (reference_winner - reference_loser))
    loss = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return loss.mean(), margin


def odds(logits: Tensor, winner: Tensor, loser: Tensor, *, beta: float) -> Tensor:
    """Odds-ratio preference between sets, without a reference (PRIME, KDD 2025, after ORPO, Hong et al. 2024, eq. 6 and 7).

    logits: (p, M); winner, loser: (p, k) places. loss = -beta log sigma( log odds(P_w) - log odds(P_l) ), odds(P) = P / (1 - P), with P_S the mean
    probability of the set's movies under softmax(logits). The cross-entropy that belongs to it is added by the trainer.
    """
    logs = logits.log_softmax(dim=-1)

    def log_odds(places: Tensor) -> Tensor:
        mean = torch.logsumexp(logs.gather(1, places), dim=1) - torch.log(torch.tensor(float(places.shape[1])))
        return mean - torch.log1p(-mean.exp().clamp(max=1 - 1e-6))  # a set of one movie may have all the probability

    return -beta * F.logsigmoid(log_odds(winner) - log_odds(loser)).mean()


def mult_dpo(policy: Tensor, reference: Tensor, positives: Tensor, negatives: Tensor, *, beta: float) -> Tensor:
    """Multinomial DPO over sets of positives and negatives (Zhu et al., "Mult-DPO", arXiv 2606.10078).

    policy, reference: (b, M) log-probabilities; positives, negatives: (b, M) bool, disjoint. With r = beta (policy - reference),
    loss = -sum over positives j of ( r_j - log sum over positives and negatives l of exp r_l ), the mean over contexts that have both; 0 without one.
    """
    held = positives.any(dim=1) & negatives.any(dim=1)
    rewards = beta * (policy - reference)[held]  # (h, M)
    among = (positives | negatives)[held]
    total = torch.logsumexp(rewards.masked_fill(~among, torch.finfo(rewards.dtype).min), dim=1, keepdim=True)
    return -((rewards - total) * positives[held]).sum() / max(len(rewards), 1)


def pl_rloo(log_probabilities: Tensor, rewards: Tensor, drawn: Tensor, *, size: int) -> Tensor:
    """REINFORCE leave-one-out on whole sets (Kool et al. 2019; Ahmadian et al. 2024, eq. 8): -A_i log p(S_i) / k, A_i = R_i - mean of the others' R.

    log_probabilities, rewards: (b, G); drawn: (b, G) bool, the sets that count: drawn from the policy, and rewarded. size: k. Mean over the sets of
    contexts with at least two; 0 without one. Over draws of the sets its gradient is that of -E[R] / k, whatever else was drawn.
    """
    count = drawn.sum(dim=1, keepdim=True)  # (b, 1)
    usable = drawn & (count >= 2)
    known = rewards.masked_fill(~drawn, 0.0)
    others = (known.sum(dim=1, keepdim=True) - known) / (count - 1).clamp(min=1)
    advantage = (known - others).masked_fill(~usable, 0.0)
    return -(advantage * log_probabilities.masked_fill(~usable, 0.0)).sum() / (usable.sum().clamp(min=1) * size)


def lambda_credit(policy: Tensor, credits: Tensor) -> Tensor:
    """Credit for single movies from ranked answers (ours; the credit is what LambdaRank, Burges 2010, calls the change of NDCG by a move).

    policy: (b, M) log-probabilities; credits: (b, M), see `credit.movie_credits`. loss = -sum_j a_j log pi(j), the mean over contexts.
    """
    return -(credits * policy).sum(dim=1).mean()


def divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) in nats, (b,). Arguments: (b, M) log-probabilities of a pool."""
    return (policy.exp() * (policy - reference)).sum(dim=1)
