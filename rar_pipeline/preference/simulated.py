"""A simulated judge: no language model, but a dial. It knows the answer, and how much of it shows is set by hand.

utility(j) = a * (j is a target) + b * (similarity of j to the targets) - c * (place of j in the prompt) + d * (popularity of j) + Gumbel noise

Candidates are ranked by utility. With a = b = 0 it guesses (c and d are then what it guesses by: the order it was given, what is popular); as a
grows it becomes an oracle. What it says of a movie in a conversation is the same however often it is asked, as of a model at temperature 0. Nothing
that it says is evidence about any real model; wherever its figures appear, they carry its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.retriever.catalogue import Catalogue

NAME = "SimulatedJudge"


@dataclass(frozen=True)
class SimulatedJudge:
    """The dial: weights in units of the noise, which is Gumbel of scale 1.

    Similarity is the mean cosine of the text embeddings with the targets', a place runs from 0 (first) to 1 (last), popularity is the share of named
    movies that training names less often, 0 to 1.
    """

    target: float  # a
    similarity: float = 0.0  # b
    place: float = 0.0  # c
    popularity: float = 0.0  # d
    seed: int = 0

    def utilities(
        self, case_id: str, candidates: np.ndarray, targets: Sequence[int], catalogue: Catalogue, popularity: np.ndarray
    ) -> np.ndarray:
        """Utilities (k,) of candidates, catalogue rows in the order shown; popularity: (N,) of all movies, 0 to 1."""
        value = self.target * np.isin(candidates, targets) + self.popularity * popularity[candidates]
        value = value - self.place * np.linspace(0, 1, len(candidates)) + gumbel(self.seed, case_id, candidates)
        if self.similarity and len(targets):
            vectors = catalogue.embeddings[np.asarray(targets)].astype(np.float32)
            value = value + self.similarity * (catalogue.embeddings[candidates].astype(np.float32) @ vectors.T).mean(axis=1)
        return value

    def rank(
        self, case_id: str, candidates: np.ndarray, targets: Sequence[int], catalogue: Catalogue, popularity: np.ndarray
    ) -> np.ndarray:
        """The candidates, best first."""
        return candidates[np.argsort(-self.utilities(case_id, candidates, targets, catalogue, popularity), kind="stable")]

    def answers(
        self, questions: Sequence[Question], targets: Mapping[str, Sequence[int]], catalogue: Catalogue, popularity: np.ndarray
    ) -> list[Answer]:
        """Answers in the shape of the language model's, so that feedback is collected by the same code. targets: rows by case_id."""
        found = []
        for question in questions:
            case_id = question.question_id.rsplit("#", 1)[0]
            shown = np.array([catalogue.index[candidate.movie_id] for candidate in question.candidates], np.int64)
            ranked = self.rank(case_id, shown, targets[case_id], catalogue, popularity)
            ids = tuple(catalogue.movie_ids[row] for row in ranked)
            found.append(Answer(question.question_id, "answered", "label", NAME, "", ranking=ids))
        return found


def gumbel(seed: int, case_id: str, rows: np.ndarray) -> np.ndarray:
    """Gumbel noise (k,) that depends on seed, case and movie alone (SplitMix64 as a counter-based generator)."""
    start = int.from_bytes(hashlib.blake2b(f"{seed}:{case_id}".encode(), digest_size=8).digest(), "big")
    with np.errstate(over="ignore"):
        x = np.uint64(start) + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    uniform = ((x >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return -np.log(-np.log(uniform))


def popularity_of(catalogue: Catalogue, counts: dict[str, int]) -> np.ndarray:
    """Popularity (N,) float64 from training counts: the share of named movies that are named less often; 0 for what is never named."""
    values = np.array([counts.get(movie, 0) for movie in catalogue.movie_ids], np.int64)
    named = np.sort(values[values > 0])
    return np.searchsorted(named, values, side="left") / max(1, len(named))
