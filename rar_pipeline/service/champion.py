"""The retriever that serves: loaded once, asked many times, by several threads.

A recommendation is what the pipeline itself would list for the same conversation (`examples.build_queries`, `search.search`), less the movies that
the seeker has seen or does not want, with a card and the reasons that can be read off the score and the movies' facts.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.corpus.cards import card, cut, headline
from rar_pipeline.corpus.link import Linker
from rar_pipeline.generation.questions import Candidate
from rar_pipeline.preference.fusion import fuse
from rar_pipeline.retriever.catalogue import Catalogue, build_catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import Index, build_index, search
from rar_pipeline.service import mentions
from rar_pipeline.service.talk import Card, Mention, Movie, Recommendation, Said, Talk, Timing, context
from rar_pipeline.service.titles import Titles
from rar_pipeline.service.why import reasons
from rar_pipeline.tables import CASES

if TYPE_CHECKING:
    from rar_pipeline.retriever.network import Retriever
    from rar_pipeline.retriever.version import Version

REMEMBERED = 20_000  # texts whose embeddings are kept: a conversation's earlier turns are asked for again and again
NAMED = 3  # movies that the retriever's own sentence names


class Remembered:
    """An encoder that remembers the last texts it was given."""

    def __init__(self, encode: Encode) -> None:
        self._encode, self._lock = encode, threading.Lock()
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (n, E) embeddings."""
        with self._lock:
            known = {text: self._known[text] for text in texts if text in self._known}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known |= dict(zip(missing, self._encode(missing), strict=True))
        with self._lock:
            for text in texts:
                self._known[text] = known[text]
                self._known.move_to_end(text)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return np.stack([known[text] for text in texts])


@dataclass(frozen=True)
class Champion:
    """A version of the retriever over its corpus, ready to be asked. Safe between threads; `limit` computations run at once."""

    version: Version
    movies: pl.DataFrame  # rows of MOVIES in the order of the catalogue
    catalogue: Catalogue  # without embeddings: the index holds what they became
    index: Index
    linker: Linker
    titles: Titles
    encode: Encode
    turns: int
    history: int
    llm_weight: float = 1.0  # of the LLM's order where it is asked, beside the scores (preference/fusion.py)
    limit: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))

    @cached_property
    def found(self) -> Callable[[str, tuple[tuple[str, str], ...]], list[mentions.Found]]:
        """Titles of a text, remembered: earlier turns are read again with every new one."""
        return lru_cache(REMEMBERED)(lambda text, picked: mentions.find(text, self.linker, self.titles, picked))

    @classmethod
    def of(
        cls,
        retriever: Retriever,
        version: Version,
        movies: pl.DataFrame,
        titles: pl.DataFrame,
        embeddings: pl.DataFrame,
        encode: Encode,
        *,
        turns: int,
        history: int,
        at_once: int = 2,
        llm_weight: float = 1.0,
    ) -> Champion:
        """The champion of a version and the tables MOVIES, TITLES and ITEM_EMBEDDINGS; `turns`, `history`: what it reads, as it was trained."""
        catalogue = build_catalogue(movies, embeddings)
        index = build_index(retriever, catalogue, version.known)
        width = catalogue.embeddings.shape[1]
        bare = replace(catalogue, embeddings=np.zeros((0, width), np.float16))
        kept = movies.sort("movie_id").select("movie_id", "title", "year", "genres", "directors", "cast", "plot")
        limit = threading.BoundedSemaphore(at_once)
        asked = Linker(titles), Titles(titles), Remembered(encode), turns, history
        return cls(version, kept, bare, index, *asked, llm_weight, limit)

    def movie(self, movie_id: str) -> Movie:
        """A movie of the corpus as it is shown."""
        row = self.movies.row(self.catalogue.index[movie_id], named=True)
        people = dict.fromkeys([*(row["directors"] or [])[:2], *(row["cast"] or [])[:3]])
        return Movie(
            movie_id=movie_id,
            title=row["title"],
            year=row["year"],
            genres=(row["genres"] or [])[:4],
            people=list(people),
            plot=cut(row["plot"] or "", 220),
        )

    def candidate(self, movie_id: str) -> Candidate:
        """A movie of the corpus as a prompt shows it."""
        row = self.movies.row(self.catalogue.index[movie_id], named=True)
        return Candidate(movie_id, row["title"], row["year"], card(row))

    def link(self, text: str, picked: Sequence[tuple[str, str]] = (), ignored: Sequence[str] = ()) -> list[Mention]:
        """Titles of a text: linked, or with movies that may be meant."""
        found = []
        for one in self.found(text, tuple(picked)):
            if one.movie_id in ignored or (one.movie_id is not None and one.movie_id not in self.catalogue.index):
                continue
            movie = None if one.movie_id is None else self.movie(one.movie_id)
            choices = [self.movie(movie_id) for movie_id in one.choices if movie_id in self.catalogue.index]
            choices = [choice for choice in choices if choice.movie_id not in ignored]
            if movie or choices:
                found.append(
                    Mention(start=one.start, end=one.end, text=one.text, movie=movie, reason=one.reason, choices=choices)
                )
        return found

    def complete(self, text: str, limit: int = 4) -> tuple[str, list[Movie]]:
        """The last words of a text that begin a title, and movies whose title they may become."""
        words, found = self.titles.complete(text, limit)
        return words, [self.movie(movie_id) for movie_id in found if movie_id in self.catalogue.index]

    def mentioned(self, turns: Sequence[Said], ignored: Sequence[str] = ()) -> tuple[list[str], list[Mention]]:
        """Movies that the seeker has named so far, in order of first mention, and the titles of the last turn."""
        named: dict[str, None] = {}
        last: list[Mention] = []
        for said in turns:
            if said.speaker == "seeker":
                last = self.link(said.text, [(movie.text, movie.movie_id) for movie in said.movies], ignored)
                named |= dict.fromkeys(mention.movie.movie_id for mention in last if mention.movie)
                named |= dict.fromkeys(movie.movie_id for movie in said.movies if movie.movie_id in self.catalogue.index)
        return list(named), last

    def recommend(self, talk: Talk) -> Recommendation:
        """Recommendations for a conversation.

        The history is what the seeker named and what they liked, less what they dislike; what they named, liked, disliked or have seen, and what the
        recommender's turns named, is not recommended.
        """
        with self.limit:
            started = time.perf_counter()
            named, found = self.mentioned(talk.turns, talk.ignored)
            linked = time.perf_counter()
            history = [movie for movie in dict.fromkeys([*named, *talk.liked]) if movie not in talk.disliked]
            history = [movie for movie in history if movie in self.catalogue.index][-self.history :]
            before = [movie.movie_id for said in talk.turns if said.speaker == "recommender" for movie in said.movies]
            out = {*named, *talk.liked, *talk.disliked, *talk.seen, *before}
            case: dict[str, object] = {"case_id": "", "context": context(talk.turns), "history": history}
            queries = build_queries(CASES.frame([case]), self.catalogue, self.encode, turns=self.turns, max_history=self.history)
            embedded, computing = time.perf_counter(), time.thread_time()
            rows, values = search(self.index, queries, talk.movies + len(out))
            pairs = zip(rows[0].tolist(), values[0].tolist(), strict=True)
            scored = {self.catalogue.movie_ids[row]: score for row, score in pairs if row >= 0}
            chosen = [movie for movie in scored if movie not in out][: talk.movies]
            seeker = " ".join(said.text for said in talk.turns if said.speaker == "seeker")
            why = reasons(self.index, self.movies, self.catalogue, queries, history, chosen, seeker)
            cards = [Card(**self.movie(movie).model_dump(), why=reason) for movie, reason in zip(chosen, why, strict=True)]
            ended, computed = time.perf_counter(), time.thread_time()
        spent = [
            round(1000 * seconds, 2) for seconds in (linked - started, embedded - linked, ended - embedded, computed - computing)
        ]
        return Recommendation(
            version=self.version.name,
            said=sentence([headline(card.model_dump()) for card in cards[:NAMED]]),
            mentions=found,
            candidates=cards,
            scores=[scored[movie] for movie in chosen],
            milliseconds=Timing(link=spent[0], encode=spent[1], retrieve=spent[2], retrieve_cpu=spent[3]),
        )

    def ordered(self, found: Recommendation, ranking: Sequence[str]) -> tuple[str, ...]:
        """The movies that the LLM ranked and the candidates, in the order that serves: the LLM's, or that fused with the scores."""
        scores = {card.movie_id: score for card, score in zip(found.candidates, found.scores, strict=True)}
        return tuple(ranking) if self.llm_weight == 1 else tuple(fuse(scores, ranking, self.llm_weight))


def sentence(names: Sequence[str]) -> str:
    """What the retriever says by itself: the first of its list."""
    if not names:
        return "I have nothing to recommend for that."
    return f"How about {', '.join(names[:-1])} or {names[-1]}?" if len(names) > 1 else f"How about {names[0]}?"
