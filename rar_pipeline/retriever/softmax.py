"""Cross-entropy of queries against a large item table, for the CPU's caches: exact, sampled, and the plain full softmax they must equal.

What makes the exact one cheap, beside the textbook: rows that count for nothing are left out by the caller, before the projection; logits live in
tiles that fit the L2 cache; bias, shift and normaliser ride along as columns of the matrices; powers of two instead of e; gradients are formed
in the forward pass, so each logit is computed once. Probabilities are held for a block of queries at a time, never for all of them.
What was left out: torch's own chunked linear cross-entropy on the CPU and attention kernels that compute the same sums; both were slower.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from threading import Barrier
from typing import Any, Literal

import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

Kind = Literal["full", "exact", "sampled"]
Matmul = Literal["float32", "bfloat16"]

LOG2_E = 1 / math.log(2)
SAFE_EXPONENT = 100.0  # 2 ** +-100 neither overflows in float32 when a hundred million terms are added, nor loses the small ones
TILE_BYTES = 1 << 20  # of L2 cache
HELD_BYTES = 256 << 20  # of probabilities at a time
BLOCK = 256  # most queries at a time


@dataclass(frozen=True)
class Negatives:
    """Items drawn with replacement for a batch: `items` (m,) int64 and `log_expected` (m,): log of how often each was expected, m q(item)."""

    items: Tensor
    log_expected: Tensor


def draw_uniform(items: int, count: int, generator: torch.Generator | None = None) -> Negatives:
    """`count` of the items 0 .. items - 1, each as likely as any other."""
    return Negatives(torch.randint(items, (count,), generator=generator), torch.full((count,), math.log(count / items)))


def draw_weighted(weights: Tensor, count: int, generator: torch.Generator | None = None) -> Negatives:
    """`count` items in proportion to `weights` (N,), which must be positive for the loss to be unbiased."""
    drawn = torch.multinomial(weights, count, replacement=True, generator=generator)
    return Negatives(drawn, torch.log(count * weights[drawn] / weights.sum()).float())


def full_softmax(queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats, all logits at once. queries (n, H), table (N, H), bias (N,), targets (n,) int64."""
    return F.cross_entropy(queries @ table.T + bias, targets)


def exact_softmax(queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor, *, matmul: Matmul = "float32") -> Tensor:
    """The value and gradients of `full_softmax` without its (n, N) logits; arguments as there.

    `matmul`: "bfloat16" rounds what is multiplied to 8 bits (the target's own logit stays exact) where the CPU multiplies bfloat16 natively, and
    is "float32" elsewhere. With "float32", double inputs are computed in double.
    """
    return _ExactSoftmax.apply(queries, table, bias, targets, matmul, torch.is_grad_enabled())


def sampled_softmax(
    queries: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: Negatives,
    *,
    sparse: bool = False,
    matmul: Matmul = "float32",
) -> Tensor:
    """Mean cross-entropy against the target and sampled items, with logQ correction (Bengio and Senecal, 2008); other arguments as above.

    A query's own target is not its negative, so that exp(s_y) + sum over sampled j of exp(s_j) / (m q(j)) is an unbiased estimate of the partition
    function. `sparse`: the gradients of table and bias are sparse tensors with the rows of targets and negatives, as SparseAdam takes them.
    """
    return candidate_softmax(
        queries,
        F.embedding(negatives.items, table, sparse=sparse),
        _entries(bias, negatives.items, sparse) - negatives.log_expected,
        F.embedding(targets, table, sparse=sparse),
        _entries(bias, targets, sparse),
        _hits(targets, negatives.items),
        matmul=matmul,
    )


def candidate_softmax(
    queries: Tensor,
    candidates: Tensor,
    offsets: Tensor,
    own: Tensor,
    own_offsets: Tensor,
    excluded: tuple[Tensor, Tensor],
    *,
    matmul: Matmul = "float32",
) -> Tensor:
    """Mean cross-entropy in nats of each query's own item against candidates that all queries share.

    queries (n, H); candidates (m, H) and offsets (m,), added to their logits; own (n, H) and own_offsets (n,): each query's target; excluded: rows
    and columns (h,) int64 of the pairs (query, candidate) that do not count, such as a candidate that is the query's target.
    """
    return _CandidateSoftmax.apply(queries, candidates, offsets, own, own_offsets, *excluded, matmul, torch.is_grad_enabled())


def fused_softmax(queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """`full_softmax` by a library, for a GPU: the fused kernel of cut-cross-entropy in bfloat16 where it is installed, else torch's chunked loss.

    Only torch's path was run (on the CPU), and what cut-cross-entropy is handed was looked at; neither was ever run on a GPU.
    """
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError:
        # in bfloat16 its value was off by three per cent
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(queries.float(), table.float(), targets, linear_bias=bias.float(), options=options)
    # it knows no bias: two more columns, what bfloat16 keeps of the bias and what it leaves; widths are multiples of 16
    rounded = bias.bfloat16()
    ones = torch.ones(len(queries), 2, device=queries.device)
    missing = (0, -(queries.shape[1] + 2) % 16)
    wide_queries = F.pad(torch.cat([queries, ones], dim=1), missing).bfloat16()
    wide_table = F.pad(torch.cat([table, rounded[:, None], (bias - rounded)[:, None]], dim=1), missing).bfloat16()
    return linear_cross_entropy(wide_queries, wide_table, targets)


def softmax_loss(
    kind: Kind,
    queries: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    matmul: Matmul = "float32",
    negatives: Negatives | None = None,
    sparse: bool = False,
) -> Tensor:
    """The loss of that kind; "exact" on a GPU is the fused kernel. Raises ValueError where "sampled" is given no negatives."""
    if kind == "full":
        return full_softmax(queries, table, bias, targets)
    if kind == "exact":
        if queries.is_cuda:
            return fused_softmax(queries, table, bias, targets)
        return exact_softmax(queries, table, bias, targets, matmul=matmul)
    if negatives is None:
        raise ValueError("a sampled softmax needs negatives; draw them with draw_uniform or draw_weighted")
    return sampled_softmax(queries, table, bias, targets, negatives, sparse=sparse, matmul=matmul)


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Torch's clip_grad_norm_ for sparse gradients too, which it refuses; they are coalesced. Returns the norm before clipping."""
    values = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        else:
            values.append(parameter.grad)
    norm = torch.nn.utils.get_total_norm(values)
    if norm > largest:
        for value in values:
            value.mul_(largest / (norm + 1e-6))
    return norm


class KeptGradients:
    """Dense gradients, for an optimiser that wants them, of parameters whose losses give sparse ones.

    Autograd allocates and zeroes a whole table for every use of it, which takes longer than AdamW's pass over the table. Here one buffer a parameter
    is kept, of which a step writes the rows that it touched and those of the step before. Between `fill` and the next call nothing else may write
    to the gradients' rows.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._kept = [(parameter, torch.zeros_like(parameter, requires_grad=False)) for parameter in parameters]
        self._touched: list[Tensor | None] = [None] * len(self._kept)

    @torch.no_grad()
    def fill(self) -> None:
        """Put dense gradients of the same values in place of the parameters' sparse ones. Raises ValueError where one has none that is sparse."""
        for number, (parameter, buffer) in enumerate(self._kept):
            if parameter.grad is None or not parameter.grad.is_sparse:
                raise ValueError(
                    "a parameter has no sparse gradient; was the loss computed with sparse=True, and backward called?"
                )
            if (before := self._touched[number]) is not None:
                buffer[before] = 0
            sparse = parameter.grad.coalesce()
            rows = sparse.indices()[0]
            buffer[rows] = sparse.values()
            self._touched[number], parameter.grad = rows, buffer


class _ExactSoftmax(torch.autograd.Function):
    """All items are candidates; a query's target is taken from them and counted as its own."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch's context)
        queries: Tensor,
        table: Tensor,
        bias: Tensor,
        targets: Tensor,
        matmul: Matmul,
        gradients: bool,
    ) -> Tensor:
        """See `exact_softmax`."""
        excluded = torch.arange(len(targets)), targets
        sums = _sums(queries, table, bias, table[targets], bias[targets], excluded, matmul, gradients)
        if gradients:
            sums.table.index_add_(0, targets, sums.own)
            sums.bias.index_add_(0, targets, sums.own_bias)
            ctx.gradients = sums.queries, sums.table, sums.bias
        return sums.loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients that the forward pass formed, scaled."""
        return *_scaled(ctx, grad), None, None, None


class _CandidateSoftmax(torch.autograd.Function):
    """The general case; see `candidate_softmax`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        queries: Tensor,
        candidates: Tensor,
        offsets: Tensor,
        own: Tensor,
        own_offsets: Tensor,
        rows: Tensor,
        columns: Tensor,
        matmul: Matmul,
        gradients: bool,
    ) -> Tensor:
        """See `candidate_softmax`."""
        sums = _sums(queries, candidates, offsets, own, own_offsets, (rows, columns), matmul, gradients)
        if gradients:
            ctx.gradients = sums.queries, sums.table, sums.bias, sums.own, sums.own_bias
        return sums.loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The gradients that the forward pass formed, scaled."""
        return *_scaled(ctx, grad), None, None, None, None


def _scaled(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401  (torch's context)
    """The gradients of the forward pass times that of the loss; they are given away, since a copy would cost as much as the table."""
    gradients: tuple[Tensor, ...] = ctx.gradients
    if not gradients:
        raise RuntimeError("the gradients of this softmax were used up by an earlier backward pass; compute the loss again")
    ctx.gradients = ()
    return gradients if float(grad) == 1.0 else tuple(gradient.mul_(grad) for gradient in gradients)


@dataclass(frozen=True)
class _Sums:
    """The loss and its gradients: queries (n, H), table (m, H), bias (m,), own (n, H), own_bias (n,)."""

    loss: Tensor
    queries: Tensor
    table: Tensor
    bias: Tensor
    own: Tensor
    own_bias: Tensor


def _sums(
    queries: Tensor,
    table: Tensor,
    bias: Tensor,
    own: Tensor,
    own_bias: Tensor,
    excluded: tuple[Tensor, Tensor],
    matmul: Matmul,
    gradients: bool,
) -> _Sums:
    """Loss and gradients of `candidate_softmax`. Logits are in bits: u = log2(e) s, so that exp(s) = 2 ** u."""
    (n, width), m = queries.shape, len(table)
    exact = queries.dtype if queries.dtype == torch.float64 else torch.float32
    queries, table, bias, own, own_bias = (part.to(exact) for part in (queries, table, bias, own, own_bias))
    kind = torch.bfloat16 if matmul == "bfloat16" and torch.cpu._is_avx512_bf16_supported() else exact
    # a query is [q log2(e), -shift, 1], an item [e, 1, b log2(e)]: their product is the shifted logit, and the ones sum the probabilities up
    padded = -(-(width + 2) // 8) * 8
    items = torch.zeros(m, padded, dtype=kind)
    items[:, :width] = table
    items[:, width] = 1
    items[:, width + 1] = bias * LOG2_E
    block = _block(n, m, kind.itemsize)
    full = -(-n // block) * block  # the last block is filled up: a product in bfloat16 is compiled, and kept, once a shape
    tile = max(32, TILE_BYTES // (block * kind.itemsize))
    tiles = [slice(start, min(start + tile, m)) for start in range(0, m, tile)]
    workers = min(torch.get_num_threads(), len(tiles))
    shares = [range(worker, len(tiles), workers) for worker in range(workers)]
    side_by_side: Callable[..., Iterable[Any]] = map if workers == 1 else _threads(os.getpid(), workers).map
    askers = torch.zeros(full, padded, dtype=kind)
    askers[:n, :width] = queries * LOG2_E
    askers[:n, width + 1] = 1
    shift = torch.zeros(n, dtype=exact)  # what is taken from the logits of each query, in bits
    lengths, offset = torch.linalg.vector_norm(table, dim=1), torch.maximum(bias.abs().max(), own_bias.abs().max())
    bound = torch.linalg.vector_norm(queries, dim=1).max() * lengths.max() + offset  # Cauchy-Schwarz
    if bound * LOG2_E >= SAFE_EXPONENT:  # else no logit can be too large
        shift = _largest(askers, items, block, tiles)[:n].to(exact)  # exact in every dtype from here on
    askers[:n, width] = -shift
    own_logit = (torch.linalg.vecdot(queries, own) + own_bias) * LOG2_E - shift  # (n,)

    rest = torch.zeros(full, dtype=exact)  # sum of 2 ** u over the candidates
    to_queries = torch.zeros(full if gradients else 0, width, dtype=exact)
    to_table = torch.zeros(m if gradients else 0, width, dtype=exact)
    to_bias = torch.zeros(m if gradients else 0, dtype=exact)
    held = torch.empty(m, block, dtype=kind) if gradients else None  # 2 ** u of one block of queries, transposed
    weight = torch.empty(n, dtype=exact)
    for first in range(0, full, block):
        mine, real = slice(first, first + block), slice(first, min(first + block, n))
        pairs = _excluded_by_tile(excluded, mine, tile, m)
        for towards, mass in side_by_side(partial(_ahead, askers[mine], items, width, tiles, pairs, held, exact), shares):
            rest[mine] += mass
            if gradients:
                to_queries[mine] += towards
        if held is not None:
            weight[real] = 1 / (n * (rest[real] + torch.exp2(own_logit[real])))
            weighted = torch.zeros(block, padded, dtype=kind)
            weighted[: real.stop - first, :width] = queries[real] * weight[real, None]
            weighted[: real.stop - first, width] = weight[real]
            list(side_by_side(partial(_back, weighted, held, tiles, to_table, to_bias), shares))
    rest, to_queries = rest[:n], to_queries[:n]
    loss = torch.log2(rest + torch.exp2(own_logit)).sub_(own_logit).mean() / LOG2_E
    if not gradients:
        return _Sums(loss, to_queries, to_table, to_bias, to_queries, to_bias)
    to_own = -rest * weight  # (p_y - 1) / n
    to_queries = to_queries.mul_(weight[:, None]).addcmul_(to_own[:, None], own)
    return _Sums(loss, to_queries, to_table, to_bias, to_own[:, None] * queries, to_own)


def _ahead(
    askers: Tensor,
    items: Tensor,
    width: int,
    tiles: Sequence[slice],
    pairs: tuple[Tensor, Tensor, list[int]],
    held: Tensor | None,
    exact: torch.dtype,
    share: range,
) -> tuple[Tensor, Tensor]:
    """One share of the tiles: sum of 2 ** u times the items (size, H), and without (size,). 2 ** u is left in `held` (m, size) if given."""
    rows, columns, bounds = pairs
    size = len(askers)
    towards, mass = torch.zeros(size, width, dtype=exact), torch.zeros(size, dtype=exact)
    for number in share:
        part = tiles[number]
        powers = items.new_empty(part.stop - part.start, size) if held is None else held[part]  # (tile, size)
        torch.mm(items[part, : width + 2], askers[:, : width + 2].T, out=powers).exp2_()
        inside = slice(bounds[number], bounds[number + 1])
        if inside.start < inside.stop:
            powers[columns[inside] - part.start, rows[inside]] = 0
        if held is None:
            mass += powers.sum(dim=0, dtype=exact)
        else:
            _add_product(powers.T, items[part], towards, mass)
    return towards, mass


def _back(weighted: Tensor, held: Tensor, tiles: Sequence[slice], to_table: Tensor, to_bias: Tensor, share: range) -> None:
    """One share of the tiles: what one block of queries adds to the gradients of the items and their bias."""
    for number in share:
        part = tiles[number]
        _add_product(held[part], weighted, to_table[part], to_bias[part])


@cache
def _threads(process: int, workers: int) -> ThreadPoolExecutor:
    """Threads that each work alone: torch's own would have to meet after every tile, which on a busy machine costs more than the tile.

    `process`: the id of this process, since threads do not outlive a fork.
    """
    met, before = Barrier(workers), torch.get_num_threads()

    def alone() -> None:
        torch.set_num_threads(1)  # of this thread, and the default of those to come
        met.wait()

    threads = ThreadPoolExecutor(workers, "softmax", alone)
    list(threads.map(lambda _: None, range(workers)))
    torch.set_num_threads(before)
    return threads


def _block(n: int, m: int, itemsize: int) -> int:
    """How many queries are worked on at a time: blocks of like size, of whole vector registers."""
    most = min(BLOCK, max(16, HELD_BYTES // (m * itemsize) // 16 * 16))
    blocks = -(-n // most)
    return min(most, -(-n // (16 * blocks)) * 16)


def _largest(askers: Tensor, items: Tensor, block: int, tiles: Sequence[slice]) -> Tensor:
    """The largest logit of each query, in the dtype of the products."""
    found = [torch.stack([(items[part] @ some.T).amax(dim=0) for part in tiles]).amax(dim=0) for some in askers.split(block)]
    return torch.cat(found)


def _excluded_by_tile(excluded: tuple[Tensor, Tensor], mine: slice, tile: int, m: int) -> tuple[Tensor, Tensor, list[int]]:
    """The excluded pairs of one block of queries by column: rows within the block, columns, and where each tile's pairs begin."""
    rows, columns = excluded
    kept = (rows >= mine.start) & (rows < mine.stop)
    columns, order = columns[kept].sort()
    edges = torch.arange(0, m + tile, tile)
    return rows[kept][order] - mine.start, columns, torch.searchsorted(columns, edges).tolist()


def _add_product(left: Tensor, right: Tensor, into: Tensor, sums: Tensor) -> None:
    """Add products: into (a, H) += left (a, b) @ right[:, :H] and sums (a,) += left @ right[:, H]; right has more columns than H."""
    width = into.shape[1]
    if left.dtype == into.dtype:
        torch.addmm(into, left, right[:, :width], out=into)
        torch.addmv(sums, left, right[:, width], out=sums)
    else:
        product = left @ right
        into.add_(product[:, :width])
        sums.add_(product[:, width])


def _entries(vector: Tensor, items: Tensor, sparse: bool) -> Tensor:
    """vector[items], with a sparse gradient if asked for."""
    return torch.gather(vector, 0, items, sparse_grad=sparse)


def _hits(targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pairs with targets[row] == drawn[column]."""
    ordered, order = drawn.sort()
    first, last = torch.searchsorted(ordered, targets), torch.searchsorted(ordered, targets, right=True)
    counts = last - first
    rows = torch.repeat_interleave(torch.arange(len(targets)), counts)
    within = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    return rows, order[first[rows] + within]
