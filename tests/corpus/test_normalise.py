import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.corpus.normalise import normalise_name, normalise_title, normalised, plain_text, split_year


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Signs  (2008)", "Signs", 2008),
        ("Avatar ", "Avatar", None),
        ("2012 (2009)", "2012", 2009),
        ("1984", "1984", None),
        ("Hamlet (1999/I) (V)", "Hamlet", 1999),
        ("Jan Dara (2001 film)", "Jan Dara", 2001),
        ("Blade Runner (9999)", "Blade Runner (9999)", None),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        (" (2015)", "(2015)", None),
    ],
)
def test_the_year_in_brackets_is_split_off(text: str, title: str, year: int | None) -> None:
    assert split_year(text) == (title, year)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Matrix, The", "The Matrix"),
        ("Dolce Vita, La", "La Dolce Vita"),
        ("Mr. & Mrs. Smith", "Mr. &amp; Mrs. Smith"),
        ("Pride and Prejudice", "Pride & Prejudice"),
        ("Why Him%3F", "Why Him?"),
        ("Amélie", "amelie"),
        ("S.W.A.T.", "SWAT"),
        ("Schindler’s List", "Schindlers List"),
        ("Spider-Man", "Spider Man"),
        ("A Matrix", "The Matrix"),
        ("Romeo + Juliet", "Romeo & Juliet"),
        ("Straße", "STRASSE"),
    ],
)
def test_spellings_of_one_title_agree(one: str, other: str) -> None:
    assert normalise_title(one) == normalise_title(other)


@pytest.mark.parametrize(("one", "other"), [("Die Hard", "Hard"), ("Toy Story", "Toy Story 3"), ("Alien", "Aliens"), ("$", "!")])
def test_different_titles_stay_apart(one: str, other: str) -> None:
    assert normalise_title(one) != normalise_title(other)


@given(st.text())
def test_only_blank_titles_have_no_key(text: str) -> None:
    assert normalise_title(text) or not text.strip() or not text.encode("utf-8", "ignore").strip() or not _visible(text)


def _visible(text: str) -> bool:
    return any(letter.isprintable() and letter.isalnum() for letter in text)


@given(st.lists(st.text(max_size=20) | st.none()))
def test_a_column_is_normalised_as_its_strings_are(texts: list[str | None]) -> None:
    keys = normalised(pl.Series(texts, dtype=pl.String))
    assert dict(keys.iter_rows()) == {text: normalise_title(text) for text in texts if text is not None}


def test_names_agree_whatever_their_order_accents_and_initials() -> None:
    assert normalise_name("Wong Kar-wai") == normalise_name("Kar-Wai Wong")
    assert normalise_name("Robert Downey Jr.") == normalise_name("Robert Downey")
    assert normalise_name("Samuel L. Jackson") == normalise_name("Samuel Jackson")
    assert normalise_name("Penélope Cruz") == normalise_name("Penelope Cruz")


def test_html_is_resolved() -> None:
    assert plain_text("Jud S&uuml;&szlig; &amp;amp; <i>more</i>\n of it") == "Jud Süß & more of it"
    assert plain_text("5 < 6 and 7 > 2") == "5 < 6 and 7 > 2"
