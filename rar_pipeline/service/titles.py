"""Typed titles: what a few letters may become, and what a misspelt title may have meant. Which of them is safe to believe is the linker's to say."""

from __future__ import annotations

import re
from bisect import bisect_left

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process

from rar_pipeline.corpus.link import KNOWN
from rar_pipeline.corpus.normalise import normalise_title
from rar_pipeline.corpus.titles import STRONG

WELL_KNOWN = 40_000  # movies among which misspelt titles are looked for
LONGEST = 8  # words of a title half typed
SURE = 8  # letters of a title's beginning that few titles share
_WORD = re.compile(r"\S+")
LAST = "\U0010ffff"


class Titles:
    """Every title of the table TITLES in order, for completion; the titles of the best-known movies, for spelling."""

    def __init__(self, titles: pl.DataFrame) -> None:
        strong = titles.filter(pl.col("variant").is_in(STRONG)).select("key", "movie_id", "votes").sort("key", "movie_id")
        self._keys: list[str] = strong["key"].to_list()
        self._movies: list[str] = strong["movie_id"].to_list()
        self._votes = strong["votes"].fill_null(0).to_numpy()
        best = np.sort(np.argsort(-self._votes, kind="stable")[:WELL_KNOWN])
        self._spelt, self._spelt_rows = [self._keys[row] for row in best], best.tolist()
        self._votes_of: dict[str, int] = dict(titles.select("movie_id", pl.col("votes").fill_null(0)).iter_rows())

    def votes(self, movie_id: str) -> int:
        """Votes of a movie, 0 where unknown."""
        return self._votes_of.get(movie_id, 0)

    def exact(self, key: str) -> list[str]:
        """Movies of a normalised title, the best known first."""
        return self._best(bisect_left(self._keys, key), bisect_left(self._keys, key + "\0"), 20)

    def starting(self, key: str, limit: int) -> list[str]:
        """Movies whose normalised title begins so, the best known first."""
        return self._best(bisect_left(self._keys, key), bisect_left(self._keys, key + LAST), limit)

    def spelt_like(self, key: str, limit: int, least: float) -> list[str]:
        """Well-known movies whose title is at least so similar (0 to 100), the most similar first."""
        found = process.extract(key, self._spelt, scorer=fuzz.ratio, score_cutoff=least, limit=4 * limit)
        ranked = sorted(found, key=lambda hit: (-hit[1], -int(self._votes[self._spelt_rows[hit[2]]])))
        return list(dict.fromkeys(self._movies[self._spelt_rows[place]] for _, _, place in ranked))[:limit]

    def suggest(self, text: str, limit: int = 6, least: float = 80) -> list[str]:
        """What a typed title may mean, the likeliest first: well-known titles that are equal, titles that begin so, that are spelt like it."""
        key = normalise_title(text)
        if not key:
            return []
        equal = self.exact(key)
        found = dict.fromkeys(movie for movie in equal if self.votes(movie) >= KNOWN)
        found |= dict.fromkeys(self.starting(key, limit) if len(key) > 2 else [])
        found |= dict.fromkeys(equal)
        if len(found) < limit and len(key) > 3:
            found |= dict.fromkeys(self.spelt_like(key, limit, least))
        return list(found)[:limit]

    def complete(self, text: str, limit: int = 4) -> tuple[str, list[str]]:
        """The longest run of last words that a title begins with, and the movies that it may become, the best known first.

        A run begins with a capital or a digit, or is long; of short ones only well-known movies are told, since many titles begin so.
        """
        starts = [match.start() for match in _WORD.finditer(text)][-LONGEST:]
        for words in (text[start:].strip() for start in starts):
            key = normalise_title(words)
            if len(key) < 3 or not (words[0].isupper() or words[0].isdigit() or len(key) >= SURE) or words[-1] in ".,;!?)":
                continue
            found = [movie for movie in self.starting(key, limit) if len(key) >= SURE or self.votes(movie) >= KNOWN]
            if found:
                return words, found
        return "", []

    def _best(self, start: int, end: int, limit: int) -> list[str]:
        rows = np.arange(start, end)
        if len(rows) > 4 * limit:
            rows = rows[np.argpartition(-self._votes[rows], 4 * limit)[: 4 * limit]]
        rows = rows[np.lexsort((rows, -self._votes[rows]))]
        return list(dict.fromkeys(self._movies[row] for row in rows))[:limit]
