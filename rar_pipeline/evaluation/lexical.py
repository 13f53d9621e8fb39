"""BM25 on the dialogue: words of the conversation against words of the movies' texts, by the library bm25s. Nothing is learned.

The index of a corpus is made once and kept, under the hash of its texts.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.corpus.cards import item_texts
from rar_pipeline.evaluation.baselines import Floats, rank
from rar_pipeline.files import digest, maker, writing
from rar_pipeline.retriever.examples import query_text

if TYPE_CHECKING:
    from bm25s import BM25


def bm25(movies: pl.DataFrame, cases: pl.DataFrame, folder: Path, *, turns: int, system: str = "bm25") -> pl.DataFrame:
    """Movies by BM25 between what was said and named and each movie's text; a frame of `tables.RECOMMENDATIONS`.

    The query is the last `turns` turns of the conversation and the texts of the movies of its history: the words of the turns alone say
    "movie", "seen" and "great", which are titles too, and find almost nothing. `movies` is a frame of `tables.MOVIES`; `folder` keeps the
    index. Lucene's variant, k1 1.5, b 0.75, English stop words left out. Movies that share no word with the query are not recommended, so
    a list may be short.
    """
    import bm25s

    movies = movies.sort("movie_id")
    texts = item_texts(movies)
    index = kept_index(texts, folder)
    text_of = dict(zip(movies["movie_id"], texts, strict=True))
    asked_for = [
        " ".join((query_text(context, turns), *(text_of[movie] for movie in history if movie in text_of)))
        for context, history in zip(cases["context"], cases["history"], strict=True)
    ]
    words = bm25s.tokenize(asked_for, stopwords="en", return_ids=False, show_progress=False)

    def parts() -> Iterable[Floats]:
        for asked in words:
            scores = np.zeros(movies.height, np.float32)
            if known := [word for word in asked if word and word in index.vocab_dict]:
                scores = np.asarray(index.get_scores(known), np.float32)
            yield np.where(scores > 0, scores, -np.inf).astype(np.float32)[None]

    return rank(parts(), movies["movie_id"].to_list(), cases, system=system)


def kept_index(texts: list[str], folder: Path) -> BM25:
    """The index of these texts, read from `folder` or made and kept there; indexes of other texts leave the folder."""
    import bm25s

    place = folder / digest(importlib.metadata.version("bm25s"), texts)
    if place.is_dir():
        try:
            return bm25s.BM25.load(place, show_progress=False)
        except (OSError, ValueError, KeyError, TypeError, EOFError):  # damaged: made again
            pass
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    part = folder / f".{place.name}.{maker()}.part"
    try:
        with writing(place):
            index.save(part, show_progress=False)
            for old in folder.iterdir():
                if old != part:
                    shutil.rmtree(old, ignore_errors=True)
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return bm25s.BM25.load(place, show_progress=False)
