"""The exact softmax is the full softmax, to rounding; the sampled one estimates the same partition function without bias."""

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rar_pipeline.retriever import softmax
from rar_pipeline.retriever.softmax import (
    KeptGradients,
    Negatives,
    candidate_softmax,
    clip_gradients,
    draw_uniform,
    draw_weighted,
    exact_softmax,
    full_softmax,
    fused_softmax,
    sampled_softmax,
    softmax_loss,
)

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    """Tiles of 32 items and blocks of 16 queries, so that small cases have several of both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmax, "TILE_BYTES", 1)
        patch.setattr(softmax, "BLOCK", 16)
        yield


def case(n: int, items: int, width: int, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, table, bias and targets."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, width, generator=generator) * scale,
        torch.randn(items, width, generator=generator),
        torch.randn(items, generator=generator),
        torch.randint(items, (n,), generator=generator),
    )


def value_and_gradients(loss: Loss, queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> list[Tensor]:
    """The loss and its gradients by queries, table and bias, in double."""
    parts = [part.detach().clone().requires_grad_() for part in (queries, table, bias)]
    value = loss(*parts, targets)
    value.backward()
    return [value.detach().double(), *(part.grad.to_dense().double() for part in parts)]


def reference(queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> list[Tensor]:
    return value_and_gradients(full_softmax, queries.double(), table.double(), bias.double(), targets)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    items=st.integers(2, 150),
    width=st.integers(1, 20),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 999),
)
def test_exact_is_the_full_softmax_in_double(n: int, items: int, width: int, scale: float, seed: int) -> None:
    drawn = case(n, items, width, scale, seed)
    for found, expected in zip(value_and_gradients(exact_softmax, *drawn), reference(*drawn), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)


def test_threads_share_the_work_and_change_nothing_else() -> None:
    drawn, before = case(40, 300, 8), torch.get_num_threads()
    try:
        for threads in (3, 1):
            torch.set_num_threads(threads)
            for found, expected in zip(value_and_gradients(exact_softmax, *drawn), reference(*drawn), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_double_inputs_are_computed_in_double() -> None:
    queries, table, bias, targets = case(20, 70, 5)
    doubled = (queries.double(), table.double(), bias.double(), targets)
    for found, expected in zip(value_and_gradients(exact_softmax, *doubled), reference(*doubled), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_candidates_are_the_plain_softmax_over_own_item_and_candidates_that_count() -> None:
    queries, candidates, offsets, _ = (part.double() for part in case(20, 70, 5))
    own, own_offsets, excluded = torch.randn(20, 5).double(), torch.randn(20).double(), torch.rand(20, 70) < 0.1

    def plain(*parts: Tensor) -> Tensor:
        queries, candidates, offsets, own, own_offsets = parts
        shared = (queries @ candidates.T + offsets).masked_fill(excluded, -torch.inf)
        logits = torch.cat([(queries * own).sum(dim=1, keepdim=True) + own_offsets[:, None], shared], dim=1)
        return torch.nn.functional.cross_entropy(logits, torch.zeros(20, dtype=torch.long))

    pairs: tuple[Tensor, Tensor] = excluded.nonzero(as_tuple=True)  # type: ignore[assignment]
    found, expected = [], []
    for results, loss in ((expected, plain), (found, lambda *parts: candidate_softmax(*parts, pairs))):
        inputs = [part.clone().requires_grad_() for part in (queries, candidates, offsets, own, own_offsets)]
        value = loss(*inputs)
        results += [value.detach(), *torch.autograd.grad(value, inputs)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_second_backward_pass_is_refused() -> None:
    queries, table, bias, targets = case(3, 35, 2)
    loss = exact_softmax(queries.requires_grad_(), table, bias, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss again"):
        loss.backward()


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_logits_of_a_thousand_do_not_overflow(size: float) -> None:
    queries, table, bias, targets = case(10, 100, 4)
    queries, table = queries / queries.norm(dim=1, keepdim=True) * size, table / table.norm(dim=1, keepdim=True)
    for found, expected in zip(
        value_and_gradients(exact_softmax, queries, table, bias, targets), reference(queries, table, bias, targets), strict=True
    ):
        assert relative_error(found, expected) < 2e-3  # a logit of 1,000 is known to 1e-4 in float32


def test_bfloat16_is_within_a_hundredth() -> None:
    drawn = case(200, 3000, 64, 0.3)
    found, expected = value_and_gradients(bfloat16, *drawn), reference(*drawn)
    assert relative_error(found[0], expected[0]) < 1e-3
    for gradient, right in zip(found[1:], expected[1:], strict=True):
        assert relative_error(gradient, right) < 0.01


@pytest.mark.parametrize("n", [1, 15, 17, 31, 33, 100])
def test_a_block_that_is_filled_up_counts_only_what_is_there(n: int) -> None:
    drawn = case(n, 130, 12, 0.3)
    expected = reference(*drawn)
    for loss, most in ((exact_softmax, 1e-5), (bfloat16, 0.02)):
        for found, right in zip(value_and_gradients(loss, *drawn), expected, strict=True):
            assert relative_error(found, right) < most


class Shapes(TorchDispatchMode):
    """Collects the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[tuple[int, ...], ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.seen.add(tuple(tuple(part.shape) for part in args[-2:]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scale", [0.1, 100.0])  # the latter needs the largest logits first
def test_the_number_of_queries_brings_no_new_shapes(scale: float) -> None:
    """A product in bfloat16 is compiled once a shape, and the code is kept for ever: a training would fill the memory."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # a mode is seen by its own thread only
    try:
        seen = []
        for counts in ([160], range(130, 160, 7)):
            with Shapes() as shapes:
                for n in counts:
                    value_and_gradients(bfloat16, *case(n, 110, 6, scale))
            seen.append(shapes.seen)
    finally:
        torch.set_num_threads(before)
    assert seen[0] and seen[1] == seen[0]


def bfloat16(queries: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return exact_softmax(queries, table, bias, targets, matmul="bfloat16")


def test_a_certain_target_costs_nothing_in_bfloat16_too() -> None:
    # the target's own logit is not rounded, else its loss would be that of the rounding: 30 is known to .06 in bfloat16
    table = torch.eye(8)
    queries = 30.03 * table
    assert float(exact_softmax(queries, table, torch.zeros(8), torch.arange(8), matmul="bfloat16")) < 1e-6


def test_the_gradient_of_the_loss_scales_the_gradients() -> None:
    drawn = case(20, 70, 5)
    once = value_and_gradients(exact_softmax, *drawn)
    tripled = value_and_gradients(lambda *parts: 3 * exact_softmax(*parts), *drawn)
    for single, triple in zip(once, tripled, strict=True):
        torch.testing.assert_close(triple, 3 * single)


def test_without_gradients_the_value_is_the_same() -> None:
    drawn = case(40, 100, 5)
    with torch.no_grad():
        torch.testing.assert_close(exact_softmax(*drawn), full_softmax(*drawn))


def test_sampling_every_item_once_is_exact() -> None:
    drawn = case(30, 90, 5)
    everything = Negatives(torch.randperm(90), torch.zeros(90))
    found = value_and_gradients(lambda *parts: sampled_softmax(*parts, everything), *drawn)
    for sampled, expected in zip(found, reference(*drawn), strict=True):
        torch.testing.assert_close(sampled, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_partition_estimate_is_unbiased(weighted: bool) -> None:
    queries, table, bias, targets = (part.double() if part.is_floating_point() else part for part in case(1, 20, 3))
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(20, generator=generator) + 0.1
    logits = queries @ table.T + bias
    estimates = []
    for _ in range(1500):
        drawn = draw_weighted(weights, 8, generator) if weighted else draw_uniform(20, 8, generator)
        estimates.append(torch.exp(sampled_softmax(queries, table, bias, targets, drawn) + logits[0, targets[0]]))
    partition = torch.stack(estimates)
    assert abs(partition.mean() - logits.exp().sum()) < 4 * partition.std() / len(partition) ** 0.5
    assert partition.std() / partition.mean() < 1


def test_a_drawn_target_is_not_its_own_negative() -> None:
    queries, table, bias, _ = case(2, 6, 3)
    targets = torch.tensor([4, 2])
    drawn = Negatives(torch.tensor([4, 4, 1]), torch.zeros(3))
    logits = queries @ table.T + bias
    first = torch.logsumexp(logits[0, [4, 1]], 0) - logits[0, 4]
    second = torch.logsumexp(logits[1, [2, 4, 4, 1]], 0) - logits[1, 2]
    torch.testing.assert_close(sampled_softmax(queries, table, bias, targets, drawn), (first + second) / 2)


def test_sampling_touches_targets_and_negatives_only_and_sparse_gradients_are_the_dense_ones() -> None:
    queries, table, bias, targets = case(9, 400, 5)
    drawn = draw_uniform(400, 30, torch.Generator().manual_seed(2))
    touched = torch.zeros(400, dtype=torch.bool)
    touched[torch.cat([targets, drawn.items])] = True
    dense = value_and_gradients(lambda *parts: sampled_softmax(*parts, drawn), queries, table, bias, targets)
    assert (dense[2].abs().sum(dim=1) > 0).equal(touched)
    sparse = value_and_gradients(lambda *parts: sampled_softmax(*parts, drawn, sparse=True), queries, table, bias, targets)
    for found, expected in zip(sparse, dense, strict=True):
        torch.testing.assert_close(found, expected)

    table, bias = torch.nn.Parameter(table), torch.nn.Parameter(bias)
    before, offsets = table.detach().clone(), bias.detach().clone()
    optimiser = torch.optim.SparseAdam([table, bias])
    sampled_softmax(queries, table, bias, targets, drawn, sparse=True).backward()
    assert table.grad is not None and table.grad.is_sparse and bias.grad is not None and bias.grad.is_sparse
    optimiser.step()
    assert (table != before).any(dim=1).equal(touched)
    assert (bias != offsets).equal(touched)


@pytest.mark.parametrize("largest", [0.01, 100.0])
def test_sparse_gradients_are_clipped_as_dense_ones(largest: float) -> None:
    queries, table, bias, targets = case(9, 50, 5)
    drawn = draw_uniform(50, 30, torch.Generator().manual_seed(2))
    clipped = []
    for sparse in (False, True):
        parameters = [part.clone().requires_grad_() for part in (queries, table, bias)]
        sampled_softmax(*parameters, targets, drawn, sparse=sparse).backward()
        norm = clip_gradients(parameters, largest) if sparse else torch.nn.utils.clip_grad_norm_(parameters, largest)
        clipped.append([norm, *(part.grad.to_dense() for part in parameters if part.grad is not None)])
    for dense, found in zip(*clipped, strict=True):
        torch.testing.assert_close(found, dense)


def test_steps_with_kept_gradients_are_those_with_dense_ones() -> None:
    queries, start, offsets, targets = case(9, 400, 5)
    tables = []
    for sparse in (False, True):
        table, bias = torch.nn.Parameter(start.clone()), torch.nn.Parameter(offsets.clone())
        optimiser, kept = torch.optim.AdamW([table, bias], lr=0.1), KeptGradients([table, bias])
        for step in range(4):  # other rows are touched in each
            optimiser.zero_grad()
            drawn = draw_uniform(400, 30, torch.Generator().manual_seed(step))
            sampled_softmax(queries, table, bias, (targets + 7 * step) % 400, drawn, sparse=sparse).backward()
            clip_gradients([table, bias], 0.5)
            if sparse:
                kept.fill()
            optimiser.step()
        tables.append((table.detach(), bias.detach()))
    for dense, found in zip(*tables, strict=True):
        torch.testing.assert_close(found, dense)
    assert (tables[0][0] != start).any(dim=1).sum() > 100


def test_kept_gradients_want_sparse_ones() -> None:
    table = torch.nn.Parameter(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="sparse=True"):
        KeptGradients([table]).fill()


def test_the_kind_chooses_the_loss() -> None:
    drawn = case(5, 40, 4)
    negatives = draw_uniform(40, 10)
    torch.testing.assert_close(softmax_loss("full", *drawn), full_softmax(*drawn))
    torch.testing.assert_close(softmax_loss("exact", *drawn), full_softmax(*drawn))
    torch.testing.assert_close(softmax_loss("sampled", *drawn, negatives=negatives), sampled_softmax(*drawn, negatives))
    with pytest.raises(ValueError, match="draw_uniform"):
        softmax_loss("sampled", *drawn)


@pytest.mark.filterwarnings("ignore")
def test_the_fused_kernels_get_the_whole_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = case(100, 500, 8, 0.3)
    expected = reference(*drawn)

    def plain(queries: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        assert queries.dtype == table.dtype == torch.bfloat16
        assert queries.shape[1] % 16 == 0
        return torch.nn.functional.cross_entropy(queries.float() @ table.float().T, targets)

    for module in (None, SimpleNamespace(linear_cross_entropy=plain)):
        monkeypatch.setitem(sys.modules, "cut_cross_entropy", module)
        for found, right in zip(value_and_gradients(fused_softmax, *drawn), expected, strict=True):
            assert relative_error(found, right) < 0.02
