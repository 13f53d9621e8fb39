"""Full training steps of one system, timed from within, so that start-up is left out. `python -m benchmarks.retriever_step_run SYSTEM ...`.

Ours: the retriever's blocks over packed histories, one of the losses of softmax.py, the fused AdamW (for `sparse`: SparseAdam for table and bias, so
that only the rows that a step touched move).
The peer: lrurec_reference.py. Every run appends one line of JSON to --told: CPU and wall seconds a step, last loss.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch  # noqa: TID253  (a process of its own)
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from benchmarks.lrurec_reference import ReferenceConfig, ReferenceLRURec, reference_optimiser, reference_step
from rar_pipeline.retriever.network import Blocks, Dropout, NetworkConfig
from rar_pipeline.retriever.scan import Packing
from rar_pipeline.retriever.softmax import KeptGradients, Kind, Matmul, clip_gradients, draw_uniform, softmax_loss

SYSTEMS: dict[str, tuple[Kind, Matmul, bool]] = {  # ours: kind of softmax, its matmul, sparse updates of the table
    "exact float32": ("exact", "float32", False),
    "exact bfloat16": ("exact", "bfloat16", False),
    "sampled": ("sampled", "float32", False),
    "sampled sparse": ("sampled", "float32", True),
}
PEER = "reference"
DROPOUT = 0.2

Step = Callable[[Tensor, Tensor], float]


class OurLRURec(nn.Module):
    """The network of lrurec_reference.py, of our parts. Rows of the table are the items 1 .. N."""

    def __init__(self, items: int, hidden: int, dropout: float = DROPOUT, blocks: int = 2) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(items, hidden), std=0.02, a=-0.04, b=0.04))
        self.bias = nn.Parameter(torch.zeros(items))
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(hidden)
        self.stack = Blocks(NetworkConfig(items=items, known=0, hidden=hidden, dropout=dropout, blocks=blocks))

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """history: (batch, length) int64, left-padded with 0 -> queries (n, H) of the places that are not padding, and these (n,)."""
        packing = Packing.of(history > 0)
        # only the rows that were read have a gradient; where the loss has a dense one, torch adds them to it
        x = F.embedding(history.flatten()[packing.places] - 1, self.table, sparse=True)
        return self.stack(self.norm(self.dropout(x)), packing), packing.places


def our_step(model: OurLRURec, system: str, negatives: int, learning_rate: float = 1e-3, weight_decay: float = 0.01) -> Step:
    """One step with clipping at 5 as a function of history and targets (batch, length); it returns the loss in nats."""
    kind, matmul, sparse = SYSTEMS[system]
    items = [model.table, model.bias]
    rest = [parameter for parameter in model.parameters() if all(parameter is not item for item in items)]
    dense = rest if sparse else [model.table, *rest]
    decayed = [parameter for parameter in dense if parameter.dim() > 1]
    undecayed = [parameter for parameter in dense if parameter.dim() == 1] + ([] if sparse else [model.bias])
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=learning_rate, fused=True)]
    if sparse:
        optimisers.append(torch.optim.SparseAdam(items, lr=learning_rate))
    kept = KeptGradients(items) if kind == "sampled" and not sparse else None

    def step(history: Tensor, targets: Tensor) -> float:
        for optimiser in optimisers:
            optimiser.zero_grad()
        queries, places = model(history)
        drawn = draw_uniform(len(model.table), negatives) if kind == "sampled" else None
        loss = softmax_loss(
            kind,
            queries,
            model.table,
            model.bias,
            targets.flatten()[places] - 1,
            matmul=matmul,
            negatives=drawn,
            sparse=kind == "sampled",
        )
        loss.backward()
        clip_gradients(model.parameters(), 5.0)
        if kept is not None:
            kept.fill()
        for optimiser in optimisers:
            optimiser.step()
        return float(loss.detach())

    return step


def batch_of(items: int, batch: int, length: int, filled: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Left-padded histories and the item after each place (batch, length) int64, 0 at padding; on average `filled` of the places are not."""
    longest = min(length, max(1, round(2 * filled * length) - 1))
    lengths = torch.randint(1, longest + 1, (batch,), generator=generator)
    sequences = torch.randint(1, items + 1, (batch, length + 1), generator=generator)
    there = torch.arange(length) >= length - lengths[:, None]
    return sequences[:, :-1] * there, sequences[:, 1:] * there


def main() -> None:
    """Warm up and take the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=[PEER, *SYSTEMS])
    for name in ("items", "hidden", "batch", "length", "negatives", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--filled", type=float, required=True)
    parser.add_argument("--told", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    step: Step
    if options.system == PEER:
        model = ReferenceLRURec(ReferenceConfig(options.items, options.hidden, dropout=DROPOUT, length=options.length))
        optimiser = reference_optimiser(model)

        def step(history: Tensor, targets: Tensor) -> float:
            return reference_step(model, optimiser, history, targets)

    else:
        step = our_step(OurLRURec(options.items, options.hidden), options.system, options.negatives)
    # one short history: libraries are loaded and the optimiser's state is made
    step(*batch_of(options.items, 1, 2, 1.0, generator))
    loss = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        loss = step(*batch_of(options.items, options.batch, options.length, options.filled, generator))
    told = {
        "wall": (time.perf_counter() - wall) / options.steps,
        "cpu": (time.process_time() - cpu) / options.steps,
        "loss": loss,
    }
    with options.told.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
