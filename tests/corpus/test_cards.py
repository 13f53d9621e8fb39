from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.corpus.cards import card, cards, cut, item_text, item_texts
from rar_pipeline.tables import MOVIES

ALIEN = {
    "movie_id": "tt0078748",
    "title": "Alien",
    "year": 1979,
    "genres": ["Horror", "Sci-Fi"],
    "directors": ["Ridley Scott"],
    "cast": ["Sigourney Weaver", "Tom Skerritt"],
    "plot": "A crew meets a creature.",
}


def test_a_full_record_has_all_its_pieces() -> None:
    assert (
        item_text(ALIEN) == "Alien (1979); Horror, Sci-Fi; Ridley Scott; Sigourney Weaver, Tom Skerritt; A crew meets a creature."
    )
    assert card(ALIEN) == "Horror, Sci-Fi | directed by Ridley Scott; Sigourney Weaver, Tom Skerritt | A crew meets a creature."


def test_missing_pieces_leave_no_separators() -> None:
    bare = {"title": "Alien", "year": None, "genres": [], "directors": [], "cast": [], "plot": None}
    assert (item_text(bare), card(bare)) == ("Alien", "")
    assert item_text({**bare, "plot": "A crew."}) == "Alien; A crew."
    assert card({**bare, "directors": ["R. Scott"]}) == "directed by R. Scott"


def test_a_frame_is_described_as_its_rows_are() -> None:
    frame = MOVIES.frame([ALIEN, {**ALIEN, "movie_id": "x", "plot": None}])
    rows = list(frame.iter_rows(named=True))
    assert item_texts(frame) == [item_text(row) for row in rows]
    assert cards(frame) == [card(row) for row in rows]


@given(st.text(), st.integers(1, 80))
def test_a_cut_text_is_one_line_of_at_most_the_length_and_ends_with_a_whole_word(text: str, characters: int) -> None:
    short = cut(text, characters)
    assert len(short) <= characters
    assert "\n" not in short
    whole = " ".join(text.split())
    assert short == whole or short.endswith("…")


def test_words_are_not_torn() -> None:
    assert cut("one two three", 9) == "one two…"
    assert cut("one two three", 13) == "one two three"
