"""Approximate search finds most of what exact search finds, all of it where it reads everything, and never what was seen."""

import sys

import pytest
import torch

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.approximate import ApproximateIndex, recall
from rar_pipeline.retriever.topk import FlatIndex

N, H = 3000, 16


@pytest.fixture(scope="module")
def table() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors around 40 centres, biases, and a head of which one column belongs to no row."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, H, generator=generator) * 3
    vectors = centres[torch.randint(40, (N,), generator=generator)] + torch.randn(N, H, generator=generator)
    head = torch.randperm(N, generator=generator)[:200]
    head[7] = -1
    return vectors, torch.randn(N, generator=generator), head


def asked() -> tuple[torch.Tensor, list[list[int]], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    seen = [torch.randperm(N, generator=generator)[: 30 * n].tolist() for n in range(12)]
    return torch.randn(12, H, generator=generator), seen, torch.randn(12, 200, generator=generator) * 5


def test_with_every_list_read_it_is_exact_search(table: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("faiss")
    queries, seen, extra = asked()
    exact, approximate = FlatIndex(*table), ApproximateIndex(*table, lists=20, probes=20)
    for arguments in ((queries, 25), (queries, 25, seen), (queries, 25, seen, extra), (queries[:1], N + 5, seen[:1])):
        rows, scores = exact.top(*arguments)
        found = approximate.top(*arguments)
        assert found[0].equal(rows)
        assert found[1].equal(scores)
        assert recall(approximate, exact, *arguments) == 1.0


def test_more_probes_find_more(table: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("faiss")
    queries, seen, extra = asked()
    exact = FlatIndex(*table)
    shares = [recall(ApproximateIndex(*table, lists=60, probes=n), exact, queries, 20, seen, extra) for n in (1, 6, 60)]
    assert 0.3 < shares[0] < shares[1] <= shares[2] == 1.0


def test_what_was_seen_is_not_found_and_scores_are_those_of_exact_search(
    table: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    pytest.importorskip("faiss")
    queries, seen, extra = asked()
    rows, scores = ApproximateIndex(*table, probes=2).top(queries, 20, seen, extra)
    all_rows, all_scores = FlatIndex(*table).top(queries, N, seen, extra)
    for query in range(12):
        assert not set(rows[query].tolist()) & set(seen[query])
        known = dict(zip(all_rows[query].tolist(), all_scores[query].tolist(), strict=True))
        assert scores[query].tolist() == [known[row] if row >= 0 else -torch.inf for row in rows[query].tolist()]


def test_recall_is_the_share_of_the_exact_list() -> None:
    pytest.importorskip("faiss")
    vectors = torch.eye(4)

    class Fixed:
        def top(self, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.tensor([[3, 0], [1, -1]]), torch.zeros(2, 2)

    queries = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 4.0, 3.0, 2.0]])  # exact: 0 1, then 1 2
    assert recall(Fixed(), FlatIndex(vectors, torch.zeros(4)), queries, 2) == 0.5  # type: ignore[arg-type]


def test_without_the_package_one_line_says_what_to_install(
    table: tuple[torch.Tensor, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(RarError, match="pip install faiss-cpu"):
        ApproximateIndex(*table)


def test_a_number_of_probes_that_reads_nothing_is_refused(table: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(RarError, match="not 0 and 0"):
        ApproximateIndex(*table, probes=0)
