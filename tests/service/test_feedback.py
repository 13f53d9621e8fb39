"""What people thought of recommendations becomes conversations that the pipeline can learn from."""

from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.retriever.examples import positives, refusals, training_sets
from rar_pipeline.service.app import tables_of
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.feedback import DIALOGUE_PARTS, forget, gather, keep
from rar_pipeline.service.talk import Feedback, Named, Opinion, Reaction, Said
from rar_pipeline.tables import CHAT

NAME = "0f8fad5b-d9cb-469f-a165-70867728950e"


def id_of(champion: Champion, title: str) -> str:
    return str(champion.movies.filter(pl.col("title") == title)["movie_id"].item())


@pytest.fixture
def given(champion: Champion) -> Feedback:
    """Heat was named; of two recommended movies one is liked, one refused, one more was seen; one was passed over."""
    ids = {title: id_of(champion, title) for title in ("Casablanca", "Alien", "Jaws", "Vertigo")}
    shown = [Named(text=title, movie_id=movie) for title, movie in ids.items()]
    turns = [
        Said(text="I loved Heat (1995)"),
        Said(speaker="recommender", text="How about Casablanca?", movies=shown),
        Said(text="More"),
    ]
    opinions: dict[str, Opinion] = {"Casablanca": "liked", "Alien": "disliked", "Jaws": "seen"}
    reactions = [Reaction(turn=1, movie_id=ids[title], opinion=opinion) for title, opinion in opinions.items()]
    return Feedback(conversation_id=NAME, turns=turns, reactions=reactions)


def test_liked_is_taught_disliked_is_a_refusal_and_what_was_passed_over_says_nothing(
    champion: Champion, given: Feedback, tmp_path: Path
) -> None:
    keep(tmp_path, *tables_of(champion, given))
    _, mentions, cases, damaged = gather(tmp_path)
    assert damaged == 0
    (case,) = cases.filter(pl.col("origin") == "dialogue").rows(named=True)
    assert case["dataset"] == CHAT
    assert case["split"] == "train"
    assert case["context"] == "Seeker: I loved Heat (1995)"
    assert case["history"] == [id_of(champion, "Heat")]
    taught = cases.filter(pl.col("origin") == "dialogue")
    names = champion.catalogue.movie_ids
    assert [names[row] for _, row in positives(taught, champion.catalogue)] == [id_of(champion, "Casablanca")]
    assert [names[row] for _, row in refusals(taught, champion.catalogue)] == [id_of(champion, "Alien")]
    (together,) = training_sets(mentions)
    assert set(together) == {id_of(champion, title) for title in ("Heat", "Casablanca", "Jaws")}


def test_what_was_seen_is_what_the_seeker_says_next(champion: Champion, given: Feedback) -> None:
    dialogues, mentions = tables_of(champion, given)
    assert dialogues["speaker"].to_list() == ["seeker", "recommender", "seeker"]
    assert dialogues["text"][2] == "I have seen Jaws (1975). More"
    assert mentions.filter(pl.col("turn") == 2)["movie_id"].to_list() == [id_of(champion, "Jaws")]


def test_a_conversation_that_goes_on_takes_the_place_of_what_was_kept(
    champion: Champion, given: Feedback, tmp_path: Path
) -> None:
    keep(tmp_path, *tables_of(champion, given))
    keep(tmp_path, *tables_of(champion, given.model_copy(update={"turns": [*given.turns, Said(text="Thanks")]})))
    dialogues, _, cases, _ = gather(tmp_path)
    assert dialogues["text"].to_list()[-1] == "I have seen Jaws (1975). More Thanks"
    assert cases["case_id"].is_unique().all()
    forget(tmp_path, NAME)
    assert gather(tmp_path)[0].is_empty()


def test_a_damaged_part_is_counted_and_costs_itself_alone(champion: Champion, given: Feedback, tmp_path: Path) -> None:
    keep(tmp_path, *tables_of(champion, given))
    (tmp_path / DIALOGUE_PARTS / "broken.parquet").write_bytes(b"PAR1 no")
    dialogues, _, _, damaged = gather(tmp_path)
    assert (dialogues["dialogue_id"].unique().to_list(), damaged) == ([NAME], 1)


def test_reactions_to_what_is_not_there_are_left_out(champion: Champion, given: Feedback) -> None:
    wild = [
        Reaction(turn=40, movie_id=given.reactions[0].movie_id, opinion="liked"),
        Reaction(turn=1, movie_id="tt9999999", opinion="liked"),
    ]
    _, mentions = tables_of(champion, given.model_copy(update={"reactions": wild}))
    assert mentions["movie_id"].to_list() == [id_of(champion, "Heat")]
