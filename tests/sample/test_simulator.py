"""Simulated conversations make sense, and something can be learnt from them, by words and by history."""

from collections import Counter

import numpy as np
import pytest

from rar_pipeline.sample.films import Film, load_films
from rar_pipeline.sample.session import Unlisted, compose
from rar_pipeline.sample.simulator import Seeker, Simulator
from rar_pipeline.sample.talk import chat, thread
from rar_pipeline.sample.taste import build_landscape, content_words
from rar_pipeline.sample.wishes import Facet, draw_wish, fit, phrases_of


@pytest.fixture(scope="module")
def landscape():
    return build_landscape(load_films(), np.random.default_rng([0, 0]))


@pytest.fixture
def simulator(landscape):
    return Simulator(landscape, np.random.default_rng(7))


@pytest.fixture(scope="module")
def sessions(landscape):
    simulator = Simulator(landscape, np.random.default_rng(8))
    return [chat(simulator) for _ in range(1100)]


def test_templates_fill_with_references_and_articles():
    one, two, three = (Unlisted(name) for name in "abc")
    assert compose("See {films}!", [one, two, three]) == ("See ", one, ", ", two, " and ", three, "!")
    assert compose("Want a {genre}.", genre="animated movie") == ("Want an animated movie.",)


def test_a_wish_is_met_in_full_by_the_film_it_was_taken_from(landscape):
    rng = np.random.default_rng(3)
    for film in landscape.films[::7]:
        scores = fit(landscape, draw_wish(rng, film))
        assert scores[film.number - 1] == scores.max() > 0


def test_phrases_are_words_of_the_plot(landscape):
    films = landscape.films
    assert np.mean([bool(phrases_of(film)) for film in films]) > 0.9
    for film in films[::5]:
        for phrase in phrases_of(film):
            assert phrase.lower() in film.plot.lower()


def test_era_genre_and_person_are_facts(landscape):
    film = landscape.films[100]
    for facet in (Facet("era", str(film.year // 10 * 10)), Facet("genre", film.genres[0]), Facet("person", film.directors[0])):
        assert fit(landscape, [facet])[film.number - 1] > 0
    assert not fit(landscape, [Facet("person", "Nobody At All")]).any()


def test_a_recommended_film_was_not_mentioned_before(sessions):
    for session in sessions[:300]:
        seen = set()
        for message in session.messages:
            if message.speaker == "recommender":
                assert not seen & {film for film in message.references if isinstance(film, Film)}
            seen |= set(message.references)


def test_every_mention_has_an_opinion_and_speakers_take_turns(sessions):
    for session in sessions[:300]:
        assert set(session.mentioned) <= set(session.opinions)
        assert {message.speaker for message in session.messages} == {"seeker", "recommender"}


def test_favourites_are_not_disliked(simulator):
    for _ in range(50):
        seeker = Seeker(simulator)
        assert seeker.disliked not in seeker.favourites
        assert 1 <= len(seeker.favourites) <= 4


def test_cases_of_a_thread_share_the_post_and_end_with_a_list(simulator):
    for _ in range(20):
        first, second = thread(simulator, replies=2)
        assert first.messages[0] is second.messages[0]
        assert first.messages[-1].speaker == "recommender"
        assert len(first.messages[-1].references) >= 3


def test_history_and_words_both_beat_popularity_clearly(landscape, sessions):
    """Recall at 10 over new films that a recommender names, as `fresh_turns` counts them; training on the first 900."""
    films = landscape.films
    mentions = np.zeros((900, len(films)))
    for row, session in enumerate(sessions[:900]):
        mentions[row, [film.number - 1 for film in session.films]] = 1
    popularity = mentions.sum(axis=0)
    together = mentions.T @ mentions
    np.fill_diagonal(together, 0)
    together /= np.sqrt(np.outer(popularity + 5, popularity + 5))
    words = [frozenset(content_words(f"{' '.join(film.genres)} {' '.join(film.people)} {film.plot}")) for film in films]
    spread = Counter(word for described in words for word in described)
    rarity = {word: np.log(len(films) / count) for word, count in spread.items()}
    lengths = np.array([sum(rarity[word] for word in described) for described in words]) ** 0.5

    hits, targets = Counter(), 0
    for session in sessions[900:]:
        history, said = [], []
        for message in session.messages:
            new = {film.number - 1 for film in message.references if isinstance(film, Film)} - set(history)
            if message.speaker == "recommender" and new and said:
                asked = content_words(" ".join(said))
                by_words = np.array([sum(rarity[word] for word in asked if word in described) for described in words]) / lengths
                by_history = together[history].sum(axis=0) if history else np.zeros(len(films))
                for name, scores in (("popularity", popularity), ("history", by_history), ("words", by_words)):
                    scores = scores + 1e-9 * popularity
                    scores[history] = -np.inf
                    hits[name] += len(new & set(np.argsort(-scores)[:10].tolist()))
                targets += len(new)
            history += sorted(new)
            said.append(" ".join(part if isinstance(part, str) else getattr(part, "label", "") for part in message.parts))
    recall = {name: count / targets for name, count in hits.items()}
    assert recall["history"] > 1.6 * recall["popularity"], recall
    assert recall["words"] > 1.6 * recall["popularity"], recall
