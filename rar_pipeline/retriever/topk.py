"""Exact maximum inner product search in one table of vectors: each query's k best rows, seen rows left out, ties in the order of rows.

A score is q . v + bias (+ what `extra` adds to some rows), added up in float64 in one fixed order and rounded to float32. A list holds the k best by
(score, row): it depends neither on the other queries of the batch nor on threads or device.

To compute 300,000 scores that way would be slow, so most rows are ruled out first. Queries and vectors are also kept as integers of 8 bits, whose
products are exact, cheap, and read a quarter of the bytes. By Cauchy and Schwarz, with q' and v' what the integers stand for,

    | q . v - q' . v' |  <=  |q| |v - v'| + |q - q'| |v'|

so the best score of each block of 32 rows has a lower and an upper bound. The k-th largest lower bound is one that k rows reach; a row whose upper
bound is less cannot be in the list. The rest, some hundred rows, are scored as said above. The bounds decide how fast it is, never what is found.

Left out: indexes that skip rows unread (trees, inverted lists, graphs). In 64 dimensions the exact ones visit nearly all; for the others see
approximate.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from rar_pipeline.errors import RarError

if TYPE_CHECKING:
    import torch

BLOCK = 32  # rows whose best score stands for them all
SEGMENT = 4096  # rows of about the same reach, ordered by bias, so that within a block both differ little
SCORES = 7 << 20  # products held at once: 28 MB, since malloc maps more than 32 MB anew each time, which costs as much again
CROWD = 1 << 23  # products that a group of queries may look at one by one; where there are more, each query goes alone
CHUNK = 1 << 14  # rows scored in float64 at once: 8 MB where H = 64
MASKED = -(1 << 31)  # stands for the product of a seen row: no vectors of 8 bits have it
ROUNDING = 2.0**-23  # scores farther apart than this, relatively, still differ as float32, whatever float64 lost
TINY = 1e-37  # and absolutely, where float32 underflows


class FlatIndex:
    """Vectors (N, H) float32 and biases (N,) float32, laid out for search on their device. Vectors are referred to, not copied; they must not change.

    `head` (K,): rows that get scores of their own with each query (`extra` of `top`), -1 for a column that belongs to no row.
    Raises RarError for values that are not finite, and for a head that names a row twice or one that is not there.
    """

    def __init__(self, vectors: torch.Tensor, biases: torch.Tensor, head: torch.Tensor | None = None) -> None:
        import torch

        count, device = len(vectors), vectors.device
        if vectors.ndim != 2 or biases.shape != (count,):
            raise RarError(f"vectors must be (N, H) and biases (N,), not {tuple(vectors.shape)} and {tuple(biases.shape)}")
        if not (vectors.isfinite().all() and biases.isfinite().all()):
            raise RarError("a vector or bias of the catalogue is not finite; train the retriever again")
        self.vectors, self.biases = vectors.detach().float(), biases.detach().double()
        head = torch.zeros(0, dtype=torch.long, device=device) if head is None else head.to(device)
        self.width, self.columns = len(head), (head >= 0).nonzero().flatten()
        rows = head[self.columns]
        if len(rows) and (int(rows.max()) >= count or len(rows.unique()) < len(rows)):
            raise RarError(f"head must name different rows below {count}")

        free = torch.ones(count, dtype=torch.bool, device=device)
        free[rows] = False
        order = free.nonzero().flatten()
        centre = self.vectors.sum(dim=0, dtype=torch.float64) / max(count, 1)  # (H,)
        reach = (self.vectors[order] - centre.float()).abs().amax(dim=1)
        order = order[reach.sort(descending=True, stable=True).indices]
        # what does not fill a block goes where scores are float64 from the start: the widest rows, which integers hold worst
        rest = len(order) % BLOCK
        self.head = _Head(self.vectors, self.biases, torch.cat([rows, order[:rest]]))
        self.tail = _Tail(self.vectors, self.biases, centre, order[rest:])
        self.place = torch.empty(count, dtype=torch.long, device=device)  # place in the tail, or -1 - place in the head
        self.place[self.tail.rows] = torch.arange(len(self.tail.rows), device=device)
        self.place[self.head.rows] = -1 - torch.arange(len(self.head.rows), device=device)

    def __len__(self) -> int:
        return len(self.biases)

    def top(
        self,
        queries: torch.Tensor,
        k: int,
        seen: Sequence[Sequence[int]] | torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (b, k) int64 and scores (b, k) float32 of the k best rows of every query (b, H), best first, equal scores by row.

        `seen`: rows that a query's list leaves out, one sequence a query or (b, S) padded with -1; `extra` (b, K) is added to the scores of
        `head`. Where fewer than k rows are left, the list ends in row -1, score -inf. Raises RarError for shapes, rows or values that do not fit.
        """
        import torch

        batch, device = len(queries), self.vectors.device
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise RarError(f"queries must be (b, {self.vectors.shape[1]}), not {tuple(queries.shape)}")
        if extra is not None and extra.shape != (batch, self.width):
            raise RarError(f"extra must be {(batch, self.width)}, not {tuple(extra.shape)}")
        if not queries.isfinite().all() or not (extra is None or extra.isfinite().all()):
            raise RarError("a query or an extra score is not finite; train the retriever again")
        queries = queries.detach().to(device).double()
        owner, row = seen_pairs(seen, batch, len(self), device)
        found = torch.full((batch, k), -1, dtype=torch.long, device=device)
        scores = torch.full((batch, k), -torch.inf, device=device)
        if k == 0 or len(self) == 0:
            return found, scores
        group = max(1, SCORES // max(len(self.tail.rows), 1))
        for start in range(0, batch, group):
            part = slice(start, start + group)
            mine = (owner >= start) & (owner < start + group)
            added = None if extra is None else extra[part].detach().to(device).double()[:, self.columns]
            self._search(_Asked(queries[part], added, owner[mine] - start, row[mine]), k, found[part], scores[part])
        return found, scores

    def _search(self, asked: _Asked, k: int, found: torch.Tensor, scores: torch.Tensor) -> None:
        """Fill `found` and `scores` (b, k) for one group of queries."""
        import torch

        place = self.place[asked.seen_rows]
        tail = self.tail.bounds(asked, asked.seen_by[place >= 0], place[place >= 0])
        head = self.head.bounds(asked, asked.seen_by[place < 0], -1 - place[place < 0])
        # every lower bound belongs to a row of its own, so that k rows reach the k-th largest
        lower = torch.cat([tail.lower, head.lower], dim=1)
        least = lower.topk(k, dim=1).values[:, -1:] if k <= lower.shape[1] else lower.new_full((len(lower), 1), -torch.inf)
        by, blocks = ((tail.upper >= least) & (tail.upper > -torch.inf)).nonzero(as_tuple=True)
        if len(by) * BLOCK > CROWD and len(lower) > 1:
            for one in range(len(lower)):
                self._search(asked.only(one), k, found[one : one + 1], scores[one : one + 1])
            return
        tail_query, row = self.tail.rows_left(tail, least, by, blocks)
        head_query, place = ((head.upper >= least) & (head.upper > -torch.inf)).nonzero(as_tuple=True)
        query, row = torch.cat([tail_query, head_query]), torch.cat([row, self.head.rows[place]])
        added = torch.zeros(len(query), dtype=torch.float64, device=row.device)
        if asked.extra is not None:
            named = place < asked.extra.shape[1]
            added[len(tail_query) :][named] = asked.extra[head_query[named], place[named]]
        values = score_pairs(self.vectors, self.biases, asked.queries, query, row, added)
        best_pairs(query, row, values, found, scores)


def seen_pairs(
    seen: Sequence[Sequence[int]] | torch.Tensor | None, batch: int, count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs (query, row) of what is seen, as two (n,) int64."""
    import torch

    if seen is None:
        none = torch.zeros(0, dtype=torch.long, device=device)
        return none, none
    if len(seen) != batch:
        raise RarError(f"seen holds {len(seen)} lists for {batch} queries")
    if isinstance(seen, torch.Tensor):
        seen = seen.to(device)
        owner, place = (seen >= 0).nonzero(as_tuple=True)
        row = seen[owner, place].long()
    else:
        owner = torch.arange(batch, device=device).repeat_interleave(torch.tensor([len(rows) for rows in seen], device=device))
        row = torch.tensor(list(chain.from_iterable(seen)), dtype=torch.long, device=device)
    if len(row) and not 0 <= int(row.min()) <= int(row.max()) < count:
        raise RarError(f"seen names a row that is not one of the {count}")
    return owner, row


def score_pairs(
    vectors: torch.Tensor,
    biases: torch.Tensor,
    queries: torch.Tensor,
    query: torch.Tensor,
    row: torch.Tensor,
    added: torch.Tensor,
) -> torch.Tensor:
    """Scores (n,) float32 of pairs: `query` (n,) numbers of queries (b, H) float64, `row` (n,) of vectors (N, H) float32 and biases (N,) float64.

    A product of two float32 is exact in float64. The order of the additions is written down here, since a library's sum may choose another
    for another shape. `added` (n,) float64 comes on top.
    """
    import torch

    scores = torch.empty(len(query), device=queries.device)
    for start in range(0, len(query), CHUNK):
        part = slice(start, start + CHUNK)
        terms = queries[query[part]] * vectors[row[part]]  # (n, H)
        while (width := terms.shape[1]) > 1:
            half = (width + 1) // 2
            terms[:, : width - half] += terms[:, half:]
            terms = terms[:, :half]
        scores[part] = (terms[:, 0] + biases[row[part]] + added[part]).float()
    return scores


def best_pairs(query: torch.Tensor, row: torch.Tensor, score: torch.Tensor, found: torch.Tensor, scores: torch.Tensor) -> None:
    """Fill `found` and `scores` (b, k) with the best (n,) rows of every query, equal scores by row."""
    import torch

    score = score + 0.0  # -0.0 is 0.0
    bits = score.view(torch.int32)
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # whole numbers in the order of the scores
    order = ((rising << 32) - row).sort(descending=True).indices
    order = order[query[order].sort(stable=True).indices]
    query = query[order]
    place = torch.arange(len(query), device=query.device) - torch.searchsorted(query, query)
    kept = place < found.shape[1]
    found[query[kept], place[kept]] = row[order][kept]
    scores[query[kept], place[kept]] = score[order][kept]


@dataclass(frozen=True)
class _Asked:
    """A group of queries: `queries` (b, H) float64, `extra` (b, head) float64 or None, and the pairs (query, row) that are seen."""

    queries: torch.Tensor
    extra: torch.Tensor | None
    seen_by: torch.Tensor
    seen_rows: torch.Tensor

    def only(self, one: int) -> _Asked:
        """One query of the group, as a group."""
        mine, part = self.seen_by == one, slice(one, one + 1)
        return _Asked(
            self.queries[part], None if self.extra is None else self.extra[part], self.seen_by[mine] - one, self.seen_rows[mine]
        )


@dataclass(frozen=True)
class _HeadBounds:
    lower: torch.Tensor  # (b, rows) float64, -inf where seen
    upper: torch.Tensor


class _Head:
    """The rows that have scores of their own and those that fill no block, as float64."""

    def __init__(self, vectors: torch.Tensor, biases: torch.Tensor, rows: torch.Tensor) -> None:
        self.rows, self.vectors, self.biases = rows, vectors[rows].double(), biases[rows]
        self.doubt = ROUNDING * self.biases.abs() + TINY  # (rows,)
        self.length = ROUNDING * self.vectors.norm(dim=1)  # (rows,)

    def bounds(self, asked: _Asked, seen_by: torch.Tensor, seen: torch.Tensor) -> _HeadBounds:
        """Bounds of every row's score; `seen`: places in `rows`."""
        import torch

        scores = torch.addmm(self.biases, asked.queries, self.vectors.T)
        slack = torch.addmm(self.doubt, asked.queries.norm(dim=1, keepdim=True), self.length[None])
        if asked.extra is not None:
            own = asked.extra.shape[1]
            scores[:, :own] += asked.extra
            slack[:, :own] += ROUNDING * asked.extra.abs()
        scores[seen_by, seen] = -torch.inf
        return _HeadBounds(scores - slack, scores + slack)


@dataclass(frozen=True)
class _TailBounds:
    products: torch.Tensor  # (b, rows) int32, MASKED where seen
    unit: torch.Tensor  # (b, blocks) float64: what one of a product stands for
    margin: torch.Tensor  # (b, blocks) float64: how far above unit x product + bias a score can be
    lower: torch.Tensor  # (b, blocks) float64: of the best score of a block, -inf where all are seen
    upper: torch.Tensor


class _Tail:
    """All other rows as integers of 8 bits around their centre, in blocks of one scale each.

    Taking the centre away lessens every score of a query by the same, and gives the integers more to say.
    """

    def __init__(self, vectors: torch.Tensor, biases: torch.Tensor, centre: torch.Tensor, rows: torch.Tensor) -> None:
        """`rows`: widest first, a multiple of BLOCK."""
        import torch

        by_bias = biases[rows].sort(descending=True, stable=True).indices
        self.rows = rows = rows[by_bias[(by_bias // SEGMENT).sort(stable=True).indices]]
        self.biases = biases[rows].view(-1, BLOCK)  # (blocks, BLOCK)
        self.centre, self.levels = centre, _levels(vectors.device)
        columns = -(-vectors.shape[1] // 8) * 8  # what CUDA's product asks for
        self.codes = torch.zeros(len(rows), columns, dtype=torch.int8, device=vectors.device)
        blocks = len(self.biases)
        self.scale, off, length, norm = torch.zeros(4, blocks, dtype=torch.float64, device=vectors.device)
        for start in range(0, blocks, SEGMENT // BLOCK):
            part = slice(start, start + SEGMENT // BLOCK)
            exact = vectors[rows.view(-1, BLOCK)[part]] - centre  # (blocks, BLOCK, H) float64
            self.scale[part] = step = _step(exact.flatten(1), self.levels)
            codes = (exact / step[:, None, None]).round().clamp(-self.levels, self.levels)
            meant = codes * step[:, None, None]
            off[part] = (exact - meant).norm(dim=2).amax(dim=1)
            length[part] = meant.norm(dim=2).amax(dim=1)
            norm[part] = exact.norm(dim=2).amax(dim=1)
            self.codes.view(blocks, BLOCK, -1)[part, :, : exact.shape[2]] = codes.to(torch.int8)
        largest = self.biases.abs().amax(dim=1)
        rounding = ROUNDING * (norm + length + centre.norm())
        self.doubt = torch.stack([off + rounding, length, ROUNDING * largest + TINY])  # (3, blocks)
        self.lowest, self.highest = self.biases.amin(dim=1), self.biases.amax(dim=1)

    def bounds(self, asked: _Asked, seen_by: torch.Tensor, seen: torch.Tensor) -> _TailBounds:
        """Products of all rows and bounds of every block's best score; `seen`: places in `rows`."""
        import torch

        queries = asked.queries
        step = _step(queries, self.levels)[:, None]
        codes = (queries / step).round().clamp(-self.levels, self.levels)
        products = _product(codes, self.codes)
        products[seen_by, seen] = MASKED
        best = products.view(len(queries), -1, BLOCK).amax(dim=2)
        length, off = queries.norm(dim=1, keepdim=True), (queries - codes * step).norm(dim=1, keepdim=True)
        # element by element: for three terms, a matrix product would pay more for its threads than it gains
        slack = torch.addcmul(torch.addcmul(self.doubt[2], length, self.doubt[0]), off, self.doubt[1])
        shift = (queries * self.centre).sum(dim=1, keepdim=True)
        unit = step * self.scale
        score = torch.addcmul(shift, best.double(), unit)
        if len(seen):
            score.masked_fill_(best == MASKED, -torch.inf)
        return _TailBounds(products, unit, shift + slack, score + self.lowest - slack, score + self.highest + slack)

    def rows_left(
        self, bounds: _TailBounds, least: torch.Tensor, by: torch.Tensor, blocks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of some (query, block) pairs, the (query, row) pairs that may score `least` (b, 1) of their query or more."""
        products = bounds.products.view(len(least), -1, BLOCK)[by, blocks]  # (n, BLOCK)
        needed = least[by] - bounds.margin[by, blocks][:, None]
        reached = (products * bounds.unit[by, blocks][:, None] + self.biases[blocks] >= needed) & (products > MASKED)
        pair, place = reached.nonzero(as_tuple=True)
        return by[pair], self.rows[blocks[pair] * BLOCK + place]


def _product(queries: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Exact products (b, n) int32 of whole numbers (b, H) float64 and codes (n, columns) int8."""
    import torch

    few = 32 if codes.is_cuda else 1  # CUDA's product refuses 16 rows or fewer
    padded = torch.zeros(max(len(queries), few), codes.shape[1], dtype=torch.int8, device=codes.device)
    padded[: len(queries), : queries.shape[1]] = queries.to(torch.int8)
    if len(codes) == 0:
        return torch.zeros(len(queries), 0, dtype=torch.int32, device=codes.device)
    if len(padded) == 1:  # one query reads the codes in half the time where they stand on the left
        return torch._int_mm(codes, padded.T.contiguous()).view(1, -1)
    return torch._int_mm(padded, codes.T)[: len(queries)]


def _levels(device: torch.device) -> int:
    """The largest integer: x86 processors without VNNI add pairs of products in 16 bits, which 127 would overflow."""
    import torch

    if device.type != "cpu":
        return 127
    able = torch.cpu.get_capabilities()
    return 127 if any(able.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")) else 63


def _step(values: torch.Tensor, levels: int) -> torch.Tensor:
    """What one of the integers stands for, so that the largest value of each row (n, m) is `levels`: (n,), 1 where all are zero."""
    import torch

    largest = values.abs().amax(dim=1) / levels
    return torch.where(largest > 0, largest, 1.0)
