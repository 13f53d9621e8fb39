"""The supervised round: cross-entropy on the recommended movie, trained by Lightning (METHOD: SFT).

The softmax runs over all known movies exactly, and over the rest of the catalogue by uniform sampling with logQ correction: the partition
function is unbiased while a step costs thousands, not hundreds of thousands, of logits.
"""

from __future__ import annotations

import csv
import logging
import math
import pickle  # for the name of an error: nothing is unpickled
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import torch  # noqa: TID253
from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # noqa: TID253
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint  # noqa: TID253
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253
from torch.optim.swa_utils import AveragedModel  # noqa: TID253

from rar_pipeline.errors import RarError
from rar_pipeline.files import writing
from rar_pipeline.retriever.data import Examples, SupervisedData, Taught
from rar_pipeline.retriever.distributed import gathered, own_rank, strategy
from rar_pipeline.retriever.network import Retriever
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.search import Index, build_index, known_numbers, search

CSV_LOG = "metrics.csv"

Schedule = Literal["constant", "cosine", "linear"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the supervised round."""

    seed: int
    batch: int  # examples that one device takes in a step
    epochs: int  # most epochs
    patience: int  # epochs without a better validation R@20 before it stops
    learning_rate: float  # AdamW, after warming up
    negatives: int  # sampled movies a step from those that training does not know
    schedule: Schedule = "constant"  # of the learning rate after warming up, over `epochs`
    warm_up: int = 100  # steps in which the learning rate rises to its full size
    clip: float = 5.0  # norm of the gradient
    weight_decay: float = 0.01
    device: str = "cpu"  # or cuda
    devices: int = 1  # processes that train together, each on a device of its own
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    average: float = 0.0  # epochs that the mean of the weights reaches back; 0: the last weights themselves


def learning_rate_factor(step: int, steps: int, warm_up: int, schedule: Schedule) -> float:
    """What the learning rate is multiplied with in a step, from 0, of so many: a linear rise, then constant or falling to zero at the end."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return {"constant": 1.0, "cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done}[schedule]


class Averaged(AveragedModel):
    """The exponential moving average of a retriever's weights over about `steps` steps, as `module`; young averages forget faster.

    Its predictions are nearly those of several trained retrievers together, at the price of one (Izmailov et al., "Averaging Weights Leads to Wider
    Optima and Better Generalization", UAI 2018). Buffers are the retriever's own.
    """

    def __init__(self, retriever: Retriever) -> None:
        super().__init__(retriever, avg_fn=self._mean)
        self.steps = 1.0
        self.requires_grad_(False)

    def _mean(self, mean: torch.Tensor, weights: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(1 - 1 / max(1.0, self.steps), (1 + int(count)) / (10 + int(count)))
        return torch.lerp(weights, mean, kept)


class SupervisedModule(lightning.LightningModule):
    """One step: vectors of the candidates, queries, cross-entropy. One validation: the whole catalogue ranked for every case."""

    def __init__(self, retriever: Retriever, examples: Examples, config: TrainingConfig) -> None:
        super().__init__()
        self.retriever, self.examples, self.config = retriever, examples, config
        self.average = Averaged(retriever) if config.average else None
        catalogue = examples.catalogue
        numbers = known_numbers(catalogue, examples.known)
        # no buffers: processes that train together would send them to each other, and checkpoints would keep them
        self.known_number = torch.from_numpy(numbers)
        self.known_rows = torch.tensor(catalogue.rows(examples.known), dtype=torch.long)
        self.other_rows = torch.from_numpy(np.flatnonzero(numbers < 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # arrays of the lake cannot be written, and are only read
            self.embeddings = torch.from_numpy(catalogue.embeddings)
            self.facts = torch.from_numpy(catalogue.facts)
        self.curve: list[dict[str, float]] = []
        self.losses: list[torch.Tensor] = []
        self.loss = math.nan  # mean of the epoch
        self.index: Index | None = None
        self.found: list[np.ndarray] = []

    @property
    def judged(self) -> Retriever:
        """What validation judges and training gives: the mean of the weights, or the weights."""
        return self.retriever if self.average is None else cast("Retriever", self.average.module)

    def on_fit_start(self) -> None:
        """The catalogue lies where the weights do; the mean reaches back over epochs."""
        if self.average is not None:
            self.average.steps = self.config.average * self.trainer.num_training_batches
        for name in ("known_number", "known_rows", "other_rows", "embeddings", "facts"):
            setattr(self, name, getattr(self, name).to(self.device))

    def on_train_batch_start(self, batch: object, batch_number: int) -> None:
        """Dropout of a step depends on the seed, the step and the process alone, so that a resumed training is an unbroken one."""
        seeds = np.random.SeedSequence([self.config.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))

    def _items(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, H) and biases (n,) of catalogue rows."""
        flat = rows.flatten()
        numbers = self.known_number[flat]
        vectors = self.retriever.vectors(self.embeddings[flat].float(), numbers)
        return vectors, self.retriever.biases(self.facts[flat], numbers)

    def candidates(self, targets: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Catalogue rows to be scored for a batch (n,), the place of each target among them (b,), and what is added to the logits (b, n).

        All known movies, `negatives` sampled others, and the batch's own targets where they are not known; the last count for their own row only.
        """
        known, others = len(self.known_rows), len(self.other_rows)
        sampled = min(self.config.negatives, others)
        place_of = self.known_number.device
        drawn = self.other_rows[:0]
        if sampled:  # on the CPU: the draw does not depend on the device
            drawn = self.other_rows[torch.randint(others, (sampled,), generator=generator).to(place_of)]
        own = targets[self.known_number[targets] < 0].unique()
        rows = torch.cat([self.known_rows, drawn, own])
        number = self.known_number[targets]
        place = torch.where(number >= 0, number, known + sampled + torch.searchsorted(own, targets) if len(own) else number)
        added = torch.zeros(len(targets), len(rows), device=place_of)
        if sampled:
            added[:, known : known + sampled] = math.log(others / sampled)
            added[:, known : known + sampled][targets.unsqueeze(1) == drawn] = -torch.inf
        added[:, known + sampled :] = -torch.inf
        added[torch.arange(len(targets), device=place_of), place] = 0.0
        return rows, place, added

    def training_step(self, batch: Taught, batch_number: int) -> torch.Tensor:
        """Weighted sum of the losses of a batch, in nats: over all processes its mean is the mean over the whole batch.

        Of a target with probability p the loss is -log p, of one that the seeker disliked -log(1 - p).
        """
        (history, *rest), targets, liked, weights = batch
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.global_step)
        rows, place, added = self.candidates(targets, generator)
        vectors, biases = self._items(rows)
        past = self._items(history)[0].view(*history.shape, -1)
        query = self.retriever.query(past, *rest)
        logits = (query @ vectors.T).float() + biases + added
        surprise = F.cross_entropy(logits, place, reduction="none")
        # a probability of 1 would make the logarithm infinite
        refused = -torch.log1p(-torch.exp(-surprise.clamp(min=1e-4)))
        loss = torch.where(liked, surprise, refused) @ weights
        self.losses.append(loss.detach())
        self.log("step_loss", loss, batch_size=1)
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_number: int) -> None:
        """The weights go into their mean."""
        if self.average is not None:
            self.average.update_parameters(self.retriever)

    def on_validation_epoch_start(self) -> None:
        """Lay the catalogue out under the present weights, or their mean. Raises RarError where training diverged."""
        mean = torch.stack(self.losses).mean() if self.losses else torch.tensor(math.nan, device=self.device)
        self.loss = float(self.trainer.strategy.reduce(mean, reduce_op="mean"))
        if self.losses and not math.isfinite(self.loss):
            raise RarError(
                f"training diverged: the loss of epoch {self.current_epoch} is {self.loss}; "
                f"lower RAR_LEARNING_RATE ({self.config.learning_rate:g})"
            )
        self.losses.clear()
        with torch.autocast(self.device.type, enabled=False):
            self.index = build_index(self.judged, self.examples.catalogue, self.examples.known)
        self.found.clear()

    def validation_step(self, rows: list[int], batch_number: int) -> None:
        """Rank the catalogue for some validation cases; in full precision, as whoever uses the version does."""
        assert self.index is not None
        with torch.autocast(self.device.type, enabled=False):
            self.found.append(search(self.index, self.examples.validation.some(rows), 20)[0])

    def on_validation_epoch_end(self) -> None:
        """Log R@20, R@10, N@10 of all cases and the mean loss of the epoch: the same figures in every process, which so decide alike."""
        self.index = None
        found = gathered(np.concatenate(self.found))
        quality = ranking_quality(found, self.examples.validation_cases, self.examples.catalogue)
        self.log_dict({**quality, "loss": self.loss})
        learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.curve.append({"epoch": self.current_epoch, "loss": self.loss, **quality, "learning_rate": learning_rate})

    def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of what may be returned)
        """AdamW in one fused kernel, and the schedule of its learning rate."""
        config = self.config
        optimiser = torch.optim.AdamW(
            self.retriever.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(step, steps, config.warm_up, config.schedule)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient. Lightning itself refuses to beside a fused optimiser, since that unscales gradients; bf16 has no scale."""
        torch.nn.utils.clip_grad_norm_(self.retriever.parameters(), self.config.clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curve."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the curve."""
        self.curve = list(checkpoint.get("curve", []))


class Progress(lightning.Callback):
    """One line an epoch, with the time that all epochs that may follow would take: early stopping can only shorten it."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.tell = log
        self.started, self.first = 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self.started, self.first = time.monotonic(), trainer.current_epoch

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say where training stands."""
        if trainer.sanity_checking:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch, epochs = trainer.current_epoch, int(trainer.max_epochs or 0)
        seconds = (time.monotonic() - self.started) / (epoch + 1 - self.first)
        left = seconds * (epochs - epoch - 1)
        self.tell(
            f"epoch {epoch + 1} of {epochs}: loss {figures['loss']:.3f}, validation R@20 {figures['recall_20']:.3f}, "
            f"R@10 {figures['recall_10']:.3f}, N@10 {figures['ndcg_10']:.3f}; {seconds:.1f} s an epoch, at most {left / 60:.1f} min left"
        )


def train(
    module: SupervisedModule,
    data: SupervisedData,
    attempt: Path,
    logs: Path,
    log: Callable[[str], None],
) -> Retriever:
    """Fit a module with early stopping on R@20 and give the retriever of its best epoch, for use or further training.

    Checkpoints lie under `attempt` and a killed fit goes on there; the folder is removed when the fit is complete. What is logged for TensorBoard and
    as CSV lies under `logs` and stays. Where several processes train together, all but the first end here: what follows is for one to do.
    """
    quieten()
    config = module.config
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    resumed = last_checkpoint(attempt)
    if resumed:
        log(f"resuming from {resumed}")
    best = ModelCheckpoint(
        attempt, filename="best", monitor="recall_20", mode="max", save_last=True, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        accelerator=config.device,
        devices=config.devices,
        strategy=strategy(config.devices, config.device),
        plugins=[LightningEnvironment()],  # whatever cluster it may find itself on: it starts its own processes
        precision=config.precision,
        max_epochs=config.epochs,
        callbacks=[
            best,
            EarlyStopping("recall_20", patience=config.patience, mode="max"),
            LearningRateMonitor("step"),
            Progress(log),
        ],
        logger=loggers(logs, config, resumed),
        use_distributed_sampler=False,  # batches and cases are dealt out by the data module
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=max(1, min(50, len(data.train_batches()) // config.devices)),  # at least once an epoch
    )
    try:
        with writing(attempt):
            trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
    except SystemExit:  # what Lightning makes of an interrupt
        raise (KeyboardInterrupt if trainer.interrupted else SystemExit(1)) from None
    if not trainer.is_global_zero:
        raise SystemExit(0)
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    kept = max(module.curve, key=lambda record: record["recall_20"])
    log(f"kept epoch {kept['epoch'] + 1:.0f} of {len(module.curve)}; its curves: tensorboard --logdir {logs}")
    shutil.rmtree(attempt, ignore_errors=True)
    return module.judged.cpu().eval().requires_grad_()  # it may be trained further


def last_checkpoint(attempt: Path) -> Path | None:
    """The checkpoint that a killed fit left; None where there is none, or one that cannot be read: then the fit begins anew."""
    last = attempt / "last.ckpt"
    try:
        torch.load(last, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return last


def loggers(logs: Path, config: TrainingConfig, resumed: Path | None) -> list[CSVLogger | TensorBoardLogger]:
    """Logs as `metrics.csv` and for TensorBoard; a training that goes on at the checkpoint `resumed` goes on with them, any other begins anew."""
    step = torch.load(resumed, map_location="cpu", weights_only=True)["global_step"] if resumed else 0
    table = CSVLogger(logs, name="", version="", flush_logs_every_n_steps=1)
    board = TensorBoardLogger(logs, name="", version="", default_hp_metric=False, purge_step=step or None)
    if own_rank() == 0:
        if not resumed:
            shutil.rmtree(logs, ignore_errors=True)
        written = logs / CSV_LOG
        rows = list(csv.DictReader(written.open(encoding="utf-8", newline=""))) if written.exists() else []
        # opening it removes the file; what came after the checkpoint comes again
        table.experiment.metrics.extend(row for row in rows if int(row["step"]) < step)
    for logger in (table, board):
        logger.log_hyperparams(asdict(config))
    return [table, board]


def quieten() -> None:
    """Silence Lightning's advertisements and hints that do not hold here."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
