"""The weights of a retriever's score that are fitted on validation cases: of co-occurrence, of newcomers and of the features of the best.

On the dialogues that the network has learnt from, its own score knows the answers and co-occurrence looks better than it is, so training leaves
these weights out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from rar_pipeline.files import digest
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.ranking_quality import ndcg, ndcg_by_case
from rar_pipeline.retriever.rescoring import FEATURES, FOLDS, MOST_CASES, SIGNS, fit_weights

if TYPE_CHECKING:
    from rar_pipeline.retriever.network import Retriever

COOCCURRENCE_WEIGHTS = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)
NEWCOMER_WEIGHTS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0)


@dataclass(frozen=True)
class Fitting:
    """What weights are fitted on: validation cases and their queries, over a catalogue, `known` as the retriever knows it.

    A part that the retriever's configuration leaves out keeps the weight zero.
    """

    catalogue: Catalogue
    known: list[str]
    queries: Queries
    cases: pl.DataFrame
    log: Callable[[str], None]

    def cooccurrence(self, retriever: Retriever) -> None:
        """Give co-occurrence the weight of the best N@50 (what is found, and how far up)."""
        import torch

        if retriever.config.neighbours:
            found = self._ndcg_by_weight(retriever, "cooccurrence_weight", COOCCURRENCE_WEIGHTS)
            best = max(found, key=lambda weight: (found[weight], -weight))
            retriever.cooccurrence_weight = torch.tensor(best)
            self.log(f"co-occurrence weight: validation N@50 {_listed(found)}; kept {best:g}")

    def newcomers(self, retriever: Retriever) -> None:
        """Give newcomers the weight of the best N@50; of equal ones the largest, which shows most of the corpus."""
        import torch

        if retriever.config.newcomers:
            found = self._ndcg_by_weight(retriever, "newcomer_weight", NEWCOMER_WEIGHTS)
            best = max(found, key=lambda weight: (found[weight], weight))
            retriever.newcomer_weight = torch.tensor(best)
            self.log(f"newcomer weight: validation N@50 {_listed(found)}; kept {best:g}")

    def features(self, retriever: Retriever) -> None:
        """Give the features the weights that are likeliest, if they help.

        They do where N@50 rises when each dialogue is ranked by weights fitted on others (five folds): as for the other weights, the better one is
        kept, since on some hundred cases a standard error is as large as what they usually gain.
        """
        import torch

        from rar_pipeline.retriever.search import build_index, features_of, search

        if not retriever.config.rescored or self.catalogue.traits is None or not len(self.queries):
            return
        some = range(0, len(self.queries), -(-len(self.queries) // MOST_CASES))
        queries, cases = self.queries.some(some), self.cases[list(some)]
        index = build_index(retriever, self.catalogue, self.known)
        rows, scores = search(index, queries, retriever.config.rescored)
        found = features_of(index, queries, rows)
        wanted = np.array(
            [
                np.isin(row, self.catalogue.rows([target for target in targets if target not in set(refused)]))
                for row, targets, refused in zip(rows, cases["targets"], cases["disliked"], strict=True)
            ]
        )
        fold = np.array([int(digest("features", dialogue), 16) % FOLDS for dialogue in cases["dialogue_id"]])
        signs = [SIGNS.get(name, 0) for name in FEATURES]
        ranked = rows.copy()
        for number in range(FOLDS):
            mine = fold == number
            values = scores[mine] + found[mine] @ fit_weights(scores[~mine], found[~mine], wanted[~mine], signs)
            ranked[mine] = np.take_along_axis(rows[mine], np.lexsort((rows[mine], -values), axis=1), axis=1)
        before, after = (ndcg_by_case(lists[:, :50], cases, self.catalogue) for lists in (rows, ranked))
        gain, error = (after - before).mean(), (after - before).std() / np.sqrt(len(cases))
        helps = bool(gain > 0)
        told = f"validation N@50 {before.mean():.4f}, with them {after.mean():.4f} (standard error of the gain {error:.4f}, {FOLDS} folds)"
        self.log(f"features: {told}; {'kept' if helps else 'left out'}")
        if helps:
            retriever.feature_weights = torch.from_numpy(fit_weights(scores, found, wanted, signs))
            weights = zip(FEATURES, retriever.feature_weights.tolist(), strict=True)
            self.log("weights of features: " + ", ".join(f"{name} {weight:.3g}" for name, weight in weights))

    def _ndcg_by_weight(
        self, retriever: Retriever, name: Literal["cooccurrence_weight", "newcomer_weight"], weights: tuple[float, ...]
    ) -> dict[float, float]:
        """N@50 under every weight of a part of the score."""
        from rar_pipeline.retriever.search import build_index, search

        index = build_index(retriever, self.catalogue, self.known)
        lists = {weight: search(index, self.queries, 50, **{name: weight})[0] for weight in weights}
        return {weight: ndcg(found, self.cases, self.catalogue) for weight, found in lists.items()}


def _listed(quality: dict[float, float]) -> str:
    return ", ".join(f"{weight:g}: {value:.4f}" for weight, value in quality.items())
