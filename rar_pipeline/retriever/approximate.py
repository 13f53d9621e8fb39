"""Approximate search, an option for many millions of movies: faiss's inverted lists over the same scores, with the interface of topk.FlatIndex.

Only a share of the rows is read, so that a list may lack a movie that belongs there: measure `recall` on the vectors at hand before it is used. What
is found is scored and ordered as exact search does it. Rows that get scores of their own with each query (`head`) are always all read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.topk import FlatIndex, best_pairs, score_pairs, seen_pairs

if TYPE_CHECKING:
    import torch

A_LIST = 39  # vectors a list that faiss asks for before it finds its centres well


class ApproximateIndex:
    """Vectors (N, H) float32, biases (N,) float32 and head (K,), as in FlatIndex, in `lists` inverted lists of which a query reads `probes`.

    `lists` 0: about four times the root of N, as faiss advises. On the CPU. Raises RarError where faiss is not installed, and as FlatIndex does.
    """

    def __init__(
        self, vectors: torch.Tensor, biases: torch.Tensor, head: torch.Tensor | None = None, *, lists: int = 0, probes: int = 64
    ) -> None:
        import torch

        faiss = _faiss()
        if lists < 0 or probes < 1:
            raise RarError(
                f"an approximate index needs 1 probe or more and no negative number of lists, not {probes} and {lists}"
            )
        if vectors.device.type != "cpu":
            raise RarError("approximate search runs on the CPU; use exact search, the default, on a GPU")
        head = torch.zeros(0, dtype=torch.long) if head is None else head
        self.vectors, self.biases, self.width = vectors.detach().float(), biases.detach().double(), len(head)
        self.columns = (head >= 0).nonzero().flatten()
        self.head_rows = head[self.columns]
        self.head = FlatIndex(self.vectors[self.head_rows], biases[self.head_rows], torch.arange(len(self.head_rows)))
        free = torch.ones(len(vectors), dtype=torch.bool)
        free[self.head_rows] = False
        self.rows = free.nonzero().flatten()
        # a bias is one more dimension, in which every query is 1
        table = torch.cat([self.vectors, self.biases[:, None].float()], dim=1)[self.rows].numpy()
        count = max(1, min(lists or int(4 * len(self.rows) ** 0.5), len(self.rows) // A_LIST))
        centres = faiss.IndexFlatIP(table.shape[1])
        self.lists = faiss.IndexIVFFlat(centres, table.shape[1], count, faiss.METRIC_INNER_PRODUCT)
        self.lists.nprobe = min(probes, count)
        if len(table):
            self.lists.train(table)
            self.lists.add(table)

    def __len__(self) -> int:
        return len(self.biases)

    def top(
        self,
        queries: torch.Tensor,
        k: int,
        seen: Sequence[Sequence[int]] | torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As FlatIndex.top, but rows may be missing; a list is also shorter than k where the lists that were read hold no more."""
        import torch

        batch = len(queries)
        owner, row = seen_pairs(seen, batch, len(self), queries.device)
        found = torch.full((batch, k), -1, dtype=torch.long)
        scores = torch.full((batch, k), -torch.inf)
        if k == 0 or batch == 0 or len(self) == 0:
            return found, scores
        place = torch.full((len(self),), -1, dtype=torch.long)
        place[self.head_rows] = torch.arange(len(self.head_rows))
        in_head = place[row] >= 0
        seen_head = [place[row[in_head & (owner == query)]].tolist() for query in range(batch)]
        added = None if extra is None else extra[:, self.columns]
        head_rows, head_scores = self.head.top(queries, k, seen_head, added)
        head_query, head_place = (head_rows >= 0).nonzero(as_tuple=True)

        # the lists know nothing of what is seen: so many rows more are asked for that k are left
        more = min(k + int(torch.bincount(owner, minlength=1).max()), len(self.rows))
        asked = torch.cat([queries.detach().float(), torch.ones(batch, 1)], dim=1)
        near = torch.from_numpy(self.lists.search(asked.numpy(), more)[1]) if more else torch.zeros(batch, 0, dtype=torch.long)
        query, near_place = (near >= 0).nonzero(as_tuple=True)
        row_found = self.rows[near[query, near_place]]
        new = ~torch.isin(query * len(self) + row_found, owner * len(self) + row)
        query, row_found = query[new], row_found[new]
        values = score_pairs(
            self.vectors, self.biases, queries.double(), query, row_found, torch.zeros(len(query), dtype=torch.float64)
        )
        best_pairs(
            torch.cat([query, head_query]),
            torch.cat([row_found, self.head_rows[head_rows[head_query, head_place]]]),
            torch.cat([values, head_scores[head_query, head_place]]),
            found,
            scores,
        )
        return found, scores


def recall(
    approximate: ApproximateIndex,
    exact: FlatIndex,
    queries: torch.Tensor,
    k: int,
    seen: Sequence[Sequence[int]] | torch.Tensor | None = None,
    extra: torch.Tensor | None = None,
) -> float:
    """Mean over the queries of the share of the exact list's rows that the approximate one holds; 1.0 where exact lists are empty."""
    import torch

    wanted, got = exact.top(queries, k, seen, extra)[0], approximate.top(queries, k, seen, extra)[0]
    shares = []
    for one, other in zip(wanted, got, strict=True):
        one = one[one >= 0]
        shares.append(float(torch.isin(one, other).double().mean()) if len(one) else 1.0)
    return sum(shares) / max(len(shares), 1) if shares else 1.0


def _faiss() -> Any:  # noqa: ANN401 - the package has no types
    try:
        import faiss
    except ImportError as error:
        raise RarError("approximate search needs the package faiss-cpu: pip install faiss-cpu") from error
    return faiss
