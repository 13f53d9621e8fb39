"""Fusion of the retriever's scores with the LLM's order, and the weight of the LLM in it, fitted on validation cases only.

Both are standardised within the case, the scores as they are and the order by its places, and added. On the retriever's candidates of
validation cases, with simulated judges from chance to near oracle, this gained more than reciprocal ranks (Cormack et al., SIGIR 2009),
logarithms of ranks and unstandardised scores, except near an oracle, where all are alike (docs/judge.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rar_pipeline.preference.sampling import ndcg

GRID = tuple(step / 20 for step in range(21))  # weights of the LLM that are tried, smallest first
FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankedCase:
    """A case with both orders: the retriever's scores of its candidates, best first, and the LLM's order of them."""

    dialogue_id: str
    scores: Mapping[str, float]
    order: Sequence[str]
    targets: Sequence[str]


def fuse(retriever_scores: Mapping[str, float], llm_order: Sequence[str], weight: float) -> list[str]:
    """Movies by (1 - weight) x standardised score + weight x standardised place, best first.

    `retriever_scores`: movie_id -> score, best first, so that ties keep the retriever's order. Movies that the LLM left out share the place after
    its last; movies that it added share the lowest score. Weight 0 is the retriever's order, 1 the LLM's with what it left out behind. Raises
    ValueError for a weight outside 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight {weight}: expected 0 to 1")
    places = {movie: place for place, movie in enumerate(dict.fromkeys(llm_order))}
    movies = list(dict.fromkeys((*retriever_scores, *places)))
    lowest = min(retriever_scores.values(), default=0.0)
    scores = _standardised([retriever_scores.get(movie, lowest) for movie in movies])
    order = _standardised([-places.get(movie, len(places)) for movie in movies])
    best_first = np.argsort(-((1 - weight) * scores + weight * order), kind="stable")
    return [movies[number] for number in best_first]


def _standardised(values: Sequence[float]) -> Floats:
    """Values with mean 0 and standard deviation 1; zeros where all are equal."""
    found = np.asarray(values, np.float64)
    spread = found.std() if len(found) else 0.0
    return (found - found.mean()) / spread if spread else np.zeros_like(found)


def fit_weight(cases: Sequence[RankedCase]) -> float:
    """The weight of the LLM with the best mean N@10 of the fused order; the smallest of equals, so that a useless LLM gets none."""
    return _best(_gains(cases))


def cross_fitted_weights(cases: Sequence[RankedCase], seed: int, folds: int = FOLDS) -> list[float]:
    """For each case the weight fitted on the other folds; a conversation lies in one fold, so that no case helps to choose its own weight.

    Raises ValueError for fewer than two folds.
    """
    if folds < 2:
        raise ValueError(f"{folds} folds: at least two are needed")
    _, dialogue = np.unique([case.dialogue_id for case in cases], return_inverse=True)
    drawn = np.random.default_rng([seed, 5]).permutation(int(dialogue.max(initial=-1)) + 1)
    fold = drawn[dialogue] % folds
    gains = _gains(cases)
    of_fold = [_best(gains[:, fold != number]) for number in range(folds)]
    return [of_fold[number] for number in fold]


def _gains(cases: Sequence[RankedCase]) -> Floats:
    """N@10 of every weight of the grid on every case, (weights, cases)."""
    found = [[ndcg(fuse(case.scores, case.order, weight), case.targets) for case in cases] for weight in GRID]
    return np.array(found, np.float64).reshape(len(GRID), len(cases))


def _best(gains: Floats) -> float:
    if not gains.shape[1]:
        return GRID[0]
    # equal means may differ in their last bits
    return GRID[int(np.argmax(gains.mean(axis=1).round(12)))]
