"""Rating sequences: linked to the corpus, nothing lost in silence, and taught so that nobody learns from what came later."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.ratings import HISTORY, STRIDE, rating_cases, rating_sequences
from rar_pipeline.retriever.rounds import pretrain
from rar_pipeline.tables import CASES, PLACEMENTS, RATING_SEQUENCES

from .conftest import EACH, GENRES, World
from .test_training import SETTINGS

LINKED = PLACEMENTS.frame(
    [
        {"source": "movielens", "source_id": "1", "movie_id": "tt0000001"},
        {"source": "movielens", "source_id": "3", "movie_id": "tt0000003"},
        {"source": "movielens", "source_id": "4", "movie_id": None, "left_out": "not a movie"},
        {"source": "tmdb", "source_id": "2", "movie_id": "tt0000002"},  # another source's id
    ]
)


def test_ratings_are_linked_by_movielens_id_in_order_and_what_is_not_is_counted(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.tsv").write_text("user\titems\n7\t3 2 1\n9\t4 3\n")
    frame, dropped = rating_sequences(tmp_path / "ml-1m.tsv", LINKED)
    assert RATING_SEQUENCES.conform(frame).rows() == [(0, 0, "tt0000003"), (0, 2, "tt0000001"), (1, 1, "tt0000003")]
    assert dict(dropped) == {"movie is not in the corpus": 2}


def test_a_damaged_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.tsv").write_text("user\titems\n7\t3 x\n")
    with pytest.raises(RarError, match=r"ml-1m\.tsv, line 2"):
        rating_sequences(tmp_path / "ml-1m.tsv", LINKED)


def test_a_taught_rating_has_only_earlier_ones_as_its_history() -> None:
    movies = [f"tt{number:07d}" for number in range(3 * STRIDE)]
    rows = [{"user": 5, "position": place, "movie_id": movie} for place, movie in enumerate(movies)]
    cases = CASES.conform(rating_cases(RATING_SEQUENCES.frame(rows)))
    assert len(cases) == 3
    for history, (target,) in cases.select("history", "targets").iter_rows():
        end = movies.index(target)
        assert history == movies[max(0, end - HISTORY) : end]
    assert cases["case_id"].is_unique().all()


def test_a_movie_rated_again_is_not_taught_to_follow_itself_and_one_rating_teaches_nothing() -> None:
    rows = [(1, 0, "tt1"), (1, 1, "tt1"), (2, 0, "tt1")]
    frame = pl.DataFrame(rows, schema=RATING_SEQUENCES.schema, orient="row")
    assert len(rating_cases(frame)) == 0


def test_what_ratings_teach_helps_the_first_epoch_of_conversations(world: World, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    rows = []
    for user in range(60):
        genre = int(generator.integers(GENRES))
        drawn = generator.permutation(EACH - 1) + genre * EACH
        rows += [{"user": user, "position": place, "movie_id": f"tt{row:03d}"} for place, row in enumerate(drawn.tolist())]
    ratings = RATING_SEQUENCES.frame(rows)
    settings = SETTINGS.model_copy(update={"use_text": False, "pretraining_epochs": 1, "rating_epochs": 6})
    losses, told = {}, []
    for name, given in (("with", ratings), ("without", None)):
        made_of = world.catalogue, world.encode, settings, told.append
        version, now = pretrain(
            tmp_path / name, tmp_path / f"{name}-attempts", world.cases, world.mentions, *made_of, ratings=given
        )
        assert now
        losses[name] = version.curve[0]["loss"]
    assert losses["with"] < losses["without"]
    assert any("ratings first" in line for line in told)
