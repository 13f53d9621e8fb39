"""What training reads: batches of examples, shuffled anew each epoch from the one seed, and the validation cases.

Where several processes train together, each takes its share of every batch and of the validation cases. The shares together are the batches of
one process whose batch is as large as theirs together, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import polars as pl
import torch  # noqa: TID253

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Batch, Queries

SORTED = 20  # batches that are drawn together and sorted by length of history, so that little of a batch is padding
JUDGED = 1024  # validation cases in one step


@dataclass(frozen=True)
class Examples:
    """Queries of training and validation, the movies that are right for them, and the catalogue that they are drawn from."""

    catalogue: Catalogue
    known: list[str]
    train: Queries
    positives: list[tuple[int, int]]  # (row of `train`, catalogue row)
    refusals: list[tuple[int, int]]  # likewise, of what the seeker disliked
    validation: Queries
    validation_cases: pl.DataFrame


class Share(NamedTuple):
    """What one process takes of a batch: numbers of its examples, and what each counts in the loss.

    Gradients are averaged over the processes, so the weight is their number / size of the whole batch. Nobody can take nothing: who gets no
    example of an epoch's last batch takes one of another process with weight 0.
    """

    numbers: np.ndarray
    weight: float


class ShuffledBatches(torch.utils.data.Sampler[Share]):
    """The batches of an epoch, or one process's shares of them; examples of like history length share a batch."""

    def __init__(self, lengths: np.ndarray, size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.lengths, self.size, self.seed, self.rank, self.processes = lengths, size, seed, rank, processes
        self.whole = size * processes
        self.epoch = 0

    def __len__(self) -> int:
        """Batches of one epoch."""
        return -(-len(self.lengths) // self.whole)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch: a resumed training goes on with the order that an unbroken one has."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Share]:
        """The shares of the present epoch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.lengths))
        for start in range(0, len(order), self.whole * SORTED):
            part = order[start : start + self.whole * SORTED]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            for first in range(0, len(part), self.whole):
                batch = part[first : first + self.whole]
                own = batch[self.rank :: self.processes]
                yield Share(own, self.processes / len(batch)) if len(own) else Share(batch[:1], 0.0)


class Taught(NamedTuple):
    """A share of a batch as tensors."""

    asked: Batch
    targets: torch.Tensor  # (b,) catalogue rows
    liked: torch.Tensor  # (b,) bool; False: the seeker disliked the target
    weights: torch.Tensor  # (b,) what each counts in the loss


class _Pairs(torch.utils.data.Dataset[Taught]):
    """Queries with a target each, positives first."""

    def __init__(self, examples: Examples) -> None:
        self.queries = examples.train
        self.pairs = np.array(examples.positives + examples.refusals, np.int64).reshape(-1, 2)
        self.positives = len(examples.positives)

    def __getitem__(self, share: Share) -> Taught:
        rows, targets = self.pairs[share.numbers].T
        liked = torch.from_numpy(share.numbers < self.positives)
        weights = torch.full((len(rows),), share.weight)
        return Taught(self.queries.batch(rows.tolist()), torch.from_numpy(targets.copy()), liked, weights)


class SupervisedData(lightning.LightningDataModule):
    """Training batches and validation cases of one data set; `batch`: examples that one process takes in one step."""

    def __init__(self, examples: Examples, batch: int, seed: int) -> None:
        super().__init__()
        self.examples, self.batch, self.seed = examples, batch, seed

    def train_batches(self) -> ShuffledBatches:
        """The process's shares of the batches of an epoch."""
        examples = self.examples
        lengths = np.array([len(history) for history in examples.train.histories], np.int64)
        of_pairs = lengths[[row for row, _ in (*examples.positives, *examples.refusals)]]
        return ShuffledBatches(of_pairs, self.batch, self.seed, *self._place())

    def train_dataloader(self) -> Any:  # noqa: ANN401  (Lightning's union of what may be returned)
        """The examples of every share, as tensors."""
        pinned = torch.cuda.is_available()
        return torch.utils.data.DataLoader(
            _Pairs(self.examples), batch_size=None, sampler=self.train_batches(), pin_memory=pinned
        )

    def val_dataloader(self) -> Any:  # noqa: ANN401
        """Rows of the validation cases that this process judges: rank, rank + processes, ... Nobody is left out, for all gather what was found."""
        rank, processes = self._place()
        rows = list(range(rank, len(self.examples.validation), processes))
        parts: Any = [rows[start : start + JUDGED] for start in range(0, len(rows), JUDGED)] or [[]]
        return torch.utils.data.DataLoader(parts, batch_size=None)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
