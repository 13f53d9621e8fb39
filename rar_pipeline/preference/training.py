"""A preference round: the retriever of the round before, trained on pairs of candidate sets (METHOD: feedback and preference optimisation).

Loss = preference objective on the pool of the pair + `sft_weight` x cross-entropy of the target in the pool, which keeps hits from turning into
mere popularity. Every epoch is judged on validation cases, the start included; the best one is kept, so that a round can end where it began.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning  # noqa: TID253  (this module is imported only where training happens)
import numpy as np
import polars as pl
import torch  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from rar_pipeline.preference.objectives import dpo, plackett_luce_log_probability
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.network import Retriever
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.search import Index, build_index, cooccurrence, known_numbers, search


@dataclass(frozen=True)
class RoundConfig:
    """Settings of a preference round."""

    seed: int
    beta: float  # strength of the margin
    label_smoothing: float
    sft_weight: float  # weight of the cross-entropy on the target
    temperature: float  # of the policy: log pi is taken of scores / temperature, as the sets were drawn
    learning_rate: float
    epochs: int
    batch: int
    warm_up: int = 100  # steps, but at most a tenth of the round
    dropout: float = 0.1
    clip: float = 5.0
    device: str = "cpu"


@dataclass(frozen=True)
class Pairs:
    """Preference pairs as arrays: `queries` row and pool of each pair, places of winner, loser and target in the pool.

    rows: (P,); pools: (P, M) catalogue rows; winner, loser: (P, k); target: (P,) place of a target in the pool, -1 where it is not there.
    """

    rows: np.ndarray
    pools: np.ndarray
    winner: np.ndarray
    loser: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        """P."""
        return len(self.rows)


def build_pairs(preferences: pl.DataFrame, cases: pl.DataFrame, pools: np.ndarray, catalogue: Catalogue) -> Pairs:
    """Pairs of the table PREFERENCES over the pools (n, M) of its cases; a forced movie takes the pool's last place that no set uses."""
    row_of = {case_id: row for row, case_id in enumerate(cases["case_id"])}
    targets_of = dict(zip(cases["case_id"], cases["targets"], strict=True))
    rows, pool_rows, winners, losers, targets = [], [], [], [], []
    for pair in preferences.iter_rows(named=True):
        row = row_of[pair["case_id"]]
        pool = pools[row].copy()
        sets = [catalogue.rows(pair["winner"]), catalogue.rows(pair["loser"])]
        used = {*sets[0], *sets[1]}
        for forced in sorted(used - set(pool.tolist())):
            spare = max(place for place, movie in enumerate(pool.tolist()) if movie not in used)
            pool[spare] = forced
        place = {movie: number for number, movie in enumerate(pool.tolist())}
        rows.append(row)
        pool_rows.append(pool)
        winners.append([place[movie] for movie in sets[0]])
        losers.append([place[movie] for movie in sets[1]])
        targets.append(next((place[movie] for movie in catalogue.rows(targets_of[pair["case_id"]]) if movie in place), -1))
    return Pairs(np.array(rows, np.int64), np.array(pool_rows), np.array(winners), np.array(losers), np.array(targets, np.int64))


class PreferenceModule(lightning.LightningModule):
    """The policy and its frozen reference, the loss on a batch of pairs, the validation ranking after each epoch."""

    def __init__(
        self,
        retriever: Retriever,
        known: list[str],
        catalogue: Catalogue,
        queries: Queries,
        pairs: Pairs,
        validation: Queries,
        validation_cases: pl.DataFrame,
        config: RoundConfig,
    ) -> None:
        super().__init__()
        self.retriever, self.config = retriever, config
        self.reference = copy.deepcopy(retriever).eval().requires_grad_(False)
        self.known, self.catalogue, self.queries, self.pairs = known, catalogue, queries, pairs
        self.validation, self.validation_cases = validation, validation_cases
        self.embeddings = torch.from_numpy(catalogue.embeddings)
        self.facts = torch.from_numpy(catalogue.facts)
        self.numbers = torch.from_numpy(known_numbers(catalogue, known))
        self.curve: list[dict[str, float]] = []
        self.kept: tuple[float, dict[str, torch.Tensor]] | None = None
        self.steps: list[dict[str, float]] = []
        retriever.train()
        for module in retriever.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = min(module.p, config.dropout)

    def pool_logits(self, policy: Retriever, rows: np.ndarray, pools: torch.Tensor) -> torch.Tensor:
        """Scores / temperature of pools (b, M) of catalogue rows for some queries -> (b, M). The co-occurrence feature counts, as in search."""
        history, *rest = (part.to(self.device) for part in self.queries.batch(rows.tolist()))

        def items(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            numbers = self.numbers[flat].to(self.device)
            vectors = policy.vectors(self.embeddings[flat].to(self.device, torch.float32), numbers)
            return vectors, policy.biases(self.facts[flat].to(self.device), numbers)

        past = items(history.cpu().flatten())[0].view(*history.shape, -1)
        vectors, biases = items(pools.flatten())
        query = policy.query(past, *rest)
        found = torch.einsum("bh,bmh->bm", query, vectors.view(*pools.shape, -1)) + biases.view(pools.shape)
        return (found + self.cooccurrence(policy, rows, pools)) / self.config.temperature

    def cooccurrence(self, policy: Retriever, rows: np.ndarray, pools: torch.Tensor) -> torch.Tensor:
        """The fixed co-occurrence part of the scores, (b, M)."""
        numbers = self.numbers[pools]  # (b, M) number of the known movie, -1 elsewhere
        if not float(policy.cooccurrence_weight):
            return torch.zeros(pools.shape, device=self.device)
        histories = [self.numbers[list(self.queries.histories[row])].tolist() for row in rows.tolist()]
        sums = F.pad(cooccurrence(policy, histories).cpu(), (0, 1))  # numbers of -1 read the last column, which is zero
        return (sums.gather(1, numbers % sums.shape[1]) * float(policy.cooccurrence_weight)).to(self.device)

    def training_step(self, batch: torch.Tensor, batch_number: int) -> torch.Tensor:
        """Mean loss of a batch of pair numbers."""
        chosen = batch.cpu().numpy()
        rows, pools = self.pairs.rows[chosen], torch.from_numpy(self.pairs.pools[chosen])
        winner, loser, target = (
            torch.from_numpy(part[chosen]).to(self.device) for part in (self.pairs.winner, self.pairs.loser, self.pairs.target)
        )
        logits = self.pool_logits(self.retriever, rows, pools)
        with torch.no_grad():
            reference = self.pool_logits(self.reference, rows, pools)
        loss, margin = dpo(
            plackett_luce_log_probability(logits, winner),
            plackett_luce_log_probability(logits, loser),
            plackett_luce_log_probability(reference, winner),
            plackett_luce_log_probability(reference, loser),
            beta=self.config.beta,
            label_smoothing=self.config.label_smoothing,
        )
        held = target >= 0
        supervised = F.cross_entropy(logits[held], target[held]) if held.any() else logits.sum() * 0
        kl = F.kl_div(reference.log_softmax(1), logits.detach().log_softmax(1), log_target=True, reduction="batchmean")
        figures = {"preference_loss": loss, "sft_loss": supervised, "kl": kl, "preferred": (margin > 0).float().mean()}
        self.steps.append({name: float(value.detach()) for name, value in figures.items()})
        return loss + self.config.sft_weight * supervised

    def on_train_start(self) -> None:
        """The start counts as an epoch: a round may end where it began."""
        self._validate(0)

    def on_train_epoch_end(self) -> None:
        """Judge the epoch."""
        self._validate(self.current_epoch + 1)

    def _validate(self, epoch: int) -> None:
        index: Index = build_index(self.retriever, self.catalogue, self.known)
        found, _ = search(index, self.validation, 20)
        quality = ranking_quality(found, self.validation_cases, self.catalogue)
        means = {name: float(np.mean([step[name] for step in self.steps])) for name in self.steps[0]} if self.steps else {}
        self.steps.clear()
        self.curve.append({"epoch": epoch, **quality, **means})
        if self.kept is None or quality["ndcg_10"] > self.kept[0]:
            self.kept = quality["ndcg_10"], copy.deepcopy(self.retriever.state_dict())
        self.retriever.train()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  (Lightning's union of what may be returned)
        """AdamW with linear warm-up."""
        optimiser = torch.optim.AdamW(self.retriever.parameters(), lr=self.config.learning_rate)
        rising = max(1, min(self.config.warm_up, int(self.trainer.estimated_stepping_batches) // 10))
        warm_up = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / rising))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": warm_up, "interval": "step"}}


def train_round(module: PreferenceModule, log: Callable[[str], None]) -> tuple[Retriever, list[dict[str, float]]]:
    """Fit a round; gives the retriever of the epoch with the best validation N@10 (the start included) and the curve."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config = module.config
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    if not len(module.pairs):
        log("no preference pairs: the round keeps the retriever of the round before")
        module.on_train_start()
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
    numbers: Any = torch.arange(len(module.pairs))
    loader: Any = torch.utils.data.DataLoader(numbers, batch_size=config.batch, shuffle=True, generator=generator)
    trainer.fit(module, loader)
    if trainer.interrupted:
        raise KeyboardInterrupt
    for record in module.curve:
        log(f"epoch {record['epoch']:.0f}: validation N@10 {record['ndcg_10']:.4f}, R@20 {record['recall_20']:.4f}")
    assert module.kept is not None
    module.retriever.load_state_dict(module.kept[1])
    return module.retriever.cpu().eval(), module.curve
