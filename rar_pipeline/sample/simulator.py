"""A seeded simulator of seekers and recommenders.

A seeker belongs to a circle (taste.py), has liked some films and wants something (wishes.py), taken from a film that pleases.
The recommender knows what has been said so far, answers with films that fit the words and go with the films mentioned, plus some
popularity and chance. Here: what is known, chosen and felt. How it is put into turns: talk.py. File formats: elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rar_pipeline.sample.films import Film
from rar_pipeline.sample.session import Opinion, Session
from rar_pipeline.sample.taste import Array, Landscape
from rar_pipeline.sample.wishes import Facet, draw_wish, fit

# how much a recommender goes by each thing, in nats; chance adds a standard Gumbel variable
BY_WORDS = 2.6  # per unit of wishes.fit
BY_KINSHIP = 1.6  # per standard deviation of how well the film goes with what was liked
BY_LIKENESS = 4.0  # per unit of content likeness to what was liked
BY_POPULARITY = 1.0  # per nat of popularity

# how a seeker came to the films that are liked
LIKED_BY_POPULARITY = 1.0  # per nat of popularity
LIKED_BY_CIRCLE = 2.1  # per standard deviation of the circle's loading


class Simulator:
    """The choices of seekers and recommenders over one landscape; all of them come from one generator, in a fixed order."""

    def __init__(self, landscape: Landscape, rng: np.random.Generator) -> None:
        self.landscape = landscape
        self.rng = rng
        sizes = 1.0 / (3.0 + np.arange(len(landscape.loadings)))  # some circles are larger than others
        self._circle_shares: Array = sizes / sizes.sum()

    def one_of(self, options: Sequence[str]) -> str:
        """One of the options, each as likely as the other."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """True with the probability."""
        return bool(self.rng.random() < probability)

    def recommend(self, session: Session, told: Sequence[Facet], count: int) -> list[Film]:
        """Films that the recommender thinks of after what was said: none that was mentioned, best guess first."""
        land = self.landscape
        liked = [film.number - 1 for film in session.films if session.opinions[film].liked]
        score = BY_POPULARITY * land.log_popularity + BY_WORDS * fit(land, told)
        if liked:
            score = score + BY_KINSHIP * land.kinship[liked].mean(axis=0) + BY_LIKENESS * land.likeness[liked].mean(axis=0)
        mentioned = [film.number - 1 for film in session.films]
        return [land.films[place] for place in land.draw(self.rng, score, count, excluded=mentioned)]


class Seeker:
    """The hidden side of a conversation: a circle, one to four favourites, a film that is disliked, and a wish."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        land, rng = simulator.landscape, simulator.rng
        self.favour: Array = land.loadings[int(rng.choice(len(land.loadings), p=simulator._circle_shares))]
        taste = LIKED_BY_POPULARITY * land.log_popularity + LIKED_BY_CIRCLE * self.favour
        liked = land.draw(rng, taste, 1 + int(rng.integers(4)))
        ideal, disliked = (
            land.draw(rng, taste + 3.0 * land.likeness[liked].mean(axis=0), 1, excluded=liked)[0],
            land.draw(rng, land.log_popularity - self.favour, 1, excluded=liked)[0],
        )
        self.favourites = [land.films[place] for place in liked]
        self.disliked = land.films[disliked]
        self.wish = draw_wish(rng, land.films[ideal])

    def opinion(self, film: Film) -> Opinion:
        """What the seeker makes of a film that is recommended."""
        place, land = film.number - 1, self.simulator.landscape
        appeal = 0.9 + self.favour[place] + 0.8 * fit(land, self.wish)[place]
        likes = self.simulator.chance(1 / (1 + float(np.exp(-appeal))))
        seen = self.simulator.chance(0.25 + 0.35 * float(np.exp(land.log_popularity[place])))
        return Opinion(1, 1 if seen else 0, 1 if likes else 0)
