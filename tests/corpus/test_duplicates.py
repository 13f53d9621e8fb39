"""Likely duplicates: what the merge is measured by finds the same film twice, and leaves namesakes, remakes and the unknown alone."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.corpus.duplicates import SCHEMA, likely_duplicates, repeats
from rar_pipeline.tables import MOVIES


def film(
    movie_id: str, title: str, year: int | None, directors: tuple[str, ...] = (), cast: tuple[str, ...] = ()
) -> dict[str, object]:
    return {"movie_id": movie_id, "title": title, "year": year, "directors": list(directors), "cast": list(cast)}


def pairs(*films: dict[str, object]) -> list[tuple[str, str]]:
    return list(likely_duplicates(MOVIES.frame(films)).select("movie_id", "other_id").iter_rows())


LEE = ("Ann Lee",)


def test_one_director_in_common_is_enough_however_title_and_name_are_written():
    found = likely_duplicates(
        MOVIES.frame([film("tt1", "The Big House", 1930, LEE), film("x:1", "Big House, The", 1931, ("LEE, Ann",))])
    )
    assert found.schema == pl.Schema(SCHEMA)
    assert found.select("movie_id", "other_id", "shared_directors", "shared_cast").row(0) == ("tt1", "x:1", 1, 0)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (film("tt2", "Home", 2012, LEE), "two years apart"),
        (film("tt2", "Home", None, LEE), "no year"),
        (film("tt2", "Home Again", 2010, LEE), "another title"),
        (film("tt2", "Home", 2010, ("Bob Ray",), ("X One",)), "one of the cast"),
        (film("tt2", "Home", 2010), "nobody is named"),
        (film("tt2", "Home", 2010, (), LEE), "the director acts in a namesake"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_likely_duplicate(other, why):
    assert pairs(film("tt1", "Home", 2010, LEE, ("X One", "Y Two")), other) == []


def test_two_of_the_cast_in_common_are_enough_and_one_name_twice_is_one():
    cast = ("X One", "Y Two", "Z Three")
    assert pairs(film("tt1", "Home", 2010, (), cast), film("tt2", "Home", 2009, (), ("Y Two", "X One"))) == [("tt1", "tt2")]
    assert pairs(film("tt1", "Home", 2010, (), ("X One", "X. One")), film("tt2", "Home", 2010, (), ("X One", "x one"))) == []


def test_three_times_the_same_film_are_three_pairs_and_two_repeats():
    films = [film(name, "Home", 2010, LEE) for name in ("tt1", "tt2", "tt3")]
    assert pairs(*films) == [("tt1", "tt2"), ("tt1", "tt3"), ("tt2", "tt3")]
    assert repeats(MOVIES.frame(films)).to_list() == [False, True, True]


def test_a_list_that_is_null_is_an_empty_one():
    nobody = film("tt2", "Home", 2010, LEE) | {"cast": None}
    assert pairs(film("tt1", "Home", 2010, LEE), nobody) == [("tt1", "tt2")]


def test_an_empty_corpus_has_none():
    assert likely_duplicates(MOVIES.empty()).schema == pl.Schema(SCHEMA)
    assert repeats(MOVIES.empty()).to_list() == []


@settings(max_examples=15, deadline=None)
@given(st.permutations([("a", 2010), ("b", 2011), ("c", 2012), ("d", 2030)]))
def test_the_order_of_the_rows_does_not_matter(order):
    assert pairs(*(film(name, "Home", year, LEE) for name, year in order)) == [("a", "b"), ("b", "c")]
