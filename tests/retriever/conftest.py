"""A small catalogue with structure: movies of one genre are mentioned together, and words name the genre."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.tables import CASES, MENTIONS

GENRES, EACH = 6, 12


@dataclass(frozen=True)
class World:
    catalogue: Catalogue
    cases: pl.DataFrame
    mentions: pl.DataFrame
    encode: object


def genre_of(movie_id: str) -> int:
    return int(movie_id[2:]) // EACH


@pytest.fixture(scope="session")
def world() -> World:
    generator = np.random.default_rng(0)
    centres = np.eye(GENRES, 16)
    movie_ids = [f"tt{number:03d}" for number in range(GENRES * EACH)]
    embeddings = np.stack([centres[genre_of(m)] + 0.05 * generator.normal(size=16) for m in movie_ids])
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    catalogue = Catalogue(tuple(movie_ids), embeddings.astype(np.float16), np.zeros((len(movie_ids), 3), np.float32))

    def encode(texts: list[str]) -> np.ndarray:
        return np.stack([centres[int(text.split()[-1])] for text in texts]).astype(np.float16)

    cases, mentions = [], []
    for number in range(240):
        genre = int(generator.integers(GENRES))
        # the last movie of every genre is never named in training: it must be found by its text
        drawn = generator.choice(EACH - 1, size=3, replace=False) + genre * EACH
        split = "train" if number < 180 else "validation" if number < 210 else "test"
        base = {"dataset": "redial", "split": split, "dialogue_id": str(number)}
        ids = [movie_ids[row] for row in drawn]
        cases.append(
            {
                **base,
                "case_id": f"{number}:1",
                "turn": 1,
                "origin": "dialogue",
                "context": f"Seeker: I like genre {genre}",
                "history": ids[:2] if number % 3 else [],
                "targets": ids[2:],
                "disliked": [],
                "unlinked_targets": 0,
            }
        )
        mentions += [
            {**base, "turn": 0, "position": place, "speaker": "seeker", "movie_id": movie} for place, movie in enumerate(ids)
        ]
    return World(catalogue, CASES.frame(cases), MENTIONS.frame(mentions), encode)
