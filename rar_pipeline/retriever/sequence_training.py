"""LRURec as published: ids alone, cross-entropy over all items at every position, trained by Lightning on rating sequences.

It proves that the blocks of network.py are the published ones (PROTOCOL.md, C), and gives what a conversation retriever can begin with:
`table` and `bias`, a row an item of the sequences, and `norm` and `blocks`, whose names and shapes are the retriever's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import torch  # noqa: TID253
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: TID253
from lightning.pytorch.loggers import CSVLogger  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from rar_pipeline.retriever.network import Blocks, Dropout, NetworkConfig
from rar_pipeline.retriever.scan import Packing
from rar_pipeline.retriever.sequences import Sequences, WindowBatches, left_padded, quality, ranks, windows
from rar_pipeline.retriever.softmax import softmax_loss
from rar_pipeline.retriever.training import quieten

ROWS = 512  # packed rows are filled up to a multiple: a CPU's bfloat16 products are compiled, and kept, once a shape
Batch = tuple[Tensor, Tensor, Tensor]  # items, mask, next items: (batch, length) each


@dataclass(frozen=True)
class SequenceConfig:
    """Settings of a training on sequences. The defaults are those published for MovieLens-1M."""

    length: int = 200  # most items that the network sees of a history
    hidden: int = 64
    blocks: int = 2
    dropout: float = 0.2
    batch: int = 128  # windows a step
    learning_rate: float = 1e-3  # AdamW
    weight_decay: float = 0.01  # of all but biases and norms
    epsilon: float = 1e-9  # AdamW
    clip: float = 5.0  # norm of the gradient
    epochs: int = 500  # most epochs
    validate_every: int = 7  # epochs; published: 500 steps
    patience: int = 10  # validations without a better N@10 before it stops
    seed: int = 42
    device: str = "cpu"
    bfloat16: bool = False  # matrix products of a training step in bfloat16

    def as_dict(self) -> dict[str, object]:
        """The settings as plain JSON values."""
        return asdict(self)


class SequenceRecommender(nn.Module):
    """s(j) = LRU(x) . z_j + bias_j, with one learned vector z an item."""

    def __init__(self, items: int, config: SequenceConfig) -> None:
        super().__init__()
        shape = NetworkConfig(items, items, hidden=config.hidden, blocks=config.blocks, dropout=config.dropout)
        self.table = nn.Parameter(torch.empty(items, config.hidden))  # (N, H)
        self.bias = nn.Parameter(torch.empty(items))  # (N,)
        for parameter in (self.table, self.bias):
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.hidden)
        self.blocks = Blocks(shape)

    def forward(self, items: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """items, mask: (batch, length) -> states (n, H) at all items, and where they lie in the flattened batch (n,)."""
        if items.device.type == "cpu":
            packing = Packing.of(mask)
            count = len(packing.places)
            places = nn.functional.pad(packing.places, (0, -count % ROWS))
            x = nn.functional.embedding(items.flatten()[places], self.table)
            return self.blocks(self.norm(self.dropout(x)), packing)[:count], packing.places
        places = mask.flatten().nonzero().squeeze(1)
        x = self.blocks(self.norm(self.dropout(nn.functional.embedding(items, self.table))), mask)
        return x.flatten(0, 1)[places], places

    def scores(self, items: Tensor, mask: Tensor) -> Tensor:
        """Scores (batch, N) of all items after the last of each left-padded history."""
        x = self.blocks(self.norm(self.dropout(nn.functional.embedding(items, self.table))), mask)
        return x[:, -1] @ self.table.T + self.bias


class SequenceModule(lightning.LightningModule):
    """One step: states at every position, cross-entropy over all items. One validation: all items ranked for every user."""

    def __init__(self, recommender: SequenceRecommender, config: SequenceConfig) -> None:
        super().__init__()
        self.recommender, self.config = recommender, config
        self.curve: list[dict[str, float]] = []
        self.found: list[np.ndarray] = []  # ranks of the present validation or test
        self.losses: list[float] = []

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        """Mean cross-entropy over the items of a batch, in nats."""
        items, mask, following = batch
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)  # dropout of a resumed run is that of an unbroken one
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            states, places = self.recommender(items, mask)
        loss = softmax_loss(
            "exact",
            states,
            self.recommender.table,
            self.recommender.bias,
            following.flatten()[places],
            matmul="bfloat16" if self.config.bfloat16 else "float32",
        )
        self.losses.append(float(loss.detach()))
        return loss

    def _rank(self, batch: tuple[Tensor, Tensor, list[np.ndarray], np.ndarray]) -> None:
        items, mask, histories, targets = batch
        self.found.append(ranks(self.recommender.scores(items, mask).float().cpu().numpy(), histories, targets))

    def validation_step(self, batch: Any, batch_number: int) -> None:  # noqa: ANN401
        """Rank the items for some users."""
        self._rank(batch)

    def test_step(self, batch: Any, batch_number: int) -> None:  # noqa: ANN401
        """Rank the items for some users."""
        self._rank(batch)

    def _quality(self) -> dict[str, tuple[float, float]]:
        found, self.found = np.concatenate(self.found), []
        return quality(found)

    def on_validation_epoch_end(self) -> None:
        """Log the means over users, and add a point to the curve."""
        figures = {name: mean for name, (mean, _) in self._quality().items()}
        loss = float(np.mean(self.losses)) if self.losses else float("nan")
        self.losses.clear()
        self.log_dict({**figures, "loss": loss})
        self.curve.append({"epoch": self.current_epoch + 1, "step": self.global_step, "loss": loss, **figures})

    def on_test_epoch_end(self) -> None:
        """Log mean and standard error of every metric."""
        for name, (mean, error) in self._quality().items():
            self.log_dict({name: mean, f"{name}_error": error})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at a constant rate; biases and norms do not decay."""
        named = dict(self.recommender.named_parameters())
        kept = [name for name in named if "bias" in name or "norm" in name]
        return torch.optim.AdamW(
            [
                {"params": [named[name] for name in named if name not in kept], "weight_decay": self.config.weight_decay},
                {"params": [named[name] for name in kept], "weight_decay": 0.0},
            ],
            lr=self.config.learning_rate,
            eps=self.config.epsilon,
            fused=True,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curve."""
        checkpoint["curve"], checkpoint["losses"] = self.curve, self.losses

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the curve."""
        self.curve, self.losses = list(checkpoint.get("curve", [])), list(checkpoint.get("losses", []))


class _Epochs(torch.utils.data.IterableDataset[Batch]):
    """Batches of windows of the trainer's present epoch, as tensors."""

    def __init__(self, data: SequenceData, batches: WindowBatches) -> None:
        super().__init__()
        self.data, self.batches = data, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.data.trainer
        for items, mask, following in self.batches.epoch(trainer.current_epoch if trainer else 0):
            yield torch.from_numpy(items), torch.from_numpy(mask), torch.from_numpy(following)


class SequenceData(lightning.LightningDataModule):
    """Windows to learn from, and the users' histories with what came next for validation and test."""

    def __init__(self, sequences: Sequences, config: SequenceConfig) -> None:
        super().__init__()
        self.sequences, self.config = sequences, config
        self.batches = WindowBatches(windows(sequences.training(), config.length), config.batch, config.seed)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        """Batches of windows, shuffled anew each epoch."""
        return torch.utils.data.DataLoader(_Epochs(self, self.batches), batch_size=None)

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        """All users' last but one items."""
        return self._cases("validation")

    def test_dataloader(self) -> torch.utils.data.DataLoader:
        """All users' last items."""
        return self._cases("test")

    def _cases(self, part: str) -> torch.utils.data.DataLoader:
        cases = sorted(self.sequences.cases(part), key=lambda case: len(case[0]))  # like lengths share a batch
        size = 2 * self.config.batch
        return torch.utils.data.DataLoader(
            [_cases_batch(cases[start : start + size], self.config.length) for start in range(0, len(cases), size)],  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=tuple,  # else histories and targets would become tensors
        )


def _cases_batch(cases: Sequence[tuple[np.ndarray, int]], length: int) -> tuple[Tensor, Tensor, list[np.ndarray], np.ndarray]:
    items, mask = left_padded([history[-length:] for history, _ in cases])
    targets = np.array([target for _, target in cases])
    return torch.from_numpy(items), torch.from_numpy(mask), [history for history, _ in cases], targets


def fit(
    module: SequenceModule, data: SequenceData, attempt: Path, callbacks: Sequence[lightning.Callback] = (), *, keep: bool = False
) -> SequenceModule:
    """Train with early stopping on N@10 and give the module of the best validation.

    Checkpoints lie under `attempt`, one an epoch; a killed training goes on there exactly. The folder is removed at the end unless it is kept.
    """
    quieten()
    config = module.config
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    best = ModelCheckpoint(
        attempt, filename="best", monitor="ndcg_10", mode="max", save_on_train_epoch_end=False, enable_version_counter=False
    )
    last = ModelCheckpoint(attempt, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = lightning.Trainer(
        accelerator=config.device,
        devices=1,
        max_epochs=config.epochs,
        check_val_every_n_epoch=config.validate_every,
        gradient_clip_val=config.clip,
        callbacks=[*callbacks, EarlyStopping("ndcg_10", patience=config.patience, mode="max"), best, last],
        logger=CSVLogger(attempt, name="", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    done = attempt / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=done if done.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if best.best_model_path:  # else it was stopped before the first validation
        module.load_state_dict(torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"])
    if not keep:
        shutil.rmtree(attempt, ignore_errors=True)
    return module


def held_out_quality(module: SequenceModule, data: SequenceData) -> dict[str, float]:
    """Every metric of the users' last items, and beside each its standard error (`recall_10_error`)."""
    trainer = lightning.Trainer(
        accelerator=module.config.device, devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    return dict(figures)
