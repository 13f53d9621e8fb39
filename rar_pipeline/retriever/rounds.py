"""Round 0 from tables to a version on disk: the one entry that assets and library users call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
TRAINING_SETTINGS = {
    "seed",
    "batch",
    "devices",
    "epochs",
    "patience",
    "learning_rate",
    "warm_up",
    "schedule",
    "precision",
    "negatives",
}
TRAINING_SETTINGS |= {"context_turns", "max_history", "encoder"}
COOCCURRENCE_WEIGHTS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def pick_device(setting: str) -> str:
    """Cpu or cuda. Raises RarError where cuda is asked for and there is none."""
    import torch

    there = torch.cuda.is_available()
    if setting == "cuda" and not there:
        raise RarError("RAR_DEVICE=cuda: torch sees no GPU; set RAR_DEVICE=auto or cpu, or install a CUDA build of torch")
    return "cuda" if there and setting != "cpu" else "cpu"


def pick_precision(setting: str, device: str) -> Literal["32-true", "bf16-mixed"]:
    """Lightning's name of what training computes in: `auto` takes bfloat16 on a GPU that has it, float32 elsewhere."""
    import torch

    able = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if setting == "bf16" or (setting == "auto" and able) else "32-true"


def check_devices(devices: int, device: str) -> None:
    """Raises RarError where fewer GPUs are there than are asked for."""
    import torch

    if device == "cuda" and devices > torch.cuda.device_count():
        raise RarError(
            f"RAR_DEVICES={devices}: torch sees {torch.cuda.device_count()} GPUs; ask for at most as many, or set RAR_DEVICE=cpu"
        )


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
    logs: Path | None = None,
) -> tuple[Version, bool]:
    """Train round 0 of a data set into `folder`. Gives its record and whether it was trained now.

    A version that was made from the same cases, mentions and settings is kept as it is; new movies of the corpus need no training.
    Checkpoints lie under `attempts` until it is made; what was logged stays under `logs`, by default beside them. Both have a folder a fingerprint.
    """
    taught = cases.filter(pl.col("split") == "train")
    judged = cases.filter(pl.col("split") == "validation")
    training = settings.model_dump(include=TRAINING_SETTINGS)
    shape = settings.model_dump(include={"hidden", "blocks", "dropout", "use_text", "use_item_text", "neighbours"})
    sets = [catalogue.rows(movie_ids) for movie_ids in training_sets(mentions)]
    fingerprint = digest(CODE, dataset, training, shape, content_hash(taught), content_hash(judged), content_hash(mentions))
    if (folder / RECORD).exists() and read_record(folder).fingerprint == fingerprint:
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return read_record(folder), False

    from rar_pipeline.retriever.data import Examples, SupervisedData
    from rar_pipeline.retriever.network import NetworkConfig, Retriever
    from rar_pipeline.retriever.training import SupervisedModule, TrainingConfig, train

    known = known_movies(mentions, catalogue)
    pairs = positives(taught, catalogue)
    if not pairs or not known:
        raise RarError(f"{dataset}: no training case has a target in the corpus; check the mentions' links")
    device = pick_device(settings.device)
    check_devices(settings.devices, device)
    config = TrainingConfig(
        settings.seed,
        settings.batch,
        settings.epochs,
        settings.patience,
        settings.learning_rate,
        settings.negatives,
        settings.schedule,
        settings.warm_up,
        device=device,
        devices=settings.devices,
        precision=pick_precision(settings.precision, device),
    )
    log(
        f"{len(pairs):,} examples, {len(judged):,} validation cases, {len(known):,} known movies of {len(catalogue.movie_ids):,}; "
        f"{config.devices} x {config.device}, {config.precision}"
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
    data = SupervisedData(examples, config.batch, config.seed)
    retriever = train(module, data, attempts / fingerprint, (logs or attempts.with_name("logs")) / fingerprint, log)
    if settings.neighbours:
        fit_cooccurrence(retriever, sets, catalogue, known, examples.validation, judged, log)
    version = Version(
        "round_0",
        dataset,
        fingerprint,
        None,
        network.as_dict(),
        training | asdict(config),
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
