"""`python -m benchmarks.lrurec`: LRURec trained on rating sequences, its test figures beside the published ones.

With `--against-reference` instead a number of equal steps from equal weights over equal batches, in turns with the computation as it was
published (lrurec_reference.py): what a step costs, and the validation figures of both on the way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import lightning  # noqa: TID253
import numpy as np
import torch  # noqa: TID253

from benchmarks.files import MIRROR
from benchmarks.lrurec_reference import ReferenceConfig, ReferenceLRURec, reference_optimiser, reference_step
from benchmarks.measure import PROJECT
from rar_pipeline.errors import RarError
from rar_pipeline.retriever.sequence_training import (
    SequenceConfig,
    SequenceData,
    SequenceModule,
    SequenceRecommender,
    fit,
    held_out_quality,
)
from rar_pipeline.retriever.sequences import Sequences, WindowBatches, left_padded, ranks, read_sequences, windows

# settings published with LRURec; windows of 200 items and 500 steps between validations for ml-1m, 50 and 1,000 for the others
SETTINGS: dict[str, dict[str, Any]] = {
    "ml-1m": {"length": 200, "dropout": 0.2, "validate_every": 7},
    "video": {"length": 50, "dropout": 0.6, "validate_every": 4},
    "beauty": {"length": 50, "dropout": 0.6, "validate_every": 3},
}
# test R@10 and N@10 (WSDM 2024), and how near ours shall come
PUBLISHED = {"ml-1m": (0.3264, 0.1930), "video": (0.1134, 0.0620), "beauty": (0.0528, 0.0309)}
GOALS = {"ml-1m": (0.005, 0.004), "video": (0.006, 0.004), "beauty": (0.006, 0.004)}


class Watch(lightning.Callback):
    """Tells every validation, counts CPU seconds and wall clock over resumed runs, and stops after so many minutes of this run."""

    def __init__(self, tell: Callable[[str], None], minutes: float | None) -> None:
        self.tell, self.minutes = tell, minutes
        self.cpu = self.wall = 0.0  # seconds of former runs, then of all
        self.begun: tuple[float, float] | None = None

    def state_dict(self) -> dict[str, float]:
        """What was spent until now."""
        cpu, wall = self.spent()
        return {"cpu": cpu, "wall": wall}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on counting."""
        self.cpu, self.wall = state_dict["cpu"], state_dict["wall"]

    def spent(self) -> tuple[float, float]:
        """CPU seconds and seconds, former runs included."""
        cpu, wall = self.begun or (time.process_time(), time.monotonic())
        return self.cpu + time.process_time() - cpu, self.wall + time.monotonic() - wall

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clocks."""
        self.begun = (time.process_time(), time.monotonic())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop when the time is over."""
        if self.minutes is not None and self.begun and time.monotonic() - self.begun[1] > 60 * self.minutes:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Complete the point of the curve and tell it."""
        point = cast(SequenceModule, pl_module).curve[-1]
        point["cpu_seconds"], point["wall_seconds"] = (round(seconds, 1) for seconds in self.spent())
        self.tell(
            f"epoch {point['epoch']} step {point['step']}: loss {point['loss']:.4f}, validation R@10 {point['recall_10']:.4f} "
            f"N@10 {point['ndcg_10']:.4f}, {point['cpu_seconds']:.0f} CPU s"
        )


def sequences_of(files: Path, data: str) -> Sequences:
    """The rating sequences of a data set in a folder of the publishers' layout. Raises RarError where they are not there."""
    return read_sequences(files / "sequences" / f"{data}.tsv")


def train(
    sequences: Sequences, config: SequenceConfig, folder: Path, tell: Callable[[str], None], minutes: float | None
) -> SequenceModule:
    """Train, or go on with what is in the folder."""
    lightning.seed_everything(config.seed, verbose=False)
    module = SequenceModule(SequenceRecommender(len(sequences.items), config), config)
    return fit(module, SequenceData(sequences, config), folder, [Watch(tell, minutes)], keep=True)


def figures(module: SequenceModule, sequences: Sequences, data: str) -> list[dict[str, Any]]:
    """Rows of the table: test R@10 and N@10 by our protocol, then with only the seen window removed from the list, as was published."""
    config = module.config
    seen = Sequences(sequences.items, tuple(user[-config.length - 1 :] for user in sequences.users))
    rows = []
    for rule, users in (("whole history removed", sequences), (f"last {config.length} removed", seen)):
        found = held_out_quality(module, SequenceData(users, config))
        for metric, name, published, near in zip(
            ("recall_10", "ndcg_10"), ("R@10", "N@10"), PUBLISHED[data], GOALS[data], strict=True
        ):
            rows.append(
                _row(f"{data}, test {name}, {rule}", found[metric], found[f"{metric}_error"], published, f"within {near}")
            )
    return rows


@torch.no_grad()
def as_reference(ours: SequenceRecommender, config: SequenceConfig) -> ReferenceLRURec:
    """The reference network with our weights: item i of ours is its item i + 1."""
    shape = ReferenceConfig(
        items=len(ours.table), hidden=config.hidden, blocks=config.blocks, dropout=config.dropout, length=config.length
    )
    reference = ReferenceLRURec(shape)
    reference.table.weight[1:] = ours.table
    reference.bias[1:] = ours.bias
    reference.norm.load_state_dict(ours.norm.state_dict())
    for theirs, block in zip(reference.stack, ours.blocks, strict=True):
        for part in ("rise", "fall", "norm"):
            getattr(theirs, part).load_state_dict(getattr(block, part).state_dict())
        unit = block.unit
        theirs.unit.norm.load_state_dict(unit.norm.state_dict())
        theirs.unit.ring[:] = torch.stack([unit.nu, unit.theta, unit.gamma])
        theirs.unit.into_state.weight[:] = torch.complex(*unit.into_state.weight.chunk(2, dim=0))
        theirs.unit.into_state.bias[:] = torch.complex(*unit.into_state.bias.chunk(2))
        real, imaginary = unit.from_state.weight.chunk(2, dim=1)  # Re(C h) = Re C Re h - Im C Im h
        theirs.unit.from_state.weight[:] = torch.complex(real, -imaginary)
        theirs.unit.from_state.bias[:] = torch.complex(unit.from_state.bias, torch.zeros_like(unit.from_state.bias))
    return reference


@torch.no_grad()
def hits(model: SequenceRecommender | ReferenceLRURec, sequences: Sequences, length: int) -> np.ndarray:
    """Whether the last but one item of each user is among the best ten (n,), in float."""
    found = []
    cases = sorted(sequences.cases("validation"), key=lambda case: len(case[0]))
    model.eval()
    for part in (cases[start : start + 256] for start in range(0, len(cases), 256)):
        items, mask = (torch.from_numpy(array) for array in left_padded([history[-length:] for history, _ in part]))
        if isinstance(model, SequenceRecommender):
            scores = model.scores(items, mask)
        else:
            scores = (model.states((items + 1) * mask)[:, -1] @ model.table.weight.T + model.bias)[:, 1:]
        found.append(ranks(scores.numpy(), [history for history, _ in part], np.array([target for _, target in part])))
    model.train()
    return (np.concatenate(found) <= 10).astype(float)


def against_reference(
    sequences: Sequences, config: SequenceConfig, steps: int, points: int, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows: validation R@10 of both at `points` equally distant steps, and the CPU seconds of all steps (both in one process, in turns)."""
    lightning.seed_everything(config.seed, verbose=False)
    module = SequenceModule(SequenceRecommender(len(sequences.items), config), config)
    ours, optimiser = module.recommender, module.configure_optimizers()
    theirs = as_reference(ours, config).train()
    their_optimiser = reference_optimiser(theirs, config.learning_rate, config.weight_decay)
    batches = WindowBatches(windows(sequences.training(), config.length), config.batch, config.seed, config.length)
    endless = itertools.chain.from_iterable(batches.epoch(epoch) for epoch in itertools.count())
    spent, rows = np.zeros(2), []
    for step, arrays in enumerate(itertools.islice(endless, steps), 1):
        items, mask, following = (torch.from_numpy(array) for array in arrays)
        torch.manual_seed(config.seed * 1_000_003 + step)
        start = time.process_time()
        optimiser.zero_grad()
        module.training_step((items, mask, following), 0).backward()
        torch.nn.utils.clip_grad_norm_(ours.parameters(), config.clip)
        optimiser.step()
        middle = time.process_time()
        reference_step(theirs, their_optimiser, (items + 1) * mask, (following + 1) * mask, config.clip)
        spent += (middle - start, time.process_time() - middle)
        if step * points // steps > (step - 1) * points // steps:
            mine, peer = hits(ours, sequences, config.length), hits(theirs, sequences, config.length)
            gap = float((mine - peer).std(ddof=1) / np.sqrt(len(mine)))
            rows.append(_row(f"validation R@10 after {step} steps", mine.mean(), gap, peer.mean(), "within .005"))
            tell(f"step {step}: R@10 {mine.mean():.4f} against {peer.mean():.4f}; CPU s {spent[0]:.0f} against {spent[1]:.0f}")
    return [*rows, _row(f"CPU s a step, {steps} steps", spent[0] / steps, None, spent[1] / steps, "at most a quarter")]


def _row(name: str, ours: float, error: float | None, peer: float, goal: str) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(float(ours), 4),
        "error": None if error is None else round(error, 4),
        "peer": round(float(peer), 4),
        "ratio": round(float(ours / peer), 4) if peer else None,
        "goal": goal,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", choices=sorted(SETTINGS), default="ml-1m")
    parser.add_argument(
        "--files", type=Path, metavar="FOLDER", default=MIRROR, help="publishers' layout (sequences/ml-1m.tsv ...)"
    )
    parser.add_argument("--folder", type=Path, help="checkpoints and curve; else lake/benchmarks/lrurec-DATA")
    parser.add_argument("--resume", action="store_true", help="go on with the checkpoints in the folder instead of starting anew")
    parser.add_argument("--length", type=int, help="most items of a history that the network sees; else as published")
    parser.add_argument("--epochs", type=int, default=500, help="most epochs")
    parser.add_argument("--minutes", type=float, help="stop after the epoch in which so many minutes are over")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 products in training (default on a CPU: bfloat16)")
    parser.add_argument("--device", default="cpu", help="cpu or gpu")
    parser.add_argument(
        "--against-reference", action="store_true", help="equal steps in turns with the published computation instead"
    )
    parser.add_argument("--steps", type=int, default=240, help="steps of --against-reference")
    parser.add_argument("--points", type=int, default=4, help="validations of --against-reference")
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of a table")
    options = parser.parse_args(arguments)
    folder = options.folder or PROJECT / "lake" / "benchmarks" / f"lrurec-{options.data}"
    chosen = {**SETTINGS[options.data], **({"length": options.length} if options.length else {})}
    config = SequenceConfig(**chosen, epochs=options.epochs, bfloat16=not options.float32, device=options.device)
    try:
        sequences = sequences_of(options.files, options.data)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.against_reference:
        rows, curve = against_reference(sequences, config, options.steps, options.points, _tell), []
    else:
        if not options.resume:
            shutil.rmtree(folder, ignore_errors=True)
        module = train(sequences, config, folder, _tell, options.minutes)
        rows, curve = figures(module, sequences, options.data), module.curve
    show(rows, curve, as_json=options.json, peer="reference" if options.against_reference else "published")
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(rows: list[dict[str, Any]], curve: list[dict[str, float]], *, as_json: bool, peer: str) -> None:
    """Print the rows, and the validation curve in JSON (as text it was told while training went on)."""
    if as_json:
        for row in [*rows, *([{"name": "validation curve", "curve": curve}] if curve else [])]:
            print(json.dumps(row))
        return
    print(f"{'what':<50}{'ours':>9}{'+-':>9}{peer:>11}{'ratio':>9}   goal")
    for row in rows:
        error = "" if row["error"] is None else f"{row['error']:.4f}"
        print(f"{row['name']:<50}{row['ours']:>9.4f}{error:>9}{row['peer']:>11.4f}{row['ratio'] or 0:>9.4f}   {row['goal']}")


if __name__ == "__main__":
    sys.exit(main())
