"""Training examples and query batches: cases as arrays of catalogue rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.retriever.catalogue import Catalogue

if TYPE_CHECKING:
    import torch

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> (n, E) unit-length embeddings

QUERY_CHARACTERS = 1200  # about what the default encoder reads


@dataclass(frozen=True)
class Queries:
    """What is asked for n cases: histories as catalogue rows, text embeddings (n, E) float16, whether there is text (n,) bool."""

    case_ids: tuple[str, ...]
    histories: tuple[tuple[int, ...], ...]
    text: np.ndarray
    has_text: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.case_ids)

    def batch(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Left-padded histories (b, L) int64 and mask (b, L) bool, text (b, E) and has_text (b,) float32 of the given rows; L >= 1."""
        import torch

        length = max(1, *(len(self.histories[row]) for row in rows))
        history = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), bool)
        for place, row in enumerate(rows):
            if items := self.histories[row]:
                history[place, -len(items) :] = items
                mask[place, -len(items) :] = True
        chosen = np.asarray(rows)
        return (
            torch.from_numpy(history),
            torch.from_numpy(mask),
            torch.from_numpy(self.text[chosen].astype(np.float32)),
            torch.from_numpy(self.has_text[chosen].astype(np.float32)),
        )


def query_text(context: str, turns: int) -> str:
    """The last turns of a context without the speakers' names: what the text encoder reads."""
    lines = [line.split(": ", 1)[-1] for line in context.split("\n")[-turns:]]
    return " ".join(lines)[-QUERY_CHARACTERS:].strip()


def build_queries(cases: pl.DataFrame, catalogue: Catalogue, encode: Encode, *, turns: int, max_history: int) -> Queries:
    """Queries of the table CASES, in its order."""
    texts = [query_text(context, turns) for context in cases["context"]]
    distinct = sorted({text for text in texts if text})
    vectors = encode(distinct) if distinct else np.zeros((0, catalogue.embeddings.shape[1]), np.float16)
    place = {text: number for number, text in enumerate(distinct)}
    text = np.zeros((len(texts), catalogue.embeddings.shape[1]), np.float16)
    for row, value in enumerate(texts):
        if value:
            text[row] = vectors[place[value]]
    histories = tuple(tuple(catalogue.rows(history)[-max_history:]) for history in cases["history"])
    return Queries(tuple(cases["case_id"]), histories, text, np.array([bool(value) for value in texts]))


def positives(cases: pl.DataFrame, catalogue: Catalogue) -> list[tuple[int, int]]:
    """(case row, movie row) of everything that may be taught: targets that the seeker did not dislike."""
    pairs = []
    for row, (targets, disliked) in enumerate(zip(cases["targets"], cases["disliked"], strict=True)):
        refused = set(disliked)
        pairs += [(row, catalogue.index[target]) for target in targets if target not in refused and target in catalogue.index]
    return pairs


def known_movies(mentions: pl.DataFrame, catalogue: Catalogue) -> list[str]:
    """movie_ids that training dialogues name at least twice, sorted.

    A movie named once is left unknown on purpose: as a target it teaches the path that unseen movies take.
    """
    counts: Counter[str] = Counter()
    for movie_ids in training_sets(mentions):
        counts.update(movie_ids)
    return sorted(movie_id for movie_id, count in counts.items() if count >= 2 and movie_id in catalogue.index)


def training_sets(mentions: pl.DataFrame) -> list[list[str]]:
    """Distinct linked movies of every training dialogue, in the order of dialogue_id, without what the seeker disliked."""
    linked = mentions.filter(
        (pl.col("split") == "train") & pl.col("movie_id").is_not_null() & (pl.col("liked").fill_null(1) != 0)
    )
    grouped = linked.group_by("dialogue_id").agg(pl.col("movie_id").unique().sort()).sort("dialogue_id")
    return grouped["movie_id"].to_list()
