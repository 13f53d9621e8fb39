"""What a seeker wants, in facets, and how well a film answers it. Also the picking of phrases from plot lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from rar_pipeline.sample.films import Film
from rar_pipeline.sample.taste import Array, Landscape, content_words

FacetKind = Literal["genre", "phrase", "word", "person", "era"]
_WEIGHT: dict[FacetKind, float] = {"genre": 1.0, "phrase": 1.5, "word": 1.2, "person": 1.6, "era": 0.6}
# how often a wish has the facet
_CHANCE: dict[FacetKind, float] = {"genre": 0.75, "phrase": 0.55, "word": 0.35, "person": 0.2, "era": 0.2}

_ARTICLE = re.compile(r"\b(an?)\s+(?=([^.,;:!?]+)([.,;:!?]|$))")
_ENDS_TEXT = (
    "a about across after against among an and around as at before behind between but by down during for from full he "
    "her him his in inside into is its made more must of on or over set she than that the their they to under until when "
    "where which while who whose will with without"
)
_ENDS = frozenset(_ENDS_TEXT.split())


@dataclass(frozen=True)
class Facet:
    """One thing that is wanted: a genre of IMDb's list, a phrase or word of a plot, a person, or the first year of a decade."""

    kind: FacetKind
    value: str


def phrases_of(film: Film) -> tuple[str, ...]:
    """Speakable pieces of the plot line: things with an article, and the parts of its sentences about the mood."""
    found = [phrase for match in _ARTICLE.finditer(film.plot[0].lower() + film.plot[1:]) if (phrase := _thing(match))]
    for sentence in re.split(r"(?<=[.!?])\s+", film.plot)[1:]:
        for piece in re.split(r",| and | with | in which |[.;:]", sentence):
            words = piece.split()
            if 2 <= len(words) <= 5 and not {words[0].lower(), words[-1].lower()} & _ENDS:
                found.append(" ".join([words[0].lower(), *words[1:]]))
    return tuple(dict.fromkeys(found))


def draw_wish(rng: np.random.Generator, ideal: Film) -> tuple[Facet, ...]:
    """At least one facet of a film that the seeker would be happy with, in random order."""
    phrases, words = phrases_of(ideal), content_words(ideal.plot)
    offers: tuple[tuple[FacetKind, Sequence[str]], ...] = (
        ("genre", ideal.genres),
        ("phrase", phrases or words),
        ("word", words),
        ("person", ideal.people[:4]),
        ("era", (str(ideal.year // 10 * 10),)),
    )
    facets = [
        Facet(kind, values[int(rng.integers(len(values)))]) for kind, values in offers if values and rng.random() < _CHANCE[kind]
    ]
    facets = facets or [Facet("genre", ideal.genres[0])]
    return tuple(facets[int(place)] for place in rng.permutation(len(facets)))


def fit(landscape: Landscape, facets: Sequence[Facet]) -> Array:
    """Shape (films,): the sum over facets of their weights, each times how far the film has it (0 to 1)."""
    return sum((_weighted(landscape, facet) for facet in facets), start=np.zeros(len(landscape.films)))


@lru_cache(maxsize=4096)
def _weighted(landscape: Landscape, facet: Facet) -> Array:
    wanted = frozenset(content_words(facet.value)) or {facet.value}
    return _WEIGHT[facet.kind] * np.array(
        [
            len(wanted & words) / len(wanted) if facet.kind in ("phrase", "word") else _has(facet, film)
            for film, words in zip(landscape.films, landscape.plot_words, strict=True)
        ]
    )


def _has(facet: Facet, film: Film) -> float:
    match facet.kind:
        case "genre":
            return float(facet.value in film.genres)
        case "person":
            return float(facet.value in film.people)
        case _:
            return float(int(facet.value) <= film.year < int(facet.value) + 10)


def _thing(match: re.Match[str]) -> str | None:
    taken: list[str] = []
    for word in match[2].split():
        if word in _ENDS or (taken and word.endswith("s") and not word.endswith(("ss", "'s", "us"))):
            break
        taken.append(word)
    if len(taken) > 1 and taken[-1].endswith(("ed", "ing")):
        taken.pop()
    listed = len(taken) == 1 and match[3] == ","  # most likely the first of several adjectives
    if not 1 <= len(taken) <= 4 or listed or taken[-1].endswith(("'s", "ly")) or not content_words(" ".join(taken)):
        return None
    return f"{match[1]} {' '.join(taken)}"
