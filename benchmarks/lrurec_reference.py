"""LRURec as its published reference implementation computes it (Yue et al., WSDM 2024), written plainly: the peer of our training step.

Kept on purpose: complex64 parameters, so no fused optimiser; the scan over lengths padded to a power of two; every logit of the whole table at
every position, padded ones too. Item 0 is padding, items are 1 to N. No cleverness belongs in this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253


@dataclass(frozen=True)
class ReferenceConfig:
    """Shape of the network."""

    items: int  # N, padding not counted
    hidden: int = 64  # H
    blocks: int = 2
    dropout: float = 0.2
    length: int = 50  # longest history
    r_min: float = 0.8
    r_max: float = 0.99


class ReferenceUnit(nn.Module):
    """y_k = LN(Drop(Re(C h_k)) + x_k) with h_k = lambda h_{k-1} + exp(gamma) (B x_k), lambda = exp(-exp(nu) + i exp(theta))."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        width, state = config.hidden, 2 * config.hidden
        nu = torch.log(-0.5 * torch.log(torch.rand(state) * (config.r_max**2 - config.r_min**2) + config.r_min**2))
        theta = torch.log(2 * math.pi * torch.rand(state))
        decay = torch.exp(torch.complex(-torch.exp(nu), torch.exp(theta)))
        gamma = torch.log(torch.sqrt(1 - decay.abs() ** 2))
        self.ring = nn.Parameter(torch.stack([nu, theta, gamma]))  # (3, 2H)
        self.into_state = nn.Linear(width, state, dtype=torch.cfloat)  # B
        self.from_state = nn.Linear(state, width, dtype=torch.cfloat)  # C
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (batch, length, H), mask: (batch, length) bool, length a power of two -> (batch, length, H)."""
        batch, length, _ = x.shape
        nu, theta, gamma = torch.exp(self.ring)
        powers = torch.exp(torch.complex(-nu, theta)).unsqueeze(0)  # (1, 2H): lambda, then lambda .. lambda^width
        states = self.into_state(x.to(torch.cfloat)) * gamma  # (batch, length, 2H)
        width = 1
        while width < length:
            # neighbouring runs of `width` states become one: the second takes over what the last state of the first carries
            pairs = states.view(batch, length // (2 * width), 2, width, -1)
            last = mask.view(batch, length // (2 * width), 2, width)[:, :, 0, -1:, None]
            second = pairs[:, :, 1] + powers * pairs[:, :, 0, -1:] * last
            states = torch.stack([pairs[:, :, 0], second], dim=2).view(batch, length, -1)
            powers = torch.cat([powers, powers * powers[-1]])
            width *= 2
        return self.norm(self.dropout(self.from_state(states).real) + x)


class ReferenceBlock(nn.Module):
    """A linear recurrent unit and a feed-forward H -> 4H -> H, GELU, residual, LayerNorm."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        self.unit = ReferenceUnit(config)
        self.rise = nn.Linear(config.hidden, 4 * config.hidden)
        self.fall = nn.Linear(4 * config.hidden, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, length, H) -> (batch, length, H)."""
        x = self.unit(x, mask)
        return self.norm(self.dropout(self.fall(self.dropout(F.gelu(self.rise(x))))) + x)


class ReferenceLRURec(nn.Module):
    """Logits of all items at every position of a left-padded history."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.items + 1, config.hidden)
        self.bias = nn.Parameter(torch.zeros(config.items + 1))
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.hidden)
        self.stack = nn.ModuleList(ReferenceBlock(config) for _ in range(config.blocks))
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Normal of deviation .02 cut at -.04 and .04, for all but the norms and the ring; real and imaginary part alike."""
        for name, parameter in self.named_parameters():
            if "norm" not in name and "ring" not in name:
                real = torch.view_as_real(parameter) if parameter.is_complex() else parameter
                nn.init.trunc_normal_(real, std=0.02, a=-0.04, b=0.04)

    def states(self, history: Tensor) -> Tensor:
        """history: (batch, length) int64, left-padded with 0 -> (batch, length, H)."""
        length = history.shape[1]
        missing = (1 << (length - 1).bit_length()) - length
        mask = F.pad(history > 0, (missing, 0))
        x = F.pad(self.norm(self.dropout(self.table(history))), (0, 0, missing, 0))
        for block in self.stack:
            x = block(x, mask)
        return x[:, missing:]

    def forward(self, history: Tensor) -> Tensor:
        """history: (batch, length) int64, left-padded with 0 -> logits (batch, length, N + 1) of items 0 .. N, 0 being padding."""
        return self.states(history) @ self.table.weight.T + self.bias


def reference_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy. logits: (batch, length, N + 1); targets: (batch, length) int64, 0 where there is nothing to foretell."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


def reference_optimiser(model: nn.Module, learning_rate: float = 1e-3, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW; biases and norms do not decay."""
    kept = [parameter for name, parameter in model.named_parameters() if "bias" in name or "norm" in name]
    decayed = [parameter for name, parameter in model.named_parameters() if "bias" not in name and "norm" not in name]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)


def reference_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, history: Tensor, targets: Tensor, clip: float = 5.0
) -> float:
    """Forward, backward, clipping at `clip` and the optimiser. Returns the loss in nats."""
    optimiser.zero_grad()
    loss = reference_loss(model(history), targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return float(loss.detach())
