"""Movies that no training conversation names are put forward where they resemble a movie of the history, and nothing else changes."""

from dataclasses import replace

import numpy as np
import torch

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.network import NetworkConfig, Retriever
from rar_pipeline.retriever.newcomers import LIKENESS, find_newcomers
from rar_pipeline.retriever.search import Index, build_index, search
from tests.retriever.test_search import made_up


def with_votes(likeness: float = 0.9, votes: int = 5000) -> tuple[Retriever, Catalogue, list[str], object]:
    """The made-up catalogue, in which tt001, which is not known, resembles tt003, which is, and only tt001 and tt002 have votes."""
    retriever, catalogue, known, queries = made_up()
    embeddings = catalogue.embeddings.astype(np.float64)
    old, other = embeddings[3] / np.linalg.norm(embeddings[3]), embeddings[1]
    across = other - (other @ old) * old
    embeddings[1] = 2.0 * (likeness * old + np.sqrt(1 - likeness**2) * across / np.linalg.norm(across))
    facts = catalogue.facts.copy()
    facts[[1, 2], 0] = np.log10(votes + 1)
    config = NetworkConfig(**{**retriever.config.as_dict(), "newcomers": 3})
    bigger = Retriever(config).eval()
    bigger.load_state_dict(retriever.state_dict())
    return bigger, Catalogue(catalogue.movie_ids, embeddings.astype(np.float16), facts), known, queries


def every_score(index: Index, queries: object, weight: float) -> np.ndarray:
    """Scores of all movies for every query, -inf where they are left out."""
    rows, values = search(index, queries, 50, newcomer_weight=weight)
    scores = np.full(rows.shape, -np.inf, np.float32)
    for query in range(len(rows)):
        there = rows[query] >= 0
        scores[query, rows[query][there]] = values[query][there]
    return scores


def test_only_what_resembles_a_movie_of_the_history_rises_and_by_what_is_said() -> None:
    retriever, catalogue, known, queries = with_votes()
    index = build_index(retriever, catalogue, known)
    before, after = every_score(index, queries, 0.0), every_score(index, queries, 10.0)
    risen = np.where(np.isinf(before), 0, after) - np.where(np.isinf(before), 0, before)
    for query, history in enumerate(queries.histories):
        assert np.flatnonzero(risen[query]).tolist() == ([1] if 3 in history and 1 not in history else [])
        np.testing.assert_array_equal(np.isinf(before[query]), np.isinf(after[query]))
    np.testing.assert_allclose(risen[1, 1], 10.0 * (0.9 - LIKENESS), atol=0.01)


def test_short_lists_are_the_head_of_long_ones() -> None:
    retriever, catalogue, known, queries = with_votes()
    index = build_index(retriever, catalogue, known)
    long, long_scores = search(index, queries, 50, newcomer_weight=40.0)
    assert long[1, 0] == 1  # the newcomer leads: it was pulled up from wherever it stood
    for k in (1, 2, 5, 20):
        short, scores = search(index, queries, k, newcomer_weight=40.0)
        np.testing.assert_array_equal(short, long[:, :k])
        np.testing.assert_array_equal(scores, long_scores[:, :k])


def test_what_is_not_allowed_is_not_put_forward() -> None:
    retriever, catalogue, known, queries = with_votes()
    found, _ = search(build_index(retriever, catalogue, known, [2, 4, 5, 30]), queries, 4, newcomer_weight=1000.0)
    assert 1 not in found
    found, _ = search(build_index(retriever, catalogue, known, [1, 4, 5, 30]), queries, 4, newcomer_weight=1000.0)
    assert found[1, 0] == 1


def test_few_votes_and_little_likeness_put_nothing_forward() -> None:
    for likeness, votes in ((0.9, 900), (0.4, 5000), (0.9999, 5000)):  # the last is a movie listed twice
        _, catalogue, known, _ = with_votes(likeness, votes)
        assert 1 not in find_newcomers(catalogue, tuple(known), 3, 1000).rows[known.index("tt003")]
    _, catalogue, known, _ = with_votes()
    assert 1 in find_newcomers(catalogue, tuple(known), 3, 1000).rows[known.index("tt003")]


def test_a_movie_added_yesterday_is_put_forward_without_training() -> None:
    retriever, catalogue, known, queries = with_votes()
    yesterday = [row for row in range(50) if row != 1]
    older = Catalogue(
        tuple(catalogue.movie_ids[row] for row in yesterday), catalogue.embeddings[yesterday], catalogue.facts[yesterday]
    )
    assert len(find_newcomers(older, tuple(known), 3, 1000).rows)
    retriever.newcomer_weight = torch.tensor(40.0)
    found, _ = search(build_index(retriever, catalogue, known), queries.some([1]), 5)
    assert found[0, 0] == 1


def test_a_corpus_without_newcomers_is_searched_as_before() -> None:
    retriever, catalogue, known, queries = with_votes()
    everything = replace(queries, histories=((), (), (), ()))
    index = build_index(retriever, catalogue, known)
    for asked in (everything, queries):
        np.testing.assert_array_equal(
            search(index, asked, 10, newcomer_weight=0.0)[0][0], search(index, asked, 10, newcomer_weight=40.0)[0][0]
        )
