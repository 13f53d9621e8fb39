"""A preference round: the retriever of the round before, trained on what the judge made of its candidate sets (METHOD: preference optimisation).

Loss = one objective on the pools + `sft_weight` x cross-entropy of the targets in the pool, which keeps hits from turning into mere popularity
+ `kl_weight` x divergence from the reference, for the objectives that have no reference of their own. With the objective `sft` the first part is
nothing: the control that shows what further supervision with the same number of updates gains. All objectives learn from the same contexts in the
same batches. Every epoch is judged on validation cases, the start included, and the best one is kept, so that a round can end where it began.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from rar_pipeline.errors import RarError
from rar_pipeline.preference import objectives
from rar_pipeline.preference.lessons import Lessons
from rar_pipeline.preference.pools import Pools
from rar_pipeline.retriever.network import Retriever
from rar_pipeline.settings import Objective

Watch = Callable[[np.ndarray], dict[str, float]]  # the 20 best catalogue rows of every validation case -> figures
CANDIDATES = 20  # movies of a validation list that are watched


@dataclass(frozen=True)
class RoundConfig:
    """Settings of a preference round; see `settings.py` for their meaning."""

    seed: int
    objective: Objective
    beta: float  # strength of the margin (dpo, odds, mult_dpo)
    label_smoothing: float  # dpo
    set_probability: Literal["plackett_luce", "independent"]  # of a set (dpo)
    objective_weight: float  # of the objective beside the cross-entropy
    sft_weight: float  # of the cross-entropy of the target
    kl_weight: float  # of the divergence from the reference (pl_rloo, lambda_credit)
    temperature: float  # of the policy: log pi is taken of scores / temperature, as the sets were drawn
    learning_rate: float
    epochs: int
    batch: int  # contexts in a step
    kl_ceiling: float  # nats: an epoch beyond it is not kept and ends the round
    patience: int  # epochs without a better figure before the round ends
    watched: str  # the figure that chooses the epoch
    warm_up: int = 100  # steps, but at most a tenth of the round
    dropout: float = 0.1
    clip: float = 5.0
    device: str = "cpu"


class PreferenceModule(lightning.LightningModule):
    """The policy, the logarithms of its frozen reference, the loss of a batch of contexts, and what is watched after each epoch."""

    def __init__(
        self,
        retriever: Retriever,
        lessons: Lessons,
        pools: Pools,
        validation: Pools,
        watch: Watch,
        config: RoundConfig,
        log: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.retriever, self.lessons, self.pools, self.validation = retriever, lessons, pools, validation
        self.watch, self.config, self.said = watch, config, log
        self.reference = (pools.all_scores(retriever) / config.temperature).log_softmax(dim=1)  # (n, M)
        self.curve: list[dict[str, float]] = []
        self.kept: tuple[float, dict[str, Tensor]] | None = None
        self.steps: list[dict[str, float]] = []
        self.started = time.monotonic()
        retriever.train()
        for module in retriever.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = min(module.p, config.dropout)

    def training_step(self, batch: Tensor, batch_number: int) -> Tensor:
        """Mean loss of a batch of context numbers."""
        chosen = batch.cpu().numpy()
        logits = self.pools.scores(self.retriever, chosen) / self.config.temperature  # (b, M)
        policy, reference = logits.log_softmax(dim=1), self.reference[chosen]
        preference = self.preference_loss(policy, reference, chosen)
        targets = torch.from_numpy(self.lessons.targets[chosen]).to(policy.device)
        held = targets.any(dim=1)
        among = (policy * targets).sum(dim=1)[held] / targets.sum(dim=1)[held]
        supervised = -among.mean() if held.any() else policy.sum() * 0
        loss = self.config.objective_weight * preference + self.config.sft_weight * supervised
        if self.config.objective in ("pl_rloo", "lambda_credit"):
            loss = loss + self.config.kl_weight * objectives.divergence(policy, reference).mean()
        self.steps.append({"preference_loss": float(preference.detach()), "sft_loss": float(supervised.detach())})
        return loss

    def preference_loss(self, policy: Tensor, reference: Tensor, chosen: np.ndarray) -> Tensor:
        """The objective on the pools (b, M) of some contexts; zero for the control."""
        config, lessons, device = self.config, self.lessons, policy.device

        def of(part: np.ndarray) -> Tensor:
            return torch.from_numpy(part[chosen]).to(device)

        if config.objective == "lambda_credit":
            return objectives.lambda_credit(policy, of(lessons.credits))
        sets = of(lessons.sets)
        if config.objective == "pl_rloo":
            logs = objectives.plackett_luce_log_probability(policy, sets)
            return objectives.pl_rloo(logs, of(lessons.rewards), of(lessons.drawn), size=sets.shape[2])
        beats = of(lessons.beats)
        if config.objective == "sft" or not beats.any():
            return policy.sum() * 0
        if config.objective == "mult_dpo":
            positives, negatives = best_and_worse(sets, beats, of(lessons.targets))
            return objectives.mult_dpo(policy, reference, positives, negatives, beta=config.beta)
        context, winner, loser = beats.nonzero(as_tuple=True)
        if config.objective == "odds":
            return objectives.odds(policy[context], sets[context, winner], sets[context, loser], beta=config.beta)
        logs, base = self.set_log_probability(policy, sets), self.set_log_probability(reference, sets)  # (b, G)
        loss, _ = objectives.dpo(
            logs[context, winner],
            logs[context, loser],
            base[context, winner],
            base[context, loser],
            beta=config.beta,
            label_smoothing=config.label_smoothing,
        )
        return loss

    def set_log_probability(self, policy: Tensor, sets: Tensor) -> Tensor:
        """Log-probabilities (b, G) of whole sets, as configured."""
        if self.config.set_probability == "independent":
            return objectives.independent_log_probability(policy, sets)
        return objectives.plackett_luce_log_probability(policy, sets)

    def on_train_start(self) -> None:
        """The start counts as an epoch: a round may end where it began."""
        self.judge_epoch(0)
        self.started = time.monotonic()

    def on_train_epoch_end(self) -> None:
        """Judge the epoch; stop where the policy left the reference or nothing gets better."""
        epoch = self.current_epoch + 1
        self.judge_epoch(epoch)
        best = max(self.curve, key=lambda record: record["eligible"] * record[self.config.watched])  # the first of equals
        if not self.curve[-1]["eligible"] or epoch - best["epoch"] >= self.config.patience:
            self.trainer.should_stop = True

    def judge_epoch(self, epoch: int) -> None:
        """Add what an epoch reached to the curve, keep its weights where it is the best, and tell it. Raises RarError where training diverged."""
        config = self.config
        with torch.no_grad():
            policy = (self.pools.all_scores(self.retriever) / config.temperature).log_softmax(dim=1)
            kl = float(objectives.divergence(policy, self.reference).mean()) if len(policy) else 0.0
            figures = {"kl": kl, "preferred": self.preferred(policy)}
        if not np.isfinite(kl):
            raise RarError(
                f"the preference round diverged in epoch {epoch}; lower RAR_PREFERENCE_LEARNING_RATE ({config.learning_rate:g})"
            )
        figures |= {name: float(np.mean([step[name] for step in self.steps])) for name in self.steps[0]} if self.steps else {}
        self.steps.clear()
        quality = self.watch(self.validation.best(self.retriever, CANDIDATES))
        eligible = kl <= config.kl_ceiling
        self.curve.append({"epoch": epoch, **quality, **figures, "eligible": float(eligible)})
        if eligible and (self.kept is None or quality[config.watched] > self.kept[0]):
            self.kept = quality[config.watched], copy.deepcopy(self.retriever.state_dict())
        spent = time.monotonic() - self.started
        left = spent / epoch * (config.epochs - epoch) if epoch else 0.0
        said = ", ".join(f"{name} {value:.4f}" for name, value in quality.items())
        self.said(
            f"{config.objective} epoch {epoch} of {config.epochs}: validation {said}; KL {kl:.4f} nats"
            + ("" if eligible else f", beyond the ceiling of {config.kl_ceiling:g}: not kept, the round ends")
            + (f"; about {left / 60:.1f} min left" if left else "")
        )

    def preferred(self, policy: Tensor) -> float:
        """Share of pairs whose winner gained on its loser since the reference; 0.5 where there is no pair."""
        context, winner, loser = np.nonzero(self.lessons.beats)
        if not len(context):
            return 0.5
        rows = torch.from_numpy(np.unique(context))
        place = torch.from_numpy(np.searchsorted(np.unique(context), context))
        sets = torch.from_numpy(self.lessons.sets).to(policy.device)[rows]
        gained = self.set_log_probability(policy[rows], sets) - self.set_log_probability(self.reference[rows], sets)
        return float((gained[place, winner] > gained[place, loser]).float().mean())

    def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of what may be returned)
        """AdamW with linear warm-up."""
        optimiser = torch.optim.AdamW(self.retriever.parameters(), lr=self.config.learning_rate)
        rising = max(1, min(self.config.warm_up, int(self.trainer.estimated_stepping_batches) // 10))
        warm_up = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / rising))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": warm_up, "interval": "step"}}


def best_and_worse(sets: Tensor, beats: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives (b, M) of `mult_dpo`: movies that only sets that nothing beats hold, and movies of sets that lost.

    sets: (b, G, k) places; beats: (b, G, G); targets: (b, M). A target in an unbeaten set is positive even where a set that lost holds it too.
    Contexts without a pair have neither.
    """
    won, lost = beats.any(dim=2), beats.any(dim=1)  # (b, G)

    def union(chosen: Tensor) -> Tensor:
        found = torch.zeros_like(targets, dtype=torch.int64)
        weight = chosen.unsqueeze(-1).expand(sets.shape).flatten(1).long()
        return found.scatter_add(1, sets.flatten(1), weight) > 0

    best, worse = union(won & ~lost), union(lost)
    positives = best & (~worse | targets)
    return positives, worse & ~positives


def train_round(module: PreferenceModule) -> tuple[Retriever, list[dict[str, float]]]:
    """Fit a round; gives the retriever of the best epoch by the watched figure (the start included) and the curve."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config = module.config
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if not len(module.lessons):
        module.said("no feedback that teaches: the round keeps the retriever of the round before")
        module.judge_epoch(0)
        return module.retriever.eval(), module.curve
    trainer = lightning.Trainer(
        accelerator=config.device,
        devices=1,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    generator = torch.Generator().manual_seed(config.seed)
    numbers: Any = torch.arange(len(module.lessons))
    loader: Any = torch.utils.data.DataLoader(numbers, batch_size=config.batch, shuffle=True, generator=generator)
    trainer.fit(module, loader)
    if trainer.interrupted:
        raise KeyboardInterrupt
    assert module.kept is not None
    module.retriever.load_state_dict(module.kept[1])
    return module.retriever.cpu().eval(), module.curve
