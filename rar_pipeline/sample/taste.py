"""Who likes what in the sample world: the hidden order that a retriever can discover.

Two kinds of structure, so that neither words nor history alone tell everything:
- **content**: films are alike in genre, people, era, franchise and plot words; a reader of the texts can find this;
- **circles**: groups of seekers whose favourites go together partly for no reason that any text shows; only the mentions tell.
Popularity is skewed. Not here: conversations and their words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rar_pipeline.sample.films import Film

Array = NDArray[np.float64]

CIRCLES = 12
POPULARITY_SKEW = 0.5  # popularity falls with rank to the power of minus this
HIDDEN_SHARE = 0.65  # part of a circle's favour that no text explains, 0 to 1
CIRCLE_FOCUS = 1.9  # nats of favour for one standard deviation of a circle's loading

_WORD = re.compile(r"[a-z][a-z'-]+")
_STOP_TEXT = (
    "a about after again against all also always an and another any are around as at away back be because been before behind "
    "being between both but by can comes could does down during each even ever every few film finds first for from gets gives "
    "goes had has have he her him his how if in into is it its just like made make makes man many more most movie much must "
    "new no not now of off on once one only onto or other out over own same she short should so some still takes than that the "
    "their them then there these they this those through to too tries turns two under until up very was way well were what "
    "when where which while who whose will with without woman would you young"
)
_STOP = frozenset(_STOP_TEXT.split())


def content_words(text: str) -> tuple[str, ...]:
    """Lower-case words of `text` that carry meaning, in order, each once."""
    return tuple(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _STOP))


@dataclass(frozen=True, eq=False)
class Landscape:
    """The films with their popularity, their likeness by content, and the loadings of the circles."""

    films: tuple[Film, ...]
    log_popularity: Array  # (films,), natural logarithm, not normalised
    likeness: Array  # (films, films), cosine of content, diagonal 0
    loadings: Array  # (circles, films), standardised over films

    @cached_property
    def kinship(self) -> Array:
        """Shape (films, films): how much the circles of two films overlap, standardised, diagonal 0."""
        favour = np.exp(CIRCLE_FOCUS * self.loadings)
        share = favour / favour.sum(axis=1, keepdims=True)
        profile = share / np.linalg.norm(share, axis=0, keepdims=True)
        return _standardised_off_diagonal(profile.T @ profile)

    @cached_property
    def plot_words(self) -> tuple[frozenset[str], ...]:
        """Content words of each film's plot."""
        return tuple(frozenset(content_words(film.plot)) for film in self.films)

    def draw(self, rng: np.random.Generator, log_weights: Array, count: int, excluded: Sequence[int] = ()) -> list[int]:
        """`count` different films, drawn one after the other in proportion to exp(log_weights) (Gumbel top-k)."""
        noisy = log_weights + rng.gumbel(size=len(self.films))
        noisy[list(excluded)] = -np.inf
        return [int(index) for index in np.argsort(-noisy, kind="stable")[:count]]


def build_landscape(films: tuple[Film, ...], rng: np.random.Generator) -> Landscape:
    """The hidden order over `films`; everything random in it comes from `rng`."""
    rank = np.argsort(np.argsort([-film.votes for film in films], kind="stable"), kind="stable") + 1.0
    likeness = _likeness(films)
    anchors = [rng.choice(len(films), size=4, replace=False) for _ in range(CIRCLES)]
    told = _standardised(np.stack([likeness[:, anchor].mean(axis=1) for anchor in anchors]))
    hidden = rng.standard_normal((CIRCLES, len(films)))
    return Landscape(
        films=films,
        log_popularity=-POPULARITY_SKEW * np.log(rank),
        likeness=likeness,
        loadings=_standardised(np.sqrt(1 - HIDDEN_SHARE) * told + np.sqrt(HIDDEN_SHARE) * hidden),
    )


def _likeness(films: tuple[Film, ...]) -> Array:
    described = [_features(film) for film in films]
    spread = Counter(feature for features in described for feature in features)
    column = {feature: index for index, feature in enumerate(sorted(spread))}
    matrix = np.zeros((len(films), len(column)))
    for row, features in enumerate(described):
        for feature, weight in features.items():
            matrix[row, column[feature]] = weight * np.log(len(films) / spread[feature])
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    likeness = matrix @ matrix.T
    np.fill_diagonal(likeness, 0.0)
    return likeness


def _features(film: Film) -> dict[str, float]:
    weights: dict[str, float] = {}
    for prefix, weight, values in (
        ("genre", 1.0, film.genres),
        ("director", 0.7, film.directors),
        ("cast", 0.5, film.cast),
        ("era", 0.5, (str(film.year // 10),)),
        ("franchise", 1.0, content_words(film.title)),
        ("plot", 0.35, content_words(film.plot)),
    ):
        weights |= {f"{prefix}:{value}": weight for value in values}
    return weights


def _standardised(rows: Array) -> Array:
    return (rows - rows.mean(axis=1, keepdims=True)) / np.maximum(rows.std(axis=1, keepdims=True), 1e-9)


def _standardised_off_diagonal(square: Array) -> Array:
    off = ~np.eye(len(square), dtype=bool)
    scaled = (square - square[off].mean()) / max(float(square[off].std()), 1e-9)
    np.fill_diagonal(scaled, 0.0)
    return scaled
