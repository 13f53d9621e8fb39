"""Search is exact, repeatable, and never recommends what was seen."""

import numpy as np
import torch

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.cooccurrence import ease, strongest
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.network import NetworkConfig, Retriever
from rar_pipeline.retriever.search import Index, build_index, search


def made_up(seed: int = 0) -> tuple[Retriever, Catalogue, list[str], Queries]:
    generator = np.random.default_rng(seed)
    catalogue = Catalogue(
        tuple(f"tt{n:03d}" for n in range(50)), generator.normal(size=(50, 16)).astype(np.float16), np.zeros((50, 3), np.float32)
    )
    known = [f"tt{n:03d}" for n in range(0, 50, 3)]
    torch.manual_seed(seed)
    retriever = Retriever(NetworkConfig(50, len(known), text_width=16, hidden=8, neighbours=4)).eval()
    columns, values = strongest(ease([[0, 1, 2], [1, 2], [3, 4, 5], [0, 5]], len(known), 1.0), 4)
    retriever.cooccurrence_columns, retriever.cooccurrence_values = torch.from_numpy(columns), torch.from_numpy(values)
    retriever.cooccurrence_weight = torch.tensor(3.0)
    histories = ((), (0, 3, 7), tuple(range(40)), (0, 0, 3))
    text, words = generator.normal(size=(2, 4, 16)).astype(np.float16)
    turns, speakers = generator.integers(4, size=(4, 6)), np.array([[1, 2, 1, 0, 0, 0], [0] * 6, [2] * 6, [1] + [0] * 5])
    queries = Queries(tuple("abcd"), histories, text, np.array([True, False, True, True]), turns, speakers, words)
    return retriever, catalogue, known, queries


def scores(index: Index, queries: Queries, row: int) -> np.ndarray:
    """What search says of every movie for one query, -inf where it says nothing."""
    found, values = search(index, queries.some([row]), len(index.vectors))
    whole = np.full(len(index.vectors), -np.inf, np.float32)
    whole[found[0][found[0] >= 0]] = values[0][found[0] >= 0]
    return whole


def test_a_seen_movie_is_never_recommended() -> None:
    retriever, catalogue, known, queries = made_up()
    found, values = search(build_index(retriever, catalogue, known), queries, 10)
    for row, history in enumerate(queries.histories):
        assert not set(found[row]) & set(history)
        assert (np.diff(values[row]) <= 0).all()
        assert (found[row] >= 0).all()


def test_scores_are_query_times_vector_plus_bias_plus_cooccurrence() -> None:
    retriever, catalogue, known, queries = made_up()
    index = build_index(retriever, catalogue, known)
    batch = queries.batch([1])
    with torch.no_grad():
        query = retriever.query(index.vectors[batch[0]], *batch[1:])[0]
    weights = ease([[0, 1, 2], [1, 2], [3, 4, 5], [0, 5]], len(known), 1.0)
    kept, numbers = strongest(weights, 4), {0: 0, 3: 1}  # catalogue row -> known number of the history's movies
    expected = index.vectors.double() @ query.double() + index.flat.biases
    for number in numbers.values():
        for column, value in zip(kept[0][number], kept[1][number], strict=True):
            expected[column * 3] += 3.0 * value
    expected[[0, 3, 7]] = -torch.inf
    np.testing.assert_allclose(scores(index, queries, 1), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_a_lost_movie_of_the_corpus_changes_no_other_score() -> None:
    retriever, catalogue, known, queries = made_up()
    keep = [row for row in range(50) if row != 6]  # tt006 was known; the corpus lost it
    smaller = Catalogue(tuple(catalogue.movie_ids[row] for row in keep), catalogue.embeddings[keep], catalogue.facts[keep])
    before = scores(build_index(retriever, catalogue, known), queries, 0)[keep]
    after = scores(build_index(retriever, smaller, known), queries, 0)
    np.testing.assert_array_equal(before, after)


def test_only_what_is_allowed_is_found_with_the_scores_that_it_has_among_all() -> None:
    retriever, catalogue, known, queries = made_up()
    allowed = list(range(1, 50, 2))
    whole = build_index(retriever, catalogue, known)
    some = build_index(retriever, catalogue, known, allowed)
    for row, history in enumerate(queries.histories):
        expected = scores(whole, queries, row)
        expected[[movie for movie in range(50) if movie not in allowed or movie in history]] = -np.inf
        np.testing.assert_array_equal(scores(some, queries, row), expected)


def test_ease_by_hand() -> None:
    # X'X of {a,b},{a,b},{a}: [[3,2],[2,2]]; + I: [[4,2],[2,3]]; inverse 1/8 [[3,-2],[-2,4]]; B_ab = 2/4, B_ba = 2/3
    np.testing.assert_allclose(ease([[0, 1], [0, 1], [0]], 2, 1.0), [[0, 0.5], [2 / 3, 0]], rtol=1e-5)
