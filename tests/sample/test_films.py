"""The list of films: enough of them, well formed, with ids that cannot be taken for each other."""

import json

import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.sample.films import load_films, person_ids

RECORD = {
    "title": "The Lamp Room",
    "original_title": None,
    "year": 1961,
    "kind": "movie",
    "runtime": 93,
    "genres": ["Drama"],
    "directors": ["Ada Quill"],
    "cast": ["Ben Orr", "Ada Quill"],
    "rating": 7.2,
    "votes": 1200,
    "plot": "A lamp maker waits for a letter that never comes home.",
}


def write(folder, *records, name="films_a.jsonl"):
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_bundled_list_is_large_enough_and_in_order():
    films = load_films()
    assert len(films) >= 450
    assert [(film.year, film.title) for film in films] == sorted((film.year, film.title) for film in films)
    assert [film.imdb_id for film in films[:2]] == ["tt0000001", "tt0000002"]


@pytest.mark.parametrize("name", ["imdb_id", "tmdb_id", "movielens_id", "wikidata_id", "redial_id"])
def test_every_film_has_its_own_id(name):
    films = load_films()
    assert len({getattr(film, name) for film in films}) == len(films)


def test_an_original_title_falls_back_to_the_title_and_people_are_named_once(tmp_path):
    write(tmp_path, RECORD)
    (film,) = load_films(tmp_path)
    assert film.original_title == "The Lamp Room"
    assert film.people == ("Ada Quill", "Ben Orr")
    assert person_ids([film]) == {"Ada Quill": "nm0000001", "Ben Orr": "nm0000002"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"year": "1961"}, "year"),
        ({"year": 1700}, "year"),
        ({"kind": "short"}, "kind"),
        ({"genres": ["Weepie"]}, "genres"),
        ({"cast": []}, "cast"),
        ({"votes": True}, "votes"),
        ({"rating": 11.0}, "rating"),
        ({"plot": "Too short."}, "plot"),
        ({"title": "Tab\there"}, "title"),
        ({"colour": "blue"}, "exactly the fields"),
    ],
)
def test_a_malformed_film_is_refused_with_its_place(tmp_path, change, named):
    write(tmp_path, RECORD, RECORD | {"title": "Another"} | change)
    with pytest.raises(RarError, match=rf"films_a\.jsonl:2: .*{named}"):
        load_films(tmp_path)


def test_a_film_may_be_listed_once_only_over_all_files(tmp_path):
    write(tmp_path, RECORD)
    write(tmp_path, RECORD, name="films_b.jsonl")
    with pytest.raises(RarError, match=r"films_b\.jsonl:1: The Lamp Room \(1961\) is listed twice"):
        load_films(tmp_path)


def test_broken_json_and_a_missing_list_are_told(tmp_path):
    with pytest.raises(RarError, match="no films_"):
        load_films(tmp_path)
    (tmp_path / "films_a.jsonl").write_text('{"title": \n')
    with pytest.raises(RarError, match=r"films_a\.jsonl:1: not JSON"):
        load_films(tmp_path)
