"""Recommenders without an LLM: what they must find, what they must never recommend."""

from __future__ import annotations

import numpy as np
import pytest

from rar_pipeline import tables
from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.baselines import dense, ease, fit_ease, popularity, rank


def mentions(*conversations, split="train", liked=None):
    return tables.MENTIONS.frame(
        {
            "dataset": "redial",
            "split": split,
            "dialogue_id": f"{split}{d}",
            "turn": i,
            "position": i,
            "speaker": "seeker",
            "text": movie,
            "movie_id": movie,
            "liked": liked,
        }
        for d, movies in enumerate(conversations)
        for i, movie in enumerate(movies)
    )


def cases(*histories):
    return tables.CASES.frame(
        {
            "dataset": "redial",
            "split": "test",
            "case_id": str(i),
            "dialogue_id": str(i),
            "history": list(history),
            "targets": ["z"],
            "disliked": [],
            "unlinked_targets": 0,
        }
        for i, history in enumerate(histories)
    )


def test_popularity_counts_conversations_breaks_ties_by_id_and_skips_the_history():
    seen = mentions("ba", "bb", "ac", "d")  # a: 2, b: 2 (a repetition counts once), c: 1, d: 1
    found = popularity(seen, cases("", "a", "abcd"))
    assert found["ranking"].to_list() == [["a", "b", "c", "d"], ["b", "c", "d"], []]
    assert found.schema == tables.RECOMMENDATIONS.schema


def test_test_conversations_and_disliked_movies_teach_nothing():
    seen = mentions("ab").vstack(mentions("cc", "c", split="test")).vstack(mentions("d", liked=0))
    assert popularity(seen, cases(""))["ranking"].to_list() == [["a", "b"]]
    assert fit_ease(seen).movie_ids == ["a", "b"]


def test_ease_on_a_checkerboard_finds_what_is_missing():
    # two groups of taste; whoever names three of a group gets its fourth first
    seen = mentions(*["abcd"] * 6, *["wxyz"] * 6)
    found = ease(fit_ease(seen, ridge=1.0), cases("abc", "wyz"))
    assert [ranking[0] for ranking in found["ranking"].to_list()] == ["d", "x"]


def test_ease_is_the_closed_form():
    seen = mentions("abc", "ab", "bc", "cd")
    matrix = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=float)
    inverse = np.linalg.inv(matrix.T @ matrix + 2 * np.eye(4))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    model = fit_ease(seen, ridge=2.0)
    np.testing.assert_allclose(model.weights, expected, atol=1e-6)
    assert model.counts.tolist() == [2, 3, 3, 1]


def test_ease_without_history_is_popularity():
    seen = mentions("ab", "bc", "b")
    assert ease(fit_ease(seen), cases(""))["ranking"].to_list() == popularity(seen, cases(""))["ranking"].to_list()


def test_ease_without_linked_mentions_says_so():
    with pytest.raises(RarError, match="EASE"):
        fit_ease(mentions())


def test_dense_orders_by_cosine_not_by_length():
    items = np.array([[1, 0], [5, 5], [0, 3]], dtype=np.float16)
    found = dense(np.array([[0, 9], [2, 1.9]], dtype=np.float32), items, ["a", "b", "c"], cases("", ""))
    assert found["ranking"].to_list() == [["c", "b", "a"], ["b", "a", "c"]]


def test_ranking_is_by_score_then_id_whatever_the_order_of_columns_and_never_longer_than_asked():
    rng = np.random.default_rng(0)
    ids = [f"m{i:03}" for i in range(300)]
    shuffled = rng.permutation(ids).tolist()
    scores = rng.integers(0, 5, (20, 300)).astype(np.float32)  # many ties, also at the last place
    histories = [rng.choice(ids, 4).tolist() for _ in range(20)]
    found = rank([scores[:7], scores[7:]], shuffled, cases(*histories), system="s")
    for row, history, ranking in zip(scores, histories, found["ranking"].to_list(), strict=True):
        plain = sorted((m for m in ids if m not in history), key=lambda m: (-row[shuffled.index(m)], m))
        assert ranking == plain[:50]


def test_scores_of_another_number_of_cases_are_refused():
    with pytest.raises(ValueError, match="2 cases"):
        rank([np.zeros((1, 2), np.float32)], ["a", "b"], cases("", ""), system="s")
