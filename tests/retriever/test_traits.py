"""What a conversation names, as a reader of it would say, and what movies are made of."""

import numpy as np
import polars as pl
import pytest

from rar_pipeline.retriever.traits import MIDDLING, Traits, build_traits

MOVIES = pl.DataFrame(
    [
        {
            "genres": ["Sci-Fi", "Horror"],
            "directors": ["Ridley Scott"],
            "cast": ["Sigourney Weaver", "Cher", "A Man"],
            "rating": 8.5,
        },
        {"genres": ["Science Fiction"], "directors": ["Ridley Scott"], "cast": ["Ridley Scott", "Penélope Cruz"], "rating": None},
        {"genres": None, "directors": None, "cast": [], "rating": 3.0},
    ],
    schema={"genres": pl.List(pl.String), "directors": pl.List(pl.String), "cast": pl.List(pl.String), "rating": pl.Float64},
)


@pytest.fixture
def traits() -> Traits:
    return build_traits(MOVIES, np.zeros((3, 3), np.float32))


def people(traits: Traits, context: str) -> set[str]:
    number = {person: name for name, person in traits.names.items()}
    return {number[person] for person in traits.wish(context).people}


def test_a_movie_has_each_of_its_people_and_genres_once_and_a_genre_has_one_name(traits: Traits) -> None:
    assert traits.people.toarray().sum(axis=1).tolist() == [4, 2, 0]  # a director who plays too is one person
    assert traits.genres.tolist() == [[1, 1], [0, 1], [0, 0]]  # Horror, Sci-Fi
    assert traits.rating.tolist() == [8.5, MIDDLING, 3.0]


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ("Seeker: I love SIGOURNEY weaver's films", {"sigourney weaver"}),
        ("Seeker: penelope cruz or Ridley Scott?", {"penelope cruz", "ridley scott"}),
        ("Seeker: ridley\nSeeker: scott", set()),  # a name does not go from one turn to the next
        ("Seeker: cher", set()),  # one word is a word
        ("Seeker: a man", set()),
        ("", set()),
    ],
)
def test_people_are_found_by_their_whole_names(traits: Traits, context: str, named: set[str]) -> None:
    assert people(traits, context) == named


@pytest.mark.parametrize(
    ("words", "genres"),
    [("something scary", [0]), ("a sci-fi film", [1]), ("science fiction, or horror", [0, 1]), ("a comedy", []), ("seeker", [])],
)
def test_genres_are_asked_for_by_name_or_as_people_say_it(traits: Traits, words: str, genres: list[int]) -> None:
    assert sorted(traits.wish(f"Seeker: {words}").genres) == genres


@pytest.mark.parametrize(
    ("words", "asked", "refused"),
    [
        ("anything but no horror", [], [0]),
        ("I don't really like scary films, but sci-fi is fine", [1], [0]),
        ("I don\u2019t want horror", [], [0]),
        ("not too long ago I saw a good old sci-fi film", [1], []),
        ("horror, but not today", [0], []),
    ],
)
def test_what_the_seeker_refuses_is_not_asked_for(traits: Traits, words: str, asked: list[int], refused: list[int]) -> None:
    wish = traits.wish(f"Seeker: {words}")
    assert (sorted(wish.genres), sorted(wish.refused)) == (asked, refused)
    assert not traits.wish(f"Recommender: {words}").refused


@pytest.mark.parametrize(
    ("words", "decades"),
    [
        ("a film of the 80s", {1980}),
        ("1990's or '70s", {1990, 1970}),
        ("from the nineties, or the 2000s", {1990, 2000}),
        ("the 10s, or the 60\u2019s", {2010, 1960}),
        ("I saw 80 of them in 1984", set()),
    ],
)
def test_decades_are_named_in_figures_or_words(traits: Traits, words: str, decades: set[int]) -> None:
    assert traits.wish(f"Seeker: {words}").decades == decades
    assert traits.wish(f"Recommender: {words}") == traits.wish("")


def test_something_new_and_something_old(traits: Traits) -> None:
    wishes = [traits.wish(f"Seeker: something {word}") for word in ("recent", "classic", "else")]
    assert [(wish.new, wish.old) for wish in wishes] == [(True, False), (False, True), (False, False)]


def test_a_world_without_genres_and_people_has_traits_too() -> None:
    bare = build_traits(
        MOVIES.with_columns(genres=None, directors=None, cast=None).cast(MOVIES.schema), np.zeros((3, 3), np.float32)
    )
    assert bare.genres.shape == (3, 0) and bare.people.shape == (3, 0)
    assert bare.wish("Seeker: a horror film by Ridley Scott") == bare.wish("")
