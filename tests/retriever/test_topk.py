"""Exact search is what a plain sort of float64 scores gives, whatever the vectors, the batch, or what was seen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.errors import RarError
from rar_pipeline.retriever import topk
from rar_pipeline.retriever.topk import BLOCK, FlatIndex

N = 40 * BLOCK + 5  # some blocks, and rows that fill none


def plain(
    vectors: torch.Tensor,
    biases: torch.Tensor,
    queries: torch.Tensor,
    k: int,
    seen: list[list[int]] | None = None,
    head: torch.Tensor | None = None,
    extra: torch.Tensor | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """All scores in float64, rounded to float32, sorted by (score, row)."""
    scores = queries.double().numpy() @ vectors.double().numpy().T + biases.double().numpy()
    if head is not None and extra is not None:
        scores[:, head.numpy()] += extra.double().numpy()
    scores = scores.astype(np.float32)
    rows, best = [], []
    for query, mine in enumerate(scores):
        left = np.setdiff1d(np.arange(len(mine)), np.array(seen[query] if seen else [], int))
        order = left[np.lexsort((left, -mine[left]))][:k]
        short = k - len(order)
        rows.append(order.tolist() + [-1] * short)
        best.append(mine[order].tolist() + [-np.inf] * short)
    return rows, best


def exact_in_float64(shape: tuple[int, ...], generator: torch.Generator, bits: int = 12) -> torch.Tensor:
    """Numbers of few bits, so that float64 adds up their products without any rounding, in any order."""
    return torch.randint(-(2**bits), 2**bits + 1, shape, generator=generator).float() / 2**10


def check(index: FlatIndex, *arguments: object, expected: tuple[list[list[int]], list[list[float]]]) -> None:
    rows, scores = index.top(*arguments)  # type: ignore[arg-type]
    assert (rows.dtype, scores.dtype) == (torch.int64, torch.float32)
    assert rows.tolist() == expected[0]
    assert scores.tolist() == expected[1]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, N),
    width=st.integers(1, 20),
    batch=st.integers(1, 5),
    k=st.integers(1, 60) | st.just(N + 3),
    bits=st.sampled_from([0, 1, 3, 12]),  # 0: three values, nearly all scores are equal
    spread=st.sampled_from([0.0, 1.0, 100.0]),
    own=st.integers(0, 50),
    crowd=st.sampled_from([0, topk.CROWD]),
)
def test_lists_are_those_of_a_plain_sort(
    seed: int, count: int, width: int, batch: int, k: int, bits: int, spread: float, own: int, crowd: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors, queries = exact_in_float64((count, width), generator, bits), exact_in_float64((batch, width), generator, bits)
    biases = exact_in_float64((count,), generator, bits) * spread
    head = torch.randperm(count, generator=generator)[:own]
    extra = exact_in_float64((batch, len(head)), generator, bits) * 8
    sizes = torch.randint(count + 1, (batch,), generator=generator).tolist()
    seen = [torch.randperm(count, generator=generator)[:size].tolist() for size in sizes]
    index = FlatIndex(vectors, biases, head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "CROWD", crowd)
        check(index, queries, k, seen, extra, expected=plain(vectors, biases, queries, k, seen, head, extra))
        check(index, queries, k, expected=plain(vectors, biases, queries, k))


@pytest.mark.parametrize("k", [1, 20, 100, 500])
def test_lists_of_ordinary_vectors_are_those_of_a_plain_sort(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    vectors, queries = torch.randn(9000, 64, generator=generator), torch.randn(7, 64, generator=generator)
    biases = -3 + torch.randn(9000, generator=generator)
    expected = plain(vectors, biases, queries, k)
    rows, scores = FlatIndex(vectors, biases).top(queries, k)
    assert rows.tolist() == expected[0]
    torch.testing.assert_close(scores, torch.tensor(expected[1]))


def test_rows_that_integers_cannot_tell_apart_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = exact_in_float64((1, 64), generator).repeat(N, 1)
    vectors[:, 5] += torch.randperm(N, generator=generator) * 2.0**-16  # less than a step of bfloat16, and of the integers
    queries = exact_in_float64((3, 64), generator)
    queries[:, 5] = torch.tensor([2.0**-6, -(2.0**-6), 0.0])
    biases = torch.zeros(N)
    check(FlatIndex(vectors, biases), queries, 50, expected=plain(vectors, biases, queries, 50))


def test_what_rounding_a_query_to_integers_loses_is_made_up_for() -> None:
    generator = torch.Generator().manual_seed(13)
    half = torch.randint(2, (N // 2, 24), generator=generator).float() * 254 - 127
    vectors = torch.cat([half, -half])  # integers stand for these without any loss
    queries = torch.randint(-90, 91, (6, 24), generator=generator) / 64
    queries[:, 0] = 127
    biases = torch.zeros(len(vectors))
    check(FlatIndex(vectors, biases), queries, 30, expected=plain(vectors, biases, queries, 30))


def test_scores_that_differ_in_the_last_bit_of_float32_come_in_the_order_of_scores_and_equal_ones_in_the_order_of_rows() -> None:
    vectors = torch.zeros(N, 3)
    vectors[:, 0] = 1.0
    biases = torch.zeros(N)
    biases[700], biases[10], biases[11] = 2.0**-23, 2.0**-25, -(2.0**-26)  # 10 and 11: 1 after rounding
    rows, scores = FlatIndex(vectors, biases).top(torch.tensor([[1.0, 0.0, 0.0]]), 20)
    assert rows[0].tolist() == [700, *range(19)]
    assert scores[0].tolist() == [1 + 2.0**-23, *[1.0] * 19]


def test_one_row_of_huge_norm_hides_no_other() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = exact_in_float64((N, 16), generator)
    vectors[[3, 900]] *= 2.0**30
    queries = exact_in_float64((4, 16), generator)
    biases = exact_in_float64((N,), generator) - 9
    check(FlatIndex(vectors, biases), queries, 40, expected=plain(vectors, biases, queries, 40))


def test_tiny_and_huge_scales_keep_the_order() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors, queries = exact_in_float64((N, 16), generator), exact_in_float64((4, 16), generator)
    expected = FlatIndex(vectors, torch.zeros(N)).top(queries, 30)[0]
    for scale in (2.0**-50, 2.0**50):
        assert FlatIndex(vectors * scale, torch.zeros(N)).top(queries * scale, 30)[0].equal(expected)


def test_a_query_of_zeros_ranks_by_bias_then_row() -> None:
    biases = -(torch.arange(N) // 7 % 50).float()
    vectors = torch.randn(N, 8, generator=torch.Generator().manual_seed(4))
    check(FlatIndex(vectors, biases), torch.zeros(1, 8), 300, expected=plain(vectors, biases, torch.zeros(1, 8), 300))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 150), scores=st.sampled_from([1, 3 * N, topk.SCORES]))
def test_a_query_gets_the_same_list_bit_for_bit_in_every_batch(seed: int, k: int, scores: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # half of the rows differ from the other half by less than the rounding of float32 in a sum of 64
    vectors = torch.randn(N // 2, 64, generator=generator)
    vectors = torch.cat([vectors, vectors * (1 + 2.0**-23)])
    queries, biases = torch.randn(12, 64, generator=generator), torch.randn(len(vectors), generator=generator)
    head = torch.arange(0, 60, 2)
    extra, seen = torch.randn(12, 30, generator=generator), [[n, 3 * n] for n in range(12)]
    index = FlatIndex(vectors, biases, head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "SCORES", scores)
        rows, values = index.top(queries, k, seen, extra)
    for size in (1, 5):
        for start in range(0, 12, size):
            part = slice(start, start + size)
            some_rows, some_values = index.top(queries[part], k, seen[part], extra[part])
            assert some_rows.equal(rows[part])
            assert some_values.equal(values[part])


def test_the_list_does_not_depend_on_where_a_row_is_kept() -> None:
    generator = torch.Generator().manual_seed(5)
    vectors, queries = torch.randn(N, 24, generator=generator), torch.randn(3, 24, generator=generator)
    biases = torch.randn(N, generator=generator)
    rows, values = FlatIndex(vectors, biases).top(queries, 40)
    for own in (1, 200, N):
        head = torch.randperm(N, generator=generator)[:own]
        other = FlatIndex(vectors, biases, head).top(queries, 40, extra=torch.zeros(3, own))
        assert other[0].equal(rows)
        assert other[1].equal(values)


def test_where_all_is_seen_the_list_is_empty_and_its_places_say_so() -> None:
    vectors = torch.randn(70, 4, generator=torch.Generator().manual_seed(6))
    index = FlatIndex(vectors, torch.zeros(70), torch.tensor([1, 69]))
    rows, scores = index.top(torch.ones(2, 4), 5, [list(range(70)), [n for n in range(70) if n not in (1, 33)]])
    assert rows[0].tolist() == [-1] * 5
    assert scores[0].tolist() == [-torch.inf] * 5
    assert sorted(rows[1, :2].tolist()) == [1, 33]
    assert rows[1, 2:].tolist() == [-1] * 3


def test_seen_rows_may_come_as_a_padded_tensor_and_more_than_once() -> None:
    vectors = torch.randn(N, 8, generator=torch.Generator().manual_seed(7))
    index, queries = FlatIndex(vectors, torch.zeros(N)), torch.randn(2, 8, generator=torch.Generator().manual_seed(8))
    lists = index.top(queries, 30, [[4, 900], []])
    padded = index.top(queries, 30, torch.tensor([[4, -1, 900, 4], [-1, -1, -1, -1]]))
    assert lists[0].equal(padded[0])
    assert not {4, 900} & set(lists[0][0].tolist())


def test_a_column_of_extra_that_belongs_to_no_row_adds_to_none() -> None:
    vectors = torch.randn(N, 8, generator=torch.Generator().manual_seed(9))
    queries, extra = torch.ones(1, 8), torch.tensor([[50.0, 1e6, 60.0]])
    rows, scores = FlatIndex(vectors, torch.zeros(N), torch.tensor([8, -1, 700])).top(queries, 3, extra=extra)
    assert rows[0, :2].tolist() == [700, 8]
    assert scores[0, 2] < 50


def test_only_some_hundred_rows_of_the_catalogue_are_scored_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(10)
    vectors, queries = torch.randn(30_000, 64, generator=generator), torch.randn(8, 64, generator=generator)
    index, scored = FlatIndex(vectors, torch.randn(30_000, generator=generator)), []
    score = topk.score_pairs
    monkeypatch.setattr(topk, "score_pairs", lambda *pairs: (scored.append(len(pairs[3])), score(*pairs))[1])
    index.top(queries, 20)
    assert 8 * 20 <= sum(scored) < 8 * 300


def test_vectors_are_held_once_and_a_quarter() -> None:
    vectors = torch.randn(N, 64, generator=torch.Generator().manual_seed(11))
    index = FlatIndex(vectors, torch.zeros(N))
    assert index.vectors.data_ptr() == vectors.data_ptr()
    assert index.tail.codes.dtype == torch.int8


def test_63_levels_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(12)
    vectors, queries, biases = torch.randn(N, 20, generator=generator), torch.randn(3, 20, generator=generator), torch.zeros(N)
    rows = FlatIndex(vectors, biases).top(queries, 25)[0]
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    index = FlatIndex(vectors, biases)
    assert index.tail.codes.abs().max() == 63
    assert index.top(queries, 25)[0].equal(rows)


def test_what_does_not_fit_is_one_line() -> None:
    vectors, biases = torch.ones(50, 4), torch.zeros(50)
    index = FlatIndex(vectors, biases, torch.tensor([3]))
    with pytest.raises(RarError, match="not finite"):
        FlatIndex(vectors / 0, biases)
    with pytest.raises(RarError, match=r"biases \(N,\)"):
        FlatIndex(vectors, biases[1:])
    with pytest.raises(RarError, match="different rows below 50"):
        FlatIndex(vectors, biases, torch.tensor([3, 3]))
    with pytest.raises(RarError, match="different rows below 50"):
        FlatIndex(vectors, biases, torch.tensor([50]))
    with pytest.raises(RarError, match=r"queries must be \(b, 4\)"):
        index.top(torch.ones(1, 5), 1)
    with pytest.raises(RarError, match="not finite"):
        index.top(torch.full((1, 4), torch.nan), 1)
    with pytest.raises(RarError, match=r"extra must be \(2, 1\)"):
        index.top(torch.ones(2, 4), 1, extra=torch.ones(2, 2))
    with pytest.raises(RarError, match="not one of the 50"):
        index.top(torch.ones(1, 4), 1, [[50]])
    with pytest.raises(RarError, match="1 lists for 2 queries"):
        index.top(torch.ones(2, 4), 1, [[3]])


def test_an_empty_catalogue_and_an_empty_list() -> None:
    assert FlatIndex(torch.zeros(0, 4), torch.zeros(0)).top(torch.ones(2, 4), 3)[0].tolist() == [[-1] * 3] * 2
    assert FlatIndex(torch.ones(9, 4), torch.zeros(9)).top(torch.ones(2, 4), 0)[0].shape == (2, 0)
    assert FlatIndex(torch.ones(9, 4), torch.zeros(9)).top(torch.ones(0, 4), 3)[0].shape == (0, 3)
