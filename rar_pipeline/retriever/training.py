"""The supervised round: cross-entropy on the recommended movie, trained by Lightning (METHOD: SFT).

The softmax runs over all known movies exactly, and over the rest of the catalogue by uniform sampling with logQ correction: the partition
function is unbiased while a step costs thousands, not hundreds of thousands, of logits.
"""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import polars as pl
import torch  # noqa: TID253
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: TID253
from lightning.pytorch.loggers import CSVLogger  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.network import Retriever
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.search import build_index, known_numbers, search


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the supervised round."""

    seed: int
    batch: int  # examples a step
    epochs: int  # most epochs
    patience: int  # epochs without a better validation R@20 before it stops
    learning_rate: float  # AdamW
    negatives: int  # sampled movies a step from those that training does not know
    clip: float = 5.0  # norm of the gradient
    weight_decay: float = 0.01
    device: str = "cpu"


@dataclass(frozen=True)
class Examples:
    """Queries of training and validation, the movies that are right for them, and the catalogue that they are drawn from."""

    catalogue: Catalogue
    known: list[str]
    train: Queries
    positives: list[tuple[int, int]]  # (row of `train`, catalogue row)
    validation: Queries
    validation_cases: pl.DataFrame


class ShuffledBatches(torch.utils.data.IterableDataset[Any]):
    """Batches of (row of the queries, catalogue row), shuffled anew each epoch; examples of like history length share a batch."""

    def __init__(self, examples: Examples, size: int, seed: int) -> None:
        super().__init__()
        self.examples, self.size, self.seed, self.epoch = examples, size, seed, 0

    def __len__(self) -> int:
        """Batches of one epoch."""
        return math.ceil(len(self.examples.positives) / self.size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """(history, mask, text, has_text, targets) of every batch of the present epoch."""
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(len(self.examples.positives))
        chunk = self.size * 20
        for start in range(0, len(order), chunk):
            part = sorted(
                order[start : start + chunk],
                key=lambda number: len(self.examples.train.histories[self.examples.positives[number][0]]),
            )
            for first in range(0, len(part), self.size):
                pairs = [self.examples.positives[number] for number in part[first : first + self.size]]
                yield *self.examples.train.batch([row for row, _ in pairs]), torch.tensor([target for _, target in pairs])


class SupervisedModule(lightning.LightningModule):
    """One step: vectors of the candidates, queries, cross-entropy. One validation: the whole catalogue ranked for every case."""

    def __init__(self, retriever: Retriever, examples: Examples, config: TrainingConfig) -> None:
        super().__init__()
        self.retriever, self.examples, self.config = retriever, examples, config
        catalogue = examples.catalogue
        numbers = known_numbers(catalogue, examples.known)
        self.known_number = torch.from_numpy(numbers)
        self.known_rows = torch.tensor(catalogue.rows(examples.known), dtype=torch.long)
        self.other_rows = torch.from_numpy(np.flatnonzero(numbers < 0))
        self.embeddings = torch.from_numpy(catalogue.embeddings)
        self.facts = torch.from_numpy(catalogue.facts)
        self.curve: list[dict[str, float]] = []
        self.losses: list[float] = []

    def _items(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, H) and biases (n,) of catalogue rows (on the CPU)."""
        flat = rows.flatten()
        numbers = self.known_number[flat].to(self.device)
        vectors = self.retriever.vectors(self.embeddings[flat].to(self.device, torch.float32), numbers)
        return vectors, self.retriever.biases(self.facts[flat].to(self.device), numbers)

    def candidates(self, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Catalogue rows to be scored for a batch (n,), the place of each target among them (b,), and what is added to the logits (b, n).

        All known movies, `negatives` sampled others, and the batch's own targets where they are not known; the last count for their own row only.
        """
        known, others = len(self.known_rows), len(self.other_rows)
        sampled = min(self.config.negatives, others)
        drawn = self.other_rows[torch.randint(others, (sampled,), generator=generator)] if sampled else self.other_rows[:0]
        own = targets[self.known_number[targets] < 0].unique()
        rows = torch.cat([self.known_rows, drawn, own])
        number = self.known_number[targets]
        place = torch.where(number >= 0, number, known + sampled + torch.searchsorted(own, targets) if len(own) else number)
        added = torch.zeros(len(targets), len(rows))
        if sampled:
            added[:, known : known + sampled] = math.log(others / sampled)
            added[:, known : known + sampled][targets.unsqueeze(1) == drawn] = -torch.inf
        added[:, known + sampled :] = -torch.inf
        added[torch.arange(len(targets)), place] = 0.0
        return rows, place, added

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_number: int) -> torch.Tensor:
        """Mean cross-entropy of a batch, in nats."""
        history, mask, text, has_text, targets = (part.cpu() for part in batch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.global_step)
        rows, place, added = self.candidates(targets, generator)
        vectors, biases = self._items(rows)
        past = self._items(history)[0].view(*history.shape, -1)
        query = self.retriever.query(past, mask.to(self.device), text.to(self.device), has_text.to(self.device))
        loss = F.cross_entropy(query @ vectors.T + biases + added.to(self.device), place.to(self.device))
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: object, batch_number: int) -> None:
        """Rank the catalogue for the validation cases and log R@20, R@10, N@10."""
        index = build_index(self.retriever, self.examples.catalogue, self.examples.known)
        found, _ = search(index, self.examples.validation, 20)
        quality = ranking_quality(found, self.examples.validation_cases, self.examples.catalogue)
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.losses.clear()
        self.log_dict({**quality, "loss": loss}, batch_size=1)
        self.curve.append({"epoch": self.current_epoch, "loss": loss, **quality})

    def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of what may be returned)
        """AdamW with linear warm-up over the first 100 steps."""
        optimiser = torch.optim.AdamW(
            self.retriever.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        warm_up = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 100))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": warm_up, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Give the batches their epoch, so that a resumed run shuffles as an unbroken one."""
        self.trainer.train_dataloader.dataset.epoch = self.current_epoch  # type: ignore[union-attr]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curve."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the curve."""
        self.curve = list(checkpoint.get("curve", []))


class Progress(lightning.Callback):
    """One line an epoch."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.tell = log

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say where training stands."""
        if not trainer.sanity_checking:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.tell(
                f"epoch {trainer.current_epoch}: loss {figures['loss']:.3f}, validation R@20 {figures['recall_20']:.3f}, "
                f"R@10 {figures['recall_10']:.3f}, N@10 {figures['ndcg_10']:.3f}"
            )


def train(
    module: SupervisedModule,
    batches: torch.utils.data.IterableDataset[Any],
    config: TrainingConfig,
    attempt: Path,
    log: Callable[[str], None],
) -> Retriever:
    """Fit a module with early stopping on R@20 and give the retriever of its best epoch.

    Checkpoints lie under `attempt` and a killed fit goes on there; the folder is removed when the fit is complete.
    """
    quieten()
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    best = ModelCheckpoint(
        attempt, filename="best", monitor="recall_20", mode="max", save_last=True, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        accelerator=config.device,
        devices=1,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip,
        callbacks=[best, EarlyStopping("recall_20", patience=config.patience, mode="max"), Progress(log)],
        logger=CSVLogger(attempt, name="", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
    )
    last = attempt / "last.ckpt"
    if last.exists():
        log(f"resuming from {last}")
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    once: Any = torch.utils.data.DataLoader([0], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, once, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    shutil.rmtree(attempt, ignore_errors=True)
    return module.retriever.cpu().eval()


def quieten() -> None:
    """Silence Lightning's advertisements and hints that do not hold here."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
