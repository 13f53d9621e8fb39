"""Why a movie is recommended: parts of its score that can be named, and facts that it shares with what was said. Nothing is made up.

`together`: the co-occurrence feature of the score, learnt from other conversations, by the movie of the history that adds most. `shares`: a director,
a leading actor or genres that it has in common with a movie of the history. `words`: words of the seeker that stand in its title, genres, names or
plot, or that name its decade. `meaning`: the cosine of conversation and movie, which is part of the score. `overall`: none of these; the network's
reading of the whole conversation cannot be put in words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from rar_pipeline.corpus.cards import headline
from rar_pipeline.corpus.normalise import fold
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.search import Index, cooccurrence
from rar_pipeline.service.talk import Reason

CLOSE = 0.3  # cosine from which two texts are said to be about the same
READ = 10  # last movies of the history that are compared
_WORD = re.compile(r"[^\W\d_]{4,}")
_empty = (
    "about also anything been but could don't does film films from good great have just know like liked love loved more movie movies much "
    "need please really recommend seen should some something than thank thanks that their them then there they this want watch watched were what "
    "when where which with without would you're your looking think maybe hello very into similar kind sort other another those these will feel "
    "find give best ones never ever well only even make made time life tell must said says same such because over most every both each"
)
_EMPTY = frozenset(_empty.split())


def reasons(
    index: Index,
    movies: pl.DataFrame,
    catalogue: Catalogue,
    queries: Queries,
    history: Sequence[str],
    chosen: Sequence[str],
    seeker: str,
) -> list[list[Reason]]:
    """Reasons for every chosen movie, the strongest kind first; `movies` are rows of MOVIES in the order of the catalogue."""
    past = [movies.row(catalogue.index[movie], named=True) for movie in reversed(history[-READ:])]  # the latest first
    together = _together(index, catalogue, [row["movie_id"] for row in past], chosen)
    cosines = _cosines(index, catalogue, queries, chosen)
    said = _words(seeker) - _EMPTY
    for row in past:  # the title of a movie that was named says nothing of what is wished
        said -= _words(row["title"])
    decades = queries.wishes[0].decades if queries.wishes else frozenset[int]()
    return [
        _of(movies.row(catalogue.index[movie], named=True), past, said, decades, together[place], cosines[place])
        for place, movie in enumerate(chosen)
    ]


def _of(
    row: Mapping[str, Any],
    past: Sequence[Mapping[str, Any]],
    said: set[str],
    decades: Collection[int],
    together: int | None,
    cosine: float,
) -> list[Reason]:
    found = []
    if together is not None:
        found.append(Reason(kind="together", text=f"goes with {headline(past[together])} in other conversations"))
    shared = next((text for other in past if (text := _shared(row, other))), None)
    if shared:
        found.append(Reason(kind="shares", text=shared))
    texts = [row["title"], row["plot"] or "", *(row["genres"] or []), *(row["directors"] or []), *(row["cast"] or [])]
    words = sorted(said & _words(" ".join(texts)))[:4]
    if row["year"] is not None and (decade := row["year"] // 10 * 10) in decades:
        words.append(f"{decade}s")
    if words:
        found.append(Reason(kind="words", text="you said: " + ", ".join(words)))
    if cosine >= CLOSE:
        found.append(Reason(kind="meaning", text=f"its description is close to your words (cosine {cosine:.2f})"))
    return found or [Reason(kind="overall", text="fits the conversation as a whole")]


def _shared(row: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """What a movie has in common with another one."""
    name = headline(other)
    for field, words in (("directors", "also by {}, as {}"), ("cast", "also with {}, as {}")):
        both = [person for person in row[field] or [] if person in (other[field] or [])]
        if both:
            return words.format(both[0], name)
    genres = [genre for genre in row["genres"] or [] if genre in (other["genres"] or [])]
    return f"{', '.join(genres[:3])}, as {name}" if len(genres) > 1 else None


def _together(index: Index, catalogue: Catalogue, history: Sequence[str], chosen: Sequence[str]) -> list[int | None]:
    """For each chosen movie the place of the movie in `history` whose co-occurrence adds most to its score, or None."""
    numbers = [int(index.known[catalogue.index[movie]]) for movie in history]
    if not any(number >= 0 for number in numbers) or not float(index.retriever.cooccurrence_weight):
        return [None] * len(chosen)
    sums = cooccurrence(index.retriever, [[number] for number in numbers])  # (history, K)
    best: list[int | None] = []
    for movie in chosen:
        number = int(index.known[catalogue.index[movie]])
        place = int(sums[:, number].argmax()) if number >= 0 else -1
        best.append(place if place >= 0 and float(sums[place, number]) > 0 else None)
    return best


def _cosines(index: Index, catalogue: Catalogue, queries: Queries, chosen: Sequence[str]) -> np.ndarray:
    """Cosine of the conversation and each movie in the axes in which the score takes it; 0 where it takes none."""
    import torch

    axes = index.retriever.axes
    if not len(axes) or not queries.has_text[0] or not chosen:
        return np.zeros(len(chosen), np.float32)
    rows = torch.tensor([catalogue.index[movie] for movie in chosen])
    asked = axes @ torch.from_numpy(queries.text[0].astype(np.float32)).to(axes.device)
    parts = index.vectors[rows.to(axes.device), index.retriever.config.hidden :] @ asked
    return parts.cpu().numpy()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(fold(text)))
