"""Pools score as search does, and lessons say of a context what its feedback says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rar_pipeline.preference.feedback import build_preferences
from rar_pipeline.preference.lessons import build_lessons, rewarded
from rar_pipeline.preference.pools import NOWHERE, Pools
from rar_pipeline.preference.training import best_and_worse
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import build_queries
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings
from rar_pipeline.tables import FEEDBACK

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)


@pytest.mark.parametrize("changes", [{}, {"use_text": False, "use_item_text": False, "neighbours": 0}])
def test_pools_score_as_search_does(world: World, tmp_path: Path, changes: dict[str, object]) -> None:  # noqa: F811
    settings = Settings(
        hidden=16, pretraining_epochs=1, epochs=1, batch=32, negatives=8, neighbours=5, newcomer_votes=0
    ).model_copy(update=changes)
    made_of = world.catalogue, world.encode, settings, lambda line: None
    pretrain(tmp_path / "pretrained", tmp_path / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(tmp_path / "round_0", tmp_path / "attempts", "redial", world.cases, tmp_path / "pretrained", *made_of)
    retriever, version = load(tmp_path / "round_0")
    if settings.neighbours:
        retriever.cooccurrence_weight = torch.tensor(3.0)
    retriever.newcomer_weight = torch.tensor(7.0)
    queries = build_queries(world.cases.head(50), world.catalogue, world.encode, turns=6, max_history=50)
    found, scores = search(build_index(retriever, world.catalogue, version.known), queries, 72)  # more than a history leaves
    assert (found < 0).any()
    if not changes:
        without, _ = search(build_index(retriever, world.catalogue, version.known), queries, 72, newcomer_weight=0.0)
        assert (without != found).any(), "newcomers are put forward in this world"
    pools = Pools(retriever, world.catalogue, version.known, queries, found)
    mine = pools.all_scores(retriever).numpy()
    np.testing.assert_allclose(mine[found >= 0], scores[found >= 0], rtol=1e-4, atol=1e-4)
    assert (mine[found < 0] < NOWHERE / 2).all(), "where there is no movie there is no probability"
    shuffled = np.random.default_rng(0).permuted(found, axis=1)
    best = Pools(retriever, world.catalogue, version.known, queries, shuffled).best(retriever, 10)
    assert (best == found[:, :10]).mean() > 0.99, "the order of a pool says nothing"


CATALOGUE = Catalogue(tuple(f"m{n}" for n in range(8)), np.zeros((8, 2), np.float16), np.zeros((8, 3), np.float32))


def feedback(*rows: dict[str, object]) -> object:
    base = {"case_id": "1", "targets": ["m0"], "forced": False, "status": "answered"}
    return FEEDBACK.frame({**base, "set_id": number, **row} for number, row in enumerate(rows))


def test_lessons_by_hand() -> None:
    frame = feedback(
        {"candidates": ["m1", "m0"], "ranking": ["m1", "m0"], "reward": 0.6},
        {"candidates": ["m2", "m3"], "status": "skipped", "reward": 0.0},
        {"candidates": ["m0", "m3"], "ranking": ["m0", "m3"], "reward": 1.0},
        {"candidates": ["m4", "m0"], "status": "failed"},
    )
    pools = np.array([[3, 2, 1, 0, 5, -1]])
    lessons = build_lessons(rewarded(frame), build_preferences(frame), pools, CATALOGUE)
    assert lessons.sets[0, :3].tolist() == [[2, 3], [1, 0], [3, 0]]
    assert lessons.rewards[0].tolist() == pytest.approx([0.6, 0.0, 1.0])
    assert lessons.drawn[0].tolist() == [True, True, True]
    assert [tuple(pair) for pair in np.argwhere(lessons.beats[0])] == [(0, 1), (2, 0), (2, 1)]
    assert lessons.targets[0].tolist() == [False, False, False, True, False, False]
    cost = 1 - 1 / np.log2(3)
    assert lessons.credits[0].tolist() == pytest.approx([0, 0, -cost / 2, (1 + 1 / np.log2(3)) / 2, 0, 0], abs=1e-6)
    positives, negatives = (
        part[0].tolist() for part in best_and_worse(*map(torch.from_numpy, (lessons.sets, lessons.beats, lessons.targets)))
    )
    assert positives == [False, False, False, True, False, False], "the target; m3 is held by a set that lost, too"
    assert negatives == [True, True, True, False, False, False]


def test_a_forced_movie_takes_a_place_that_no_set_uses_and_is_no_draw() -> None:
    frame = feedback(
        {"candidates": ["m1", "m0"], "forced": True, "status": "skipped", "reward": 1.0},
        {"candidates": ["m2", "m3"], "status": "skipped", "reward": 0.0},
    )
    lessons = build_lessons(rewarded(frame), build_preferences(frame), np.array([[1, 4, 2, 3]]), CATALOGUE)
    assert lessons.pools.tolist() == [[1, 0, 2, 3]] and lessons.targets[0].tolist() == [False, True, False, False]
    assert lessons.drawn[0].tolist() == [False, True], "nobody drew the first, and 1 is no judge's reward"
