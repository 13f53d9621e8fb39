"""`python -m benchmarks.softmax_quality`: what sampling and sparse updates cost in quality, against the exact softmax in float32.

Each of our losses trains the network of retriever_step_run.py from the same weights over the same batches with the same dropout, a step of each in
turn, and all items are ranked for the validation item of every user at the same epochs. The test items are not looked at.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from benchmarks.files import MIRROR
from benchmarks.lrurec import SETTINGS, sequences_of
from benchmarks.report import Row, show
from benchmarks.retriever_step_run import SYSTEMS, OurLRURec
from rar_pipeline.errors import RarError
from rar_pipeline.retriever.sequences import Sequences, WindowBatches, left_padded, ranks, windows
from rar_pipeline.retriever.softmax import KeptGradients, Negatives, clip_gradients, draw_uniform, draw_weighted, softmax_loss

PEER = "exact float32"
CUT = 10


@dataclass(frozen=True)
class Settings:
    """How all systems are trained; defaults are those published with LRURec where it has them."""

    length: int
    dropout: float
    hidden: int = 64
    batch: int = 128  # windows a step
    learning_rate: float = 1e-3  # AdamW
    weight_decay: float = 0.01  # of all but biases and norms; SparseAdam has none
    clip: float = 5.0  # norm of the gradient
    seed: int = 42
    negatives: int = 2048  # sampled a step
    popularity: float = 0.0  # they are drawn in proportion to (1 + how often training names an item) to this power
    sparse_rate: float = 1e-3  # SparseAdam, of the item table and bias


class Trainee:
    """A network that one of the losses trains."""

    def __init__(self, system: str, model: OurLRURec, settings: Settings, weights: Tensor) -> None:
        self.kind, self.matmul, self.sparse = SYSTEMS[system]
        self.model, self.settings, self.weights = model, settings, weights
        self.cpu, self.steps = 0.0, 0
        table = [model.table, model.bias]
        apart = {id(parameter) for parameter in table} if self.sparse else set()
        dense = [parameter for parameter in model.parameters() if id(parameter) not in apart]
        groups = [
            {"params": [parameter for parameter in dense if parameter.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [parameter for parameter in dense if parameter.dim() == 1], "weight_decay": 0.0},
        ]
        self.optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)]
        if self.sparse:
            self.optimisers.append(torch.optim.SparseAdam(table, lr=settings.sparse_rate))
        self.kept = KeptGradients(table) if self.kind == "sampled" and not self.sparse else None

    def step(self, history: Tensor, following: Tensor) -> float:
        """One step; history (batch, length) int64 of 1 .. N, left-padded with 0, and the next items as rows; the loss in nats."""
        begun = time.process_time()
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        queries, places = self.model(history)
        loss = softmax_loss(
            self.kind,
            queries,
            self.model.table,
            self.model.bias,
            following.flatten()[places],
            matmul=self.matmul,
            negatives=self._draw() if self.kind == "sampled" else None,
            sparse=self.kind == "sampled",
        )
        loss.backward()
        clip_gradients(self.model.parameters(), self.settings.clip)
        if self.kept is not None:
            self.kept.fill()
        for optimiser in self.optimisers:
            optimiser.step()
        self.cpu += time.process_time() - begun
        self.steps += 1
        return float(loss.detach())

    def _draw(self) -> Negatives:
        if self.settings.popularity:
            return draw_weighted(self.weights, self.settings.negatives)
        return draw_uniform(len(self.weights), self.settings.negatives)

    @torch.no_grad()
    def rank(self, cases: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """Ranks (n,) of what came next among all items, the history removed."""
        found = []
        self.model.eval()
        for part in (cases[start : start + 256] for start in range(0, len(cases), 256)):
            items, mask = (torch.from_numpy(array) for array in left_padded([each[-self.settings.length :] for each, _ in part]))
            queries, places = self.model((items + 1) * mask)
            last = places.argsort()[mask.sum(dim=1).cumsum(0) - 1]  # of each history; places lie in the padded batch, row by row
            scores = queries[last] @ self.model.table.T + self.model.bias
            found.append(ranks(scores.numpy(), [each for each, _ in part], np.array([target for _, target in part])))
        self.model.train()
        return np.concatenate(found)


def compare(
    data: str,
    sequences: Sequences,
    systems: Sequence[str],
    settings: Settings,
    *,
    epochs: int,
    every: int,
    minutes: float | None,
    tell: Callable[[str], None],
) -> list[Row]:
    """Rows of all systems but the peer: validation R@10 and N@10 every so many epochs and after the last, then CPU seconds a step.

    The last epoch is `epochs` or that in which so many CPU minutes were over. Without the peer among the systems the rows have none.
    """
    torch.manual_seed(settings.seed)
    first = OurLRURec(len(sequences.items), settings.hidden, settings.dropout)
    training = sequences.training()
    named = torch.from_numpy(np.bincount(np.concatenate(training), minlength=len(sequences.items)))
    weights = (1.0 + named) ** settings.popularity
    trainees = {system: Trainee(system, copy.deepcopy(first), settings, weights) for system in systems}
    batches = WindowBatches(windows(training, settings.length), settings.batch, settings.seed)
    cases = sorted(sequences.cases("validation"), key=lambda case: len(case[0]))  # like lengths share a batch
    rows: list[Row] = []
    begun, step = time.process_time(), 0
    for epoch in itertools.count(1):
        for items, mask, following in (map(torch.from_numpy, arrays) for arrays in batches.epoch(epoch - 1)):
            step += 1
            for trainee in trainees.values():
                torch.manual_seed(settings.seed * 1_000_003 + step)  # the same dropout for all
                trainee.step((items + 1) * mask, following)
        spent = time.process_time() - begun
        last = epoch >= epochs or (minutes is not None and spent > 60 * minutes)
        if last or epoch % every == 0:
            found = {system: trainee.rank(cases) for system, trainee in trainees.items()}
            rows += _quality(data, epoch, found, settings, tell)
        tell(f"epoch {epoch}, {step} steps: {', '.join(f'{name} {each.cpu:.0f}' for name, each in trainees.items())} CPU s")
        if last:
            break
    peer = trainees[PEER].cpu / step * 1000 if PEER in trainees else None
    cost = [
        _row(data, system, "a step", trainee.cpu / step * 1000, peer, "ms", "-", PEER, settings)
        for system, trainee in trainees.items()
        if system != PEER
    ]
    return sorted([*rows, *cost], key=lambda row: row.name.split(", ")[0])


def _quality(data: str, epoch: int, found: dict[str, np.ndarray], settings: Settings, tell: Callable[[str], None]) -> list[Row]:
    """Rows of one validation, in per cent, from the ranks (n,) of each system; the peer's own figures are told only."""
    rows = []
    for metric, gain in (("R", np.ones_like), ("N", lambda ranks: 1 / np.log2(ranks + 1))):
        each = {system: 100 * np.where(ranks <= CUT, gain(ranks), 0.0) for system, ranks in found.items()}
        peer = each.get(PEER)
        for system, mine in each.items():
            name = f"{metric}@{CUT} +-{_error(mine):.2f} after {epoch} epochs"
            if peer is None or system == PEER:
                against, theirs = f"{PEER}, which was left out", None
                tell(f"{system}, {name}: {mine.mean():.2f}")
            else:
                against, theirs = f"{PEER}; less it {(mine - peer).mean():+.2f} +- {_error(mine - peer):.2f}, paired", peer.mean()
                tell(f"{system}, {name}: {mine.mean():.2f} against {against}")
            if system != PEER:
                goal = "within one standard error"
                rows.append(_row(data, system, name, mine.mean(), theirs, "%", goal, against, settings))
    return rows


def _row(
    data: str, system: str, name: str, ours: float, peer: float | None, unit: str, goal: str, against: str, settings: Settings
) -> Row:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    kind, _, sparse = SYSTEMS[system]
    work = f"LRURec trained on {data} in batches of {settings.batch}, AdamW {settings.learning_rate:g}; memory is that of all systems together"
    if kind == "sampled":
        work += f"; {settings.negatives:,} negatives a step, popularity to the power {settings.popularity:g}"
    if sparse:
        work += f"; SparseAdam {settings.sparse_rate:g} for table and bias"
    return Row.of(
        f"{data} {system}, {name}", float(ours), None if peer is None else float(peer), peak, 1,
        unit=unit, goal=goal, against=against, work=work,
    )  # fmt: skip


def _error(values: np.ndarray) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", choices=sorted(SETTINGS), default="video")
    parser.add_argument(
        "--files", type=Path, metavar="FOLDER", default=MIRROR, help="publishers' layout (sequences/video.tsv ...)"
    )
    parser.add_argument("--ours", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="which of our losses")
    parser.add_argument("--without-peer", action="store_true", help="leave exact float32 out where it is not among --ours")
    parser.add_argument("--epochs", type=int, default=16, help="most epochs")
    parser.add_argument("--minutes", type=float, help="stop after the epoch in which so many CPU minutes are over")
    parser.add_argument("--every", type=int, default=4, help="epochs between validations")
    parser.add_argument("--negatives", type=int, default=Settings.negatives, help="sampled items a step")
    parser.add_argument(
        "--popularity", type=float, default=Settings.popularity, help="draw them by popularity to this power; 0: uniformly"
    )
    parser.add_argument(
        "--sparse-rate", type=float, default=Settings.sparse_rate, help="learning rate of the item table in sparse updates"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of a table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = Settings(
        SETTINGS[options.data]["length"],
        SETTINGS[options.data]["dropout"],
        negatives=options.negatives,
        popularity=options.popularity,
        sparse_rate=options.sparse_rate,
    )
    systems = [name for name in SYSTEMS if name in options.ours or (name == PEER and not options.without_peer)]
    try:
        sequences = sequences_of(options.files, options.data)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = compare(
        options.data,
        sequences,
        systems,
        settings,
        epochs=options.epochs,
        every=options.every,
        minutes=options.minutes,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
