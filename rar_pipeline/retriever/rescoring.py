"""What facts say for the best movies, added to their scores: a conditional logit over a few features (McFadden, 1974; ListNet's top-one loss).

The network reads a conversation as one vector, in which a name or the word "western" is easily lost, and it learnt how much to trust its parts on the
dialogues that it knows by heart. Here each of the best movies of a query gets w . features added, and w is fitted on validation cases, where
nothing was learnt by heart: softmax over the movies, negative log-likelihood of the recommended ones, a quadratic penalty. A free factor on the
score itself is fitted beside w, which is then divided by it, so that scores keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rar_pipeline.retriever.traits import Traits, Wish

if TYPE_CHECKING:
    import torch

FEATURES = (
    "together",  # co-occurrence with the history, as in the score
    "cosine",  # of the texts of conversation and movie, in the axes of the score
    "named",  # log(1 + how many training dialogues name it)
    "votes",  # log10(1 + votes)
    "rating",
    "genres asked for",  # how many of the genres that the conversation names it has
    "genres shared",  # its genres against those of each movie of the history: Jaccard, mean
    "people asked for",  # how many of its people the conversation names, at most MOST_COUNTED
    "people shared",  # how many of its people took part in a movie of the history, likewise
    "years apart",  # decades between it and the mean of the history; 1 without history
    "decade asked for",  # whether it is of a decade that the seeker names
    "new asked for",  # decades since 2000, where the seeker wants something new
    "old asked for",  # the same, where the seeker wants something old
    "genres refused",  # how many of the genres that the seeker does not want it has
)
# what is asked for never counts against a movie, what is refused never for it, whatever a few cases say
SIGNS = {
    "genres asked for": 1,
    "people asked for": 1,
    "decade asked for": 1,
    "new asked for": 1,
    "old asked for": -1,
    "genres refused": -1,
}
MOST_COUNTED = 3
PENALTY = 100.0  # of the squared weights, features standardised, beside the loss in nats of all targets
FOLDS = 5
MOST_CASES = 5_000  # of validation that weights are fitted on, evenly spread: enough for so few weights


def features(
    traits: Traits,
    histories: Sequence[Sequence[int]],
    wishes: Sequence[Wish],
    rows: np.ndarray,
    together: np.ndarray,
    cosine: np.ndarray,
    named: np.ndarray,
) -> np.ndarray:
    """FEATURES (b, M, F) float32 of the catalogue rows (b, M) of b queries; a row of -1 gets some movie's.

    together, cosine, named: (b, M), what the retriever knows of them.
    """
    found = np.zeros((*rows.shape, len(FEATURES)), np.float32)
    of = {name: found[..., place] for place, name in enumerate(FEATURES)}  # what is written here stands in `found`
    of["together"][:], of["cosine"][:], of["named"][:] = together, cosine, named
    of["votes"][:], of["rating"][:] = traits.facts[rows, 0], traits.rating[rows]
    of["years apart"][:] = 1.0
    for place, (history, wish) in enumerate(zip(histories, wishes, strict=True)):
        movies, past = rows[place], list(history)
        genres = traits.genres[movies].astype(np.float32)  # (M, G)
        of["genres asked for"][place] = genres[:, sorted(wish.genres)].sum(axis=1)
        of["genres refused"][place] = genres[:, sorted(wish.refused)].sum(axis=1)
        year = 2020 - 10 * traits.facts[movies, 2]
        of["decade asked for"][place] = np.isin(np.floor(year / 10 + 1e-3) * 10, sorted(wish.decades))
        of["new asked for"][place] = wish.new * (year - 2000) / 10
        of["old asked for"][place] = wish.old * (year - 2000) / 10
        who = np.zeros((traits.people.shape[1], 2), np.float32)  # of each person: asked for, in the history
        who[sorted(wish.people), 0] = 1
        if past:
            before = traits.genres[past].astype(np.float32)  # (L, G)
            both = genres @ before.T  # (M, L)
            either = genres.sum(axis=1, keepdims=True) + before.sum(axis=1) - both
            of["genres shared"][place] = (both / np.maximum(either, 1)).mean(axis=1)
            who[traits.people[past].indices, 1] = 1
            of["years apart"][place] = np.abs(traits.facts[movies, 2] - traits.facts[past, 2].mean())
        if who.any():
            counted = np.minimum(traits.people[movies] @ who, MOST_COUNTED)
            of["people asked for"][place], of["people shared"][place] = counted.T
    return found


def fit_weights(scores: np.ndarray, found: np.ndarray, wanted: np.ndarray, signs: Sequence[int] | None = None) -> np.ndarray:
    """Weights (F,) of features `found` (n, M, F) beside `scores` (n, M), by which the `wanted` (n, M) bool movies are likeliest; 0 where none is.

    Scores of places without a movie are -inf. `signs` (F,), 1, -1 or 0 for either: a weight of the other sign is left out, and the rest
    are fitted again.
    """
    import torch

    there = wanted.any(axis=1)
    if not there.any():
        return np.zeros(found.shape[-1], np.float32)
    empty = ~np.isfinite(scores[there])
    mean, scale = found[there][~empty].mean(axis=0), found[there][~empty].std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)  # what is the same everywhere says nothing
    x = torch.from_numpy(((found[there] - mean) / scale).astype(np.float64))
    score = torch.from_numpy(np.where(empty, 0.0, scores[there]).astype(np.float64))
    mask, y = torch.from_numpy(empty), torch.from_numpy(wanted[there].astype(np.float64))
    kept, wanted_signs = np.ones(x.shape[-1], bool), np.zeros(x.shape[-1]) if signs is None else np.asarray(signs)
    while True:
        weights, trust = _likeliest(score, x[..., torch.from_numpy(kept)], y, mask)
        wrong = weights * wanted_signs[kept] < 0
        if not wrong.any():
            break
        kept[np.flatnonzero(kept)[wrong]] = False
    fitted = np.zeros(len(kept), np.float32)
    if trust > 0:  # else the score itself would count against a movie: nothing to go by
        fitted[kept] = weights / scale[kept] / trust
    return fitted


def _likeliest(score: torch.Tensor, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> tuple[np.ndarray, float]:
    """Weights (F,) of standardised x (n, M, F) and the factor on `score` (n, M) by which the movies y (n, M) are likeliest; `mask`: no movie."""
    import torch

    weights, factor = torch.zeros(x.shape[-1], dtype=torch.float64), torch.ones((), dtype=torch.float64)
    optimiser = torch.optim.LBFGS(
        [weights.requires_grad_(), factor.requires_grad_()], max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = (factor * score + x @ weights).masked_fill(mask, -1e9)
        loss = -(torch.log_softmax(logits, dim=1) * y).sum() + PENALTY * (weights**2).sum()
        loss = loss / y.sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights.detach().numpy(), factor.item()
