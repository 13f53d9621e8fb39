"""Scores of the movies in fixed pools under a retriever that is being trained: the same figures as search gives, differentiable and cheap.

A pool holds the M best movies of one query. What training does not change is computed once: cosine, co-occurrence, newcomers and features.
The rest is two products against the distinct movies of all pools: q W against their frozen text embeddings, so that no item vector is ever made,
and q against the residuals. Left out: movies outside the pools, which a round does not look at.
"""

from __future__ import annotations

import numpy as np
import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.network import Retriever
from rar_pipeline.retriever.newcomers import find_newcomers
from rar_pipeline.retriever.rescoring import features
from rar_pipeline.retriever.search import cooccurrence, known_numbers

NOWHERE = -1e9  # score of a place without a movie: no probability, and still a number
ROWS = 256  # queries at once, where no gradient is needed


class Pools:
    """Pools (n, M) of catalogue rows, row by row of `queries`; -1 where a catalogue had no more movies."""

    def __init__(
        self,
        retriever: Retriever,
        catalogue: Catalogue,
        known: list[str],
        queries: Queries,
        rows: np.ndarray,
        device: str = "cpu",
    ) -> None:
        self.queries, self.rows, self.device = queries, rows, device
        numbers = known_numbers(catalogue, known)
        history = {movie for movies in queries.histories for movie in movies}
        distinct = np.unique(np.concatenate([rows[rows >= 0].ravel(), np.array(sorted(history), np.int64)]))
        place = np.searchsorted(distinct, rows.clip(min=distinct[0] if len(distinct) else 0))
        self.distinct = distinct
        self.embeddings = torch.from_numpy(catalogue.embeddings[distinct].astype(np.float32)).to(device)  # (U, E)
        self.facts = torch.from_numpy(catalogue.facts[distinct]).to(device)  # (U, F)
        self.numbers = torch.from_numpy(numbers[distinct]).to(device)  # (U,) number of a known movie or -1
        self.place = torch.from_numpy(place).to(device)  # (n, M) in `distinct`
        self.empty = torch.from_numpy(rows < 0).to(device)  # (n, M)
        config = retriever.config
        self.newcomers = find_newcomers(catalogue, tuple(known), config.newcomers, config.newcomer_votes)
        self.traits = catalogue.traits
        self.fixed = self._fixed(retriever)  # (n, M)

    def __len__(self) -> int:
        return len(self.rows)

    @torch.no_grad()
    def _fixed(self, retriever: Retriever) -> Tensor:
        """The part of the scores that no training changes, and `NOWHERE` where there is no movie."""
        parts = []
        weight, forward = float(retriever.cooccurrence_weight), float(retriever.newcomer_weight)
        axes = self.embeddings @ retriever.axes.T  # (U, A)
        for start in range(0, len(self), ROWS):
            chosen = np.arange(start, min(start + ROWS, len(self)))
            batch, place = self.queries.batch(chosen.tolist()), self.place[chosen]
            text, has_text = batch.text.to(self.device), batch.has_text.to(self.device)
            cosine = (has_text.unsqueeze(-1) * ((text @ retriever.axes.T) @ axes.T)).gather(1, place)  # (b, M)
            histories = [self._numbers_of(self.queries.histories[row]) for row in chosen]
            sums = F.pad(cooccurrence(retriever, histories).to(self.device), (0, 1))
            number = self.numbers[place]
            together = sums.gather(1, number % sums.shape[1])  # numbers of -1 read the last column: zero
            part = retriever.config.cosine_weight * cosine + weight * together
            if forward:
                part = part + forward * self._alike(chosen)
            if self.traits is not None and retriever.rescores:
                named = retriever.named[number.clamp(min=0)] * (number >= 0)
                some = self.queries.some(chosen.tolist())
                learnt = (value.cpu().numpy() for value in (together, cosine, named))
                values = features(self.traits, some.histories, some.wishes, self.rows[chosen], *learnt)
                part = part + torch.from_numpy(values).to(self.device) @ retriever.feature_weights
            parts.append(part.masked_fill(self.empty[chosen], NOWHERE))
        return torch.cat(parts) if parts else self.place.float()

    def _alike(self, chosen: np.ndarray) -> Tensor:
        """How much the newcomers among some pools resemble a movie of the history, (b, M), 0 elsewhere."""
        found = np.zeros((len(chosen), self.rows.shape[1]), np.float32)
        for place, row in enumerate(chosen):
            for movie, likeness in self.newcomers.alike(self._numbers_of(self.queries.histories[row])).items():
                found[place, self.rows[row] == movie] = likeness
        return torch.from_numpy(found).to(self.device)

    def _numbers_of(self, movies: tuple[int, ...]) -> list[int]:
        return self.numbers[np.searchsorted(self.distinct, np.array(movies, np.int64))].tolist() if movies else []

    def scores(self, retriever: Retriever, chosen: np.ndarray) -> Tensor:
        """Scores (b, M) of some queries' pools; in eval mode those of `search`."""
        history, mask, *rest = (part.to(self.device) for part in self.queries.batch(chosen.tolist()))
        past_place = torch.from_numpy(np.searchsorted(self.distinct, history.cpu().numpy()) % max(1, len(self.distinct)))
        past_place = past_place.to(self.device)  # padding looks up some movie, which the mask hides
        past = retriever.vectors(self.embeddings[past_place.flatten()], self.numbers[past_place.flatten()])
        width = retriever.config.hidden
        query = retriever.query(past.view(*history.shape, -1), mask, *rest)[:, :width]  # (b, H)
        known = (self.numbers >= 0).to(query.dtype)
        by_movie = (query @ retriever.residual.T)[:, self.numbers.clamp(min=0)] * known  # (b, U)
        if retriever.project is not None:
            by_movie = by_movie + (query @ retriever.project.weight) @ self.embeddings.T
        by_movie = by_movie + retriever.biases(self.facts, self.numbers)
        return by_movie.gather(1, self.place[chosen]) + self.fixed[chosen]

    @torch.no_grad()
    def all_scores(self, retriever: Retriever) -> Tensor:
        """Scores (n, M) of all pools, without gradients or dropout."""
        training = retriever.training
        retriever.eval()
        starts = range(0, len(self), ROWS)
        parts = [self.scores(retriever, np.arange(start, min(start + ROWS, len(self)))) for start in starts]
        retriever.train(training)
        return torch.cat(parts) if parts else self.fixed

    def best(self, retriever: Retriever, k: int) -> np.ndarray:
        """Catalogue rows (n, k) of the best movies of every pool, best first, ties by row; -1 where there are fewer."""
        scores = self.all_scores(retriever).cpu().numpy()
        order = np.lexsort((self.rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(self.rows, order, axis=1)
