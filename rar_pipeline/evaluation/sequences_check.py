"""Protocol `sequences`: LRURec as it was published, trained on rating sequences, so that its figures can stand beside the published ones.

It shows that the blocks of the conversation retriever are the published ones. It takes hours on a CPU, so it is made on demand alone; the report
tells what is on record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.evaluation import published
from rar_pipeline.tables import SEQUENCES_CHECK

if TYPE_CHECKING:
    from rar_pipeline.retriever.sequence_training import SequenceConfig

DATA = "ml-1m"
SYSTEM = "LRURec, this code"
NAMES = {"recall": "R", "ndcg": "N", "mrr": "MRR"}
COMMAND = "dagster asset materialize -m rar_pipeline.definitions --select sequences_check"


def check(path: Path, config: SequenceConfig, attempt: Path, log: Callable[[str], None]) -> pl.DataFrame:
    """The table SEQUENCES_CHECK: test figures of a training on the sequences in a file, of the epoch with the best validation N@10.

    A training that was broken off goes on in the folder `attempt`. Raises RarError where the file is not one of sequences.
    """
    import lightning

    from rar_pipeline.retriever.sequence_training import SequenceData, SequenceModule, SequenceRecommender, fit, held_out_quality
    from rar_pipeline.retriever.sequences import read_sequences

    class Told(lightning.Callback):
        def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            point = module.curve[-1]
            log(
                f"epoch {point['epoch']} of at most {config.epochs}: loss {point['loss']:.3f}, validation R@10 {point['recall_10']:.4f}, "
                f"N@10 {point['ndcg_10']:.4f}"
            )

    sequences = read_sequences(path)
    log(f"{DATA}: {len(sequences.users):,} users, {len(sequences.items):,} items; {config.device}")
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    module, data = SequenceModule(SequenceRecommender(len(sequences.items), config), config), SequenceData(sequences, config)
    module = fit(module, data, attempt, [Told()])
    found = held_out_quality(module, data)
    best = max(module.curve, key=lambda point: point["ndcg_10"], default={"epoch": 0, "step": 0})
    same = {
        "data": DATA,
        "system": SYSTEM,
        "cases": len(sequences.cases("test")),
        "seed": config.seed,
        "most_epochs": config.epochs,
    }
    same |= {"epoch": int(best["epoch"]), "steps": int(best["step"])}
    rows = []
    for name, value in found.items():
        kind, _, cut = name.partition("_")
        if kind in NAMES and cut.isdecimal():
            rows.append({**same, "metric": f"{NAMES[kind]}@{cut}", "value": value, "standard_error": found[f"{name}_error"]})
    return SEQUENCES_CHECK.frame(rows).sort(SEQUENCES_CHECK.key)


def told(table: pl.DataFrame) -> str:
    """The figures that were published, ours and theirs, in one sentence."""
    theirs = next(one for one in published.PUBLISHED if (one.dataset, one.system) == (DATA, "LRURec"))
    rows = {row["metric"]: row for row in table.iter_rows(named=True)}
    each = [
        f"{metric} {rows[metric]['value']:.4f} (standard error {rows[metric]['standard_error']:.4f}), published {value:.4f}"
        for metric, value in theirs.metrics.items()
    ]
    first = next(iter(rows.values()))
    return f"{DATA}, {first['cases']:,} users, epoch {first['epoch']} of at most {first['most_epochs']}: {'; '.join(each)}"
