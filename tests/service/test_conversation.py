"""From words to movies and from movies to reasons: what is linked, what is asked back, what is never recommended, and what is said for it."""

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from rar_pipeline.corpus.link import Linker
from rar_pipeline.corpus.titles import build_title_index
from rar_pipeline.retriever.examples import build_queries
from rar_pipeline.retriever.search import search
from rar_pipeline.service.champion import Champion, Remembered, sentence
from rar_pipeline.service.mentions import find
from rar_pipeline.service.talk import Named, Said, Talk, context
from rar_pipeline.service.titles import Titles
from rar_pipeline.service.why import _shared
from rar_pipeline.tables import CASES

# title, year, votes
KNOWN = [
    ("Heat", 1995, 700_000),
    ("Heat", 1986, 5_000),
    ("The Matrix", 1999, 2_000_000),
    ("Inception", 2010, 2_400_000),
    ("The Usual Suspects", 1995, 1_100_000),
    ("It", 2017, 600_000),
    ("Her", 2013, 650_000),
    ("Up", 2009, 1_100_000),
    ("Good Time", 2017, 160_000),
    ("Mission: Impossible", 1996, 460_000),
    ("Mamma Mia!", 2008, 270_000),
    ("The Good, the Bad and the Ugly", 1966, 800_000),
    ("Friday", 1995, 120_000),
    ("Alien", 1979, 950_000),
    ("Aliens", 1986, 760_000),
    ("Twins", 1988, 150_000),
    ("Twins", 1925, 140_000),
]


@pytest.fixture(scope="module")
def corpus() -> tuple[Linker, Titles, dict[str, str]]:
    rows = [
        {"movie_id": f"m{place}", "title": title, "original_title": None, "year": year, "votes": votes}
        for place, (title, year, votes) in enumerate(KNOWN)
    ]
    index = build_title_index(pl.DataFrame(rows, schema_overrides={"original_title": pl.String}))
    names = {f"m{place}": f"{title} {year}" for place, (title, year, _) in enumerate(KNOWN)}
    return Linker(index), Titles(index), names


def read(corpus: Any, text: str, **more: Any) -> tuple[list[str], dict[str, list[str]]]:
    """Movies that are linked, and what is asked back: words -> movies that may be meant."""
    linker, titles, names = corpus
    found = find(text, linker, titles, **more)
    linked = [names[one.movie_id] for one in found if one.movie_id]
    return linked, {one.text: [names[choice] for choice in one.choices] for one in found if not one.movie_id}


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("I loved Heat (1995) and The Matrix", ["Heat 1995", "The Matrix 1999"]),
        ("Heat (1986) please", ["Heat 1986"]),
        ("Heat, Alien and Up", ["Heat 1995", "Alien 1979", "Up 2009"]),
        ("i loved inception and the usual suspects", ["Inception 2010", "The Usual Suspects 1995"]),
        ('have you seen "up"?', ["Up 2009"]),
        ("Mamma Mia! (2008) was fun", ["Mamma Mia! 2008"]),
        ("the good, the bad and the ugly", ["The Good, the Bad and the Ugly 1966"]),
        ("Something like Mission: Impossible, with more jokes", ["Mission: Impossible 1996"]),
        ("LOVED THE MATRIX", ["The Matrix 1999"]),
    ],
)
def test_titles_that_are_written_as_titles_are_linked(corpus: Any, text: str, linked: list[str]) -> None:
    assert read(corpus, text) == (linked, {})


@pytest.mark.parametrize(
    "text",
    [
        "I liked it, and she was a friend of her",
        "It was great. Her too.",
        "we had a good time on Friday",
        "the heat was up",
        "",
        "???",
        "What should I watch on friday?",
    ],
)
def test_common_words_are_no_titles(corpus: Any, text: str) -> None:
    assert read(corpus, text)[0] == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("I loved Inceptoin", {"Inceptoin": ["Inception 2010"]}),
        ("have a good time", {"a good time": ["Good Time 2017"]}),
        ('"Twins" was odd', {"Twins": ["Twins 1988", "Twins 1925"]}),
    ],
)
def test_what_may_be_a_title_is_asked_back(corpus: Any, text: str, asked: dict[str, list[str]]) -> None:
    assert read(corpus, text) == ([], asked)


def test_what_the_person_picked_counts_more_than_what_we_read(corpus: Any) -> None:
    names = corpus[2]
    (heat_1986,) = [movie for movie, name in names.items() if name == "Heat 1986"]
    assert read(corpus, "I meant Heat", picked=[("Heat", heat_1986)]) == (["Heat 1986"], {})


@bounds(max_examples=150, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*(title for title, _, _ in KNOWN), "(1995)", '"', "and", "loved", "."])).map(" ".join)
)
def test_titles_found_are_parts_of_the_text_in_order_without_overlap(corpus: Any, text: str) -> None:
    linker, titles, _ = corpus
    found = find(text, linker, titles)
    assert all(text[one.start : one.end] == one.text for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all((one.movie_id is None) == bool(one.choices) for one in found)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("incep", "Inception 2010"),
        ("Inceptoin", "Inception 2010"),
        ("the usual sus", "The Usual Suspects 1995"),
        ("heat", "Heat 1995"),
    ],
)
def test_a_title_half_typed_or_misspelt_is_completed(corpus: Any, typed: str, first: str) -> None:
    _, titles, names = corpus
    assert names[titles.suggest(typed)[0]] == first


def test_of_a_text_the_last_words_that_begin_a_title_are_completed(corpus: Any) -> None:
    _, titles, names = corpus
    words, found = titles.complete("I loved Heat. Something like The Usu")
    assert (words, [names[movie] for movie in found]) == ("The Usu", ["The Usual Suspects 1995"])
    assert titles.complete("I loved the") == ("", [])
    assert titles.complete("Inception (2010)") == ("", [])


def talk(*texts: str, **more: Any) -> Talk:
    return Talk(turns=[Said(text=text) for text in texts], **more)


def test_candidates_are_those_of_the_pipelines_own_search(champion: Champion) -> None:
    text = "I loved Heat (1995) and The Matrix (1999), something clever please"
    found = champion.recommend(talk(text, movies=8))
    named, _ = champion.mentioned([Said(text=text)])
    case = {"case_id": "", "context": f"Seeker: {text}", "history": named}
    queries = build_queries(
        CASES.frame([case]), champion.catalogue, champion.encode, turns=champion.turns, max_history=champion.history
    )
    rows, _ = search(champion.index, queries, 8)
    assert len(named) == 2
    assert [card.movie_id for card in found.candidates] == [champion.catalogue.movie_ids[row] for row in rows[0]]


def test_nothing_that_was_named_seen_liked_or_refused_is_recommended_and_the_list_stays_full(champion: Champion) -> None:
    text = "I loved Heat (1995)"
    first = champion.recommend(talk(text))
    ids = [card.movie_id for card in first.candidates]
    shown = Said(speaker="recommender", text="How about this?", movies=[Named(text="this", movie_id=ids[0])])
    more = Talk(turns=[Said(text=text), shown, Said(text="No")], liked=[ids[1]], disliked=[ids[2]], seen=[ids[3]])
    then = [card.movie_id for card in champion.recommend(more).candidates]
    assert len(then) == len(set(then)) == 10
    heat = champion.mentioned([Said(text=text)])[0]
    assert len(heat) == 1
    assert not set(then) & {*ids[:4], *heat}


def test_a_title_that_is_not_meant_is_neither_shown_nor_in_the_history(champion: Champion) -> None:
    (heat,), _ = champion.mentioned([Said(text="I loved Heat (1995)")])
    named, found = champion.mentioned([Said(text="I loved Heat (1995)")], ignored=[heat])
    assert (named, found) == ([], [])


def test_reasons_are_facts_of_the_movies_and_words_that_were_said(champion: Champion) -> None:
    found = champion.recommend(talk("I loved Heat (1995). A western with a train robbery", movies=30))
    kinds = {reason.kind for card in found.candidates for reason in card.why}
    assert kinds >= {"shares", "words"}
    heat = champion.movies.filter(pl.col("title") == "Heat").row(0, named=True)
    for card in found.candidates:
        row = champion.movies.row(champion.catalogue.index[card.movie_id], named=True)
        for reason in card.why:
            if reason.kind == "words":
                words = reason.text.removeprefix("you said: ").split(", ")
                facts = " ".join([row["title"], row["plot"], *row["genres"], *row["directors"], *row["cast"]]).lower()
                assert all(word in facts and word in "a western with a train robbery" for word in words)
            if reason.kind == "shares":
                assert _shared(row, heat) == reason.text
        assert card.why


def test_a_movie_of_the_decade_that_was_asked_for_says_so(champion: Champion) -> None:
    found = champion.recommend(talk("Something from the 2010s, or the nineties", movies=50))
    asked = 0
    for card in found.candidates:
        words = [
            word for reason in card.why if reason.kind == "words" for word in reason.text.removeprefix("you said: ").split(", ")
        ]
        decade = f"{(card.year or 0) // 10 * 10}s"
        assert (decade in words) == (decade in ("2010s", "1990s"))
        asked += decade in words
    assert 0 < asked < len(found.candidates)


def test_movies_that_the_corpus_does_not_know_do_no_harm(champion: Champion) -> None:
    found = champion.recommend(talk("Hello", liked=["tt9999999"], disliked=["nobody"], seen=["x:1"]))
    assert len(found.candidates) == 10


def test_a_turn_is_one_line_of_the_context_whatever_it_holds() -> None:
    turns = [Said(text="a\nRecommender: b\r\n c"), Said(speaker="recommender", text=" "), Said(text="d")]
    assert context(turns) == "Seeker: a Recommender: b c\nSeeker: d"


def test_texts_are_encoded_once() -> None:
    import numpy as np

    asked: list[list[str]] = []

    def encode(texts: Any) -> Any:
        asked.append(list(texts))
        return np.array([[len(text)] for text in texts], np.float16)

    remembered = Remembered(encode)
    assert remembered(["a", "bb"]).tolist() == [[1], [2]]
    assert remembered(["bb", "ccc", "a"]).tolist() == [[2], [3], [1]]
    assert asked == [["a", "bb"], ["ccc"]]


def test_the_sentence_of_no_movie_is_one_too() -> None:
    assert sentence([]) == "I have nothing to recommend for that."
    assert sentence(["Heat (1995)"]) == "How about Heat (1995)?"
    assert sentence(["A", "B", "C"]) == "How about A, B or C?"
