"""Exact search: the best movies of the whole catalogue for a batch of queries, movies of the history left out, ties in the order of movie_id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries

if TYPE_CHECKING:
    import torch

    from rar_pipeline.retriever.network import Retriever

ROWS = 64  # queries scored at once: 64 x 300,000 float32 scores are 77 MB


@dataclass(frozen=True)
class Index:
    """A retriever laid out for search over one catalogue: `vectors` (N, H), `biases` (N,), `known` (N,) residual number or -1."""

    retriever: Retriever
    vectors: torch.Tensor
    biases: torch.Tensor
    known: torch.Tensor
    known_rows: torch.Tensor  # (K,) catalogue row of every known movie, -1 where the corpus lost it


def known_numbers(catalogue: Catalogue, known: list[str]) -> np.ndarray:
    """For each catalogue row the number of its residual, or -1: (N,) int64."""
    numbers = np.full(len(catalogue.movie_ids), -1, np.int64)
    for number, movie_id in enumerate(known):
        if movie_id in catalogue.index:
            numbers[catalogue.index[movie_id]] = number
    return numbers


def build_index(retriever: Retriever, catalogue: Catalogue, known: list[str]) -> Index:
    """All item vectors and biases under the retriever's present weights, on its device."""
    import torch

    device = retriever.start.device
    numbers = torch.from_numpy(known_numbers(catalogue, known)).to(device)
    rows = torch.tensor([catalogue.index.get(movie_id, -1) for movie_id in known], dtype=torch.long, device=device)
    with torch.no_grad():
        parts = []
        for start in range(0, len(numbers), 65536):
            items = torch.from_numpy(catalogue.embeddings[start : start + 65536].astype(np.float32)).to(device)
            parts.append(retriever.vectors(items, numbers[start : start + 65536]))
        biases = retriever.biases(torch.from_numpy(catalogue.facts).to(device), numbers)
    return Index(retriever, torch.cat(parts), biases, numbers, rows)


def scores(index: Index, queries: Queries, rows: list[int], cooccurrence_weight: float | None = None) -> torch.Tensor:
    """Scores (len(rows), N) of all movies for some queries; movies of the history are -inf."""
    import torch

    retriever, device = index.retriever, index.vectors.device
    history, mask, text, has_text = (part.to(device) for part in queries.batch(rows))
    with torch.no_grad():
        found = retriever.query(index.vectors[history], mask, text, has_text) @ index.vectors.T + index.biases
        weight = float(retriever.cooccurrence_weight) if cooccurrence_weight is None else cooccurrence_weight
        for place, row in enumerate(rows):
            items = torch.tensor(sorted(set(queries.histories[row])), dtype=torch.long, device=device)
            numbers = index.known[items]
            numbers = numbers[numbers >= 0]
            if weight and len(numbers):
                columns = index.known_rows[retriever.cooccurrence_columns[numbers].long().flatten()]
                values = retriever.cooccurrence_values[numbers].flatten() * (columns >= 0)
                found[place].index_add_(0, columns.clamp(min=0), values * weight)
            found[place, items] = -torch.inf
    return found


def search(index: Index, queries: Queries, k: int, cooccurrence_weight: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Catalogue rows (n, k) int64 and scores (n, k) float32 of the k best movies of every query, best first."""
    index.retriever.eval()
    k = min(k, len(index.biases))
    found_rows, found_scores = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    for start in range(0, len(queries), ROWS):
        rows = list(range(start, min(start + ROWS, len(queries))))
        block = scores(index, queries, rows, cooccurrence_weight)
        top_scores, top_rows = exact_top(block, k)
        found_rows[rows], found_scores[rows] = top_rows.cpu().numpy(), top_scores.cpu().numpy()
    return found_rows, found_scores


def exact_top(block: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of each row of (b, N) scores and their columns, equal scores by column: `topk` promises no order among equals."""
    import torch

    values, columns = block.topk(k, dim=1)
    crowded = ((block >= values[:, -1:]).sum(dim=1) > k).nonzero().flatten()  # equals of the last place that were left out
    for row in crowded.tolist():
        best = (block[row] >= values[row, -1]).nonzero().flatten()
        order = torch.sort(block[row, best], descending=True, stable=True).indices[:k]
        columns[row], values[row] = best[order], block[row, best[order]]
    columns, by_column = columns.sort(dim=1)
    values = values.gather(1, by_column)
    values, by_score = values.sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, by_score)
