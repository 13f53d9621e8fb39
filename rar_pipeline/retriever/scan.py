"""The recurrence h_k = decay * h_{k-1} + u_k over all positions at once, for two kinds of machine.

On a GPU `scan`: recursive doubling over a padded batch, O(log length) steps, each of which moves the whole batch through memory. On a CPU
that traffic is the cost, so `PackedRecurrence` walks over the positions instead: the states of one position fit the cache. It works on packed
sequences, in which padding does not exist: the items of all sequences at their first position, then those at their second, and so on, the
longest sequence first. Both equal the plain recurrence (tests/retriever/test_network.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor  # noqa: TID253


@dataclass(frozen=True)
class Packing:
    """Order of the items of a batch of sequences that lie one after another without padding.

    `alive`: how many sequences have an item at each position, never rising; its sum is n. `places` (n,): where each packed item lies in the
    flattened padded batch. `last` (batch,): packed place of the last item of each sequence of the batch, -1 where it has none.
    """

    alive: tuple[int, ...]
    places: Tensor
    last: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """mask: (batch, length) bool, False at padding, which lies on one side of each sequence."""
        batch, length = mask.shape
        lengths = mask.sum(dim=1)
        order = torch.argsort(lengths, descending=True, stable=True)  # (batch,) longest first
        steps = torch.arange(int(lengths.max()) if batch else 0, device=mask.device).unsqueeze(1)
        there = steps < lengths[order]  # (longest, batch): sequences in the order of packing
        first = mask.int().argmax(dim=1) if length else order  # (batch,) column of the first item
        places = (order * length + first[order] + steps)[there]
        numbers = torch.cumsum(there.flatten(), 0).view(there.shape) - 1  # packed place of each item that is there
        last = torch.full((batch,), -1, device=mask.device)
        some = int((lengths > 0).sum())
        last[order[:some]] = numbers[lengths[order[:some]] - 1, torch.arange(some, device=mask.device)]
        return cls(tuple(there.sum(dim=1).tolist()), places, last)

    def pack(self, x: Tensor) -> Tensor:
        """(batch, length, D) -> (n, D)."""
        return x.flatten(0, 1)[self.places]

    def unpack(self, x: Tensor, shape: torch.Size) -> Tensor:
        """(n, D) -> (batch, length, D), zero at padding; `shape` is that of the mask."""
        return x.new_zeros(shape[0] * shape[1], x.shape[1]).index_copy(0, self.places, x).view(*shape, x.shape[1])


def scan(decay: Tensor, inputs: Tensor) -> Tensor:
    """All states of h_k = decay * h_{k-1} + inputs_k, in O(log length) steps of recursive doubling.

    decay: (D,) complex; inputs: (batch, length, D) complex, zero at padded positions. Returns (batch, length, D).
    """
    states = inputs
    power, step = decay, 1
    while step < inputs.shape[1]:
        carried = power * states[:, :-step]  # (batch, length - step, D)
        states = torch.cat([states[:, :step], states[:, step:] + carried], dim=1)
        power, step = power * power, step * 2
    return states


class PackedRecurrence(torch.autograd.Function):
    """All states of packed sequences, position by position: decay (D,) complex, inputs (n, D) complex, alive -> (n, D).

    Rows beyond the sum of `alive` belong to no sequence; each is its own state.
    The gradient runs backwards in time and carries its conjugate, so that no step has to conjugate anything: with c_k the conjugate of
    dL/dh_k, c_k = conj(dL/dy_k) + decay * c_{k+1}, dL/du_k = conj(c_k) and dL/d decay = conj(sum over k of c_k * h_{k-1}).
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, alive: tuple[int, ...]) -> Tensor:  # noqa: ANN401  (autograd's context)
        """Walk forwards."""
        states, count = torch.empty_like(inputs), sum(alive)
        states[count:] = inputs[count:]
        previous = None
        for u, h in zip(inputs[:count].split(alive), states[:count].split(alive), strict=True):
            if previous is None:
                h.copy_(u)
            else:
                torch.addcmul(u, decay, previous[: len(h)], out=h)
            previous = h
        ctx.save_for_backward(decay, states)
        ctx.alive = alive
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        """Walk backwards."""
        decay, states = ctx.saved_tensors
        conjugates = torch.conj_physical(gradients[0].resolve_conj())
        count = sum(ctx.alive)
        parts, before = conjugates[:count].split(ctx.alive), states[:count].split(ctx.alive)
        products = torch.zeros(max(ctx.alive, default=0), len(decay), dtype=decay.dtype, device=decay.device)
        for k in range(len(ctx.alive) - 1, 0, -1):
            c, still = parts[k], ctx.alive[k]
            products[:still].addcmul_(c, before[k - 1][:still])
            parts[k - 1][:still].addcmul_(decay, c)
        return products.sum(dim=0).conj().resolve_conj(), conjugates.conj_physical_(), None


def recurrence(decay: Tensor, inputs: Tensor, order: Tensor | Packing) -> Tensor:
    """States of padded sequences (batch, length, D) under their mask (batch, length), or of packed ones (n, D) under their packing."""
    if isinstance(order, Packing):
        return PackedRecurrence.apply(decay, inputs, order.alive)
    return scan(decay, inputs * order.unsqueeze(-1))
