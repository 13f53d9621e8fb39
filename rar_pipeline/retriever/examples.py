"""Training examples and query batches: cases as arrays of catalogue rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.traits import Wish

if TYPE_CHECKING:
    import torch

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> (n, E) unit-length embeddings

QUERY_CHARACTERS = 1200  # about what the default encoder reads
NOBODY, SEEKER, RECOMMENDER = 0, 1, 2  # who speaks in a turn


class Batch(NamedTuple):
    """Queries as tensors. Movies are catalogue rows; what is padded comes first in a history, last among the turns."""

    history: torch.Tensor  # (b, L) int64, L >= 1
    mask: torch.Tensor  # (b, L) bool, False at padding
    text: torch.Tensor  # (b, E) float32: the last turns embedded together
    has_text: torch.Tensor  # (b,) float32, 0 or 1
    turns: torch.Tensor  # (b, T, E) float32: the last turns embedded one by one, the newest first
    speakers: torch.Tensor  # (b, T) int64: NOBODY at padding, SEEKER or RECOMMENDER


@dataclass(frozen=True)
class Queries:
    """What is asked for n cases: histories as catalogue rows, text embeddings (n, E) float16, whether there is text (n,) bool.

    The last turns one by one, the newest first: `turns` (n, T) int32 rows of `turn_vectors` (U, E) float16, and who spoke, `speakers` (n, T) int8.
    `wishes`: the genres and people that each conversation names; empty where the catalogue has no traits.
    """

    case_ids: tuple[str, ...]
    histories: tuple[tuple[int, ...], ...]
    text: np.ndarray
    has_text: np.ndarray
    turns: np.ndarray
    speakers: np.ndarray
    turn_vectors: np.ndarray
    wishes: tuple[Wish, ...] = ()

    def __len__(self) -> int:
        """N."""
        return len(self.case_ids)

    def some(self, rows: Sequence[int]) -> Queries:
        """The queries of some rows, in their order."""
        chosen = np.asarray(rows, np.int64)
        return replace(
            self,
            case_ids=tuple(self.case_ids[row] for row in rows),
            histories=tuple(self.histories[row] for row in rows),
            text=self.text[chosen],
            has_text=self.has_text[chosen],
            turns=self.turns[chosen],
            speakers=self.speakers[chosen],
            wishes=tuple(self.wishes[row] for row in rows) if self.wishes else (),
        )

    def batch(self, rows: Sequence[int]) -> Batch:
        """The queries of the given rows as tensors."""
        import torch

        length = max(1, *(len(self.histories[row]) for row in rows))
        history = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), bool)
        for place, row in enumerate(rows):
            if items := self.histories[row]:
                history[place, -len(items) :] = items
                mask[place, -len(items) :] = True
        chosen = np.asarray(rows, np.int64)
        speakers = self.speakers[chosen].astype(np.int64)
        turns = (
            self.turn_vectors[self.turns[chosen]] if len(self.turn_vectors) else np.zeros((*speakers.shape, self.text.shape[1]))
        )
        return Batch(
            torch.from_numpy(history),
            torch.from_numpy(mask),
            torch.from_numpy(self.text[chosen].astype(np.float32)),
            torch.from_numpy(self.has_text[chosen].astype(np.float32)),
            torch.from_numpy(turns.astype(np.float32)),
            torch.from_numpy(speakers),
        )


def query_text(context: str, turns: int) -> str:
    """The last turns of a context without the speakers' names: what the text encoder reads."""
    lines = [line.split(": ", 1)[-1] for line in context.split("\n")[-turns:]]
    return " ".join(lines)[-QUERY_CHARACTERS:].strip()


def query_turns(context: str, turns: int) -> list[tuple[int, str]]:
    """Speaker and words of the last turns of a context, the newest first: what the text encoder reads one by one."""
    lines = [line.partition(": ") for line in context.split("\n")[-turns:] if line]
    return [(SEEKER if speaker == "Seeker" else RECOMMENDER, words[:QUERY_CHARACTERS]) for speaker, _, words in reversed(lines)]


def build_queries(cases: pl.DataFrame, catalogue: Catalogue, encode: Encode, *, turns: int, max_history: int) -> Queries:
    """Queries of the table CASES, in its order; of the conversation the last `turns` are read."""
    texts = [query_text(context, turns) for context in cases["context"]]
    spoken = [query_turns(context, turns) for context in cases["context"]]
    distinct = sorted({text for text in texts if text} | {words for said in spoken for _, words in said})
    vectors = encode(distinct) if distinct else np.zeros((0, catalogue.embeddings.shape[1]), np.float16)
    place = {text: number for number, text in enumerate(distinct)}
    text = np.zeros((len(texts), catalogue.embeddings.shape[1]), np.float16)
    rows, speakers = np.zeros((len(texts), turns), np.int32), np.zeros((len(texts), turns), np.int8)
    for row, (value, said) in enumerate(zip(texts, spoken, strict=True)):
        if value:
            text[row] = vectors[place[value]]
        for turn, (speaker, words) in enumerate(said):
            rows[row, turn], speakers[row, turn] = place[words], speaker
    histories = tuple(tuple(catalogue.rows(history)[-max_history:]) for history in cases["history"])
    wishes = tuple(catalogue.traits.wish(context) for context in cases["context"]) if catalogue.traits else ()
    has_text = np.array([bool(value) for value in texts])
    return Queries(tuple(cases["case_id"]), histories, text, has_text, rows, speakers, vectors, wishes)


def positives(cases: pl.DataFrame, catalogue: Catalogue) -> list[tuple[int, int]]:
    """(case row, movie row) of everything that may be taught: targets that the seeker did not dislike."""
    return _targets(cases, catalogue, disliked=False)


def refusals(cases: pl.DataFrame, catalogue: Catalogue) -> list[tuple[int, int]]:
    """(case row, movie row) of the targets that the seeker disliked: they count against."""
    return _targets(cases, catalogue, disliked=True)


def _targets(cases: pl.DataFrame, catalogue: Catalogue, *, disliked: bool) -> list[tuple[int, int]]:
    pairs = []
    for row, (targets, refused) in enumerate(zip(cases["targets"], cases["disliked"], strict=True)):
        wanted = [target for target in targets if (target in set(refused)) == disliked]
        pairs += [(row, catalogue.index[target]) for target in wanted if target in catalogue.index]
    return pairs


def known_movies(sets: Sequence[Sequence[str]], catalogue: Catalogue) -> list[str]:
    """movie_ids that at least two training dialogues name, sorted; `sets`: see `training_sets`.

    A movie named once is left unknown on purpose: as a target it teaches the path that unseen movies take.
    """
    counts: Counter[str] = Counter()
    for movie_ids in sets:
        counts.update(movie_ids)
    return sorted(movie_id for movie_id, count in counts.items() if count >= 2 and movie_id in catalogue.index)


def training_sets(mentions: pl.DataFrame) -> list[list[str]]:
    """Distinct linked movies of every training dialogue, in the order of data set and dialogue_id, without what the seeker disliked."""
    linked = mentions.filter(
        (pl.col("split") == "train") & pl.col("movie_id").is_not_null() & (pl.col("liked").fill_null(1) != 0)
    )
    whose = ("dataset", "dialogue_id")
    grouped = linked.group_by(whose).agg(pl.col("movie_id").unique().sort()).sort(whose)
    return grouped["movie_id"].to_list()
