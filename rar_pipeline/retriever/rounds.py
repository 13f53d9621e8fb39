"""Round 0 from tables to a version on disk: the one entry that assets and library users call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.files import content_hash, digest
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.cooccurrence import ease, strongest
from rar_pipeline.retriever.examples import Encode, build_queries, known_movies, positives, training_sets
from rar_pipeline.retriever.version import RECORD, Version, read_record, save
from rar_pipeline.settings import Settings

if TYPE_CHECKING:
    from rar_pipeline.retriever.examples import Queries
    from rar_pipeline.retriever.network import Retriever

CODE = "1"  # raised when the same inputs would train another retriever
COOCCURRENCE_WEIGHTS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def pick_device(setting: str) -> str:
    """Cpu or cuda. Raises RarError where cuda is asked for and there is none."""
    import torch

    there = torch.cuda.is_available()
    if setting == "cuda" and not there:
        raise RarError("RAR_DEVICE=cuda: torch sees no GPU; set RAR_DEVICE=auto or cpu, or install a CUDA build of torch")
    return "cuda" if there and setting != "cpu" else "cpu"


def supervised_round(
    folder: Path,
    attempts: Path,
    dataset: str,
    cases: pl.DataFrame,
    mentions: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    settings: Settings,
    log: Callable[[str], None],
) -> tuple[Version, bool]:
    """Train round 0 of a data set into `folder`. Gives its record and whether it was trained now.

    A version that was made from the same cases, mentions and settings is kept as it is; new movies of the corpus need no training.
    """
    taught = cases.filter(pl.col("split") == "train")
    judged = cases.filter(pl.col("split") == "validation")
    training = settings.model_dump(
        include={"seed", "batch", "epochs", "patience", "learning_rate", "negatives", "context_turns", "max_history", "encoder"}
    )
    shape = settings.model_dump(include={"hidden", "blocks", "dropout", "use_text", "use_item_text", "neighbours"})
    sets = [catalogue.rows(movie_ids) for movie_ids in training_sets(mentions)]
    fingerprint = digest(CODE, dataset, training, shape, content_hash(taught), content_hash(judged), content_hash(mentions))
    if (folder / RECORD).exists() and read_record(folder).fingerprint == fingerprint:
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return read_record(folder), False

    from rar_pipeline.retriever.network import NetworkConfig, Retriever
    from rar_pipeline.retriever.training import Examples, ShuffledBatches, SupervisedModule, TrainingConfig, train

    known = known_movies(mentions, catalogue)
    pairs = positives(taught, catalogue)
    if not pairs or not known:
        raise RarError(f"{dataset}: no training case has a target in the corpus; check the mentions' links")
    config = TrainingConfig(
        settings.seed,
        settings.batch,
        settings.epochs,
        settings.patience,
        settings.learning_rate,
        settings.negatives,
        device=pick_device(settings.device),
    )
    log(
        f"{len(pairs):,} examples, {len(judged):,} validation cases, {len(known):,} known movies of {len(catalogue.movie_ids):,}; {config.device}"
    )
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    examples = Examples(
        catalogue,
        known,
        build_queries(taught, catalogue, encode, **window),
        pairs,
        build_queries(judged, catalogue, encode, **window),
        judged,
    )
    import torch

    torch.manual_seed(settings.seed)
    network = NetworkConfig(len(catalogue.movie_ids), len(known), catalogue.embeddings.shape[1], **shape)
    module = SupervisedModule(Retriever(network), examples, config)
    attempt = attempts / fingerprint
    retriever = train(module, ShuffledBatches(examples, config.batch, config.seed), config, attempt, log)
    if settings.neighbours:
        fit_cooccurrence(retriever, sets, catalogue, known, examples.validation, judged, log)
    version = Version(
        "round_0",
        dataset,
        fingerprint,
        None,
        network.as_dict(),
        asdict(config) | training,
        known,
        {
            **validate(retriever, catalogue, known, examples.validation, judged),
            "examples": len(pairs),
            "known_movies": len(known),
            "epochs": len(module.curve),
            "parameters": sum(parameter.numel() for parameter in retriever.parameters()),
            "cooccurrence_weight": float(retriever.cooccurrence_weight),
        },
        module.curve,
    )
    return save(folder, retriever, version), True


def fit_cooccurrence(
    retriever: Retriever,
    sets: list[list[int]],
    catalogue: Catalogue,
    known: list[str],
    validation: Queries,
    cases: pl.DataFrame,
    log: Callable[[str], None],
) -> None:
    """Put the co-occurrence feature of training dialogues into a retriever, with the weight that is best on validation (N@10)."""
    import torch

    from rar_pipeline.retriever.ranking_quality import ranking_quality
    from rar_pipeline.retriever.search import build_index, search

    number = {row: place for place, row in enumerate(catalogue.rows(known))}
    members = [[number[row] for row in rows if row in number] for rows in sets]
    columns, values = strongest(ease(members, len(known)), retriever.config.neighbours)
    retriever.cooccurrence_columns = torch.from_numpy(columns)
    retriever.cooccurrence_values = torch.from_numpy(values)
    index = build_index(retriever, catalogue, known)
    found = {
        weight: ranking_quality(search(index, validation, 20, weight)[0], cases, catalogue) for weight in COOCCURRENCE_WEIGHTS
    }
    best = max(COOCCURRENCE_WEIGHTS, key=lambda weight: (found[weight]["ndcg_10"], -weight))
    retriever.cooccurrence_weight = torch.tensor(best)
    log(
        "co-occurrence weight: validation N@10 "
        + ", ".join(f"{w:g}: {found[w]['ndcg_10']:.4f}" for w in COOCCURRENCE_WEIGHTS)
        + f"; kept {best:g}"
    )


def validate(
    retriever: Retriever, catalogue: Catalogue, known: list[str], queries: Queries, cases: pl.DataFrame
) -> dict[str, float]:
    """Validation figures of a retriever: recall_10, recall_20, ndcg_10."""
    from rar_pipeline.retriever.ranking_quality import ranking_quality
    from rar_pipeline.retriever.search import build_index, search

    found, _ = search(build_index(retriever, catalogue, known), queries, 20)
    return ranking_quality(found, cases, catalogue)
