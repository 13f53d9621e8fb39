"""A data set of another domain, as docs/own-data.md brings it: the example itself is what is tested."""

import subprocess
import sys
from pathlib import Path

import pytest

from examples.books import books
from rar_pipeline.errors import RarError
from rar_pipeline.own_data import items_table, learn
from rar_pipeline.resources import Lake
from rar_pipeline.service.lake import open_champion
from rar_pipeline.service.talk import Said, Talk
from rar_pipeline.tables import MENTIONS

from .small_world import small_encoder

PROJECT = Path(__file__).resolve().parent.parent


def test_made_up_books_are_learnt_and_recommended_in_under_a_hundred_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(Path(books.__file__).read_text().splitlines()) < 100
    few = {"lake": tmp_path, "encoder": str(small_encoder(tmp_path / "encoder")), "device": "cpu"}
    books.main(**few)
    said = capsys.readouterr().out
    assert "348 of 348 mentions linked" in said
    settings = books.settings(**few)
    assert Lake(root=str(settings.root)).read(MENTIONS, "books")["movie_id"].null_count() == 0
    champion, llm = open_champion(settings, "books")
    assert not llm
    genre = {str(book["title"]): book["genres"] for book in books.books()}
    asked = {
        "I loved Ember Road. Something else with dragons": "Fantasy",
        "I loved Orbit of Glass, more about space": "Science Fiction",
    }
    for wish, wanted in asked.items():
        found = champion.recommend(Talk(turns=[Said(text=wish)], movies=4))
        assert all(mention.movie for mention in found.mentions)
        assert wanted in genre[found.candidates[0].title]
    # what is there is found by the command line too
    command = [sys.executable, "-m", "rar_pipeline.cli", "--sources", "examples/books", "--lake", str(tmp_path), "versions"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(
        line.split()[:2] == ["books", "round_0"] and line.endswith("champion")
        for line in map(str.rstrip, done.stdout.splitlines())
    )


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([{"movie_id": "a", "title": "A"}, {"movie_id": "a", "title": "B"}], "item 2 ('B')"),
        ([{"movie_id": "a"}], "item 1 (None): expected a title"),
        ([{"movie_id": "a", "title": "A", "author": "N"}], "no such column 'author'"),
        ([{"movie_id": "a", "title": "A", "year": "long ago"}], "items: a value has the wrong type"),
    ],
)
def test_items_that_will_not_do_are_named(items: list[dict[str, object]], told: str) -> None:
    with pytest.raises(RarError) as raised:
        items_table(items)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_conversations_that_name_nothing_of_the_items_are_told_as_such(tmp_path: Path) -> None:
    encoder = small_encoder(tmp_path / "encoder")
    settings = books.settings(lake=tmp_path, encoder=str(encoder), device="cpu")
    other = items_table([{"movie_id": "a", "title": "A Book That Nobody Names", "year": 1999}])
    with pytest.raises(RarError, match=r"no case|no movie"):
        learn(settings, "books", other, books.conversations(), log=lambda line: None)
