"""Supervision from tables to versions on disk: the entries that assets and library users call.

`pretrain` learns from the training dialogues of all data sets, what has no text included; `supervised_round` goes on from there with the dialogues
of one data set and has weights fitted on its validation cases (fitting.py). That is round 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from rar_pipeline.conversations.cases import reserved_dialogues
from rar_pipeline.errors import RarError
from rar_pipeline.files import content_hash, digest
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.cooccurrence import ease, strongest
from rar_pipeline.retriever.examples import Encode, build_queries, known_movies, positives, refusals, training_sets
from rar_pipeline.retriever.fitting import Fitting
from rar_pipeline.retriever.ratings import rating_cases
from rar_pipeline.retriever.rescoring import FEATURES
from rar_pipeline.retriever.version import Version, load, read_record, save, unchanged
from rar_pipeline.settings import Settings
from rar_pipeline.tables import ALL

if TYPE_CHECKING:
    from rar_pipeline.retriever.examples import Queries
    from rar_pipeline.retriever.network import Retriever
    from rar_pipeline.retriever.training import TrainingConfig

PRETRAINED = "pretrained"
CODE = "6"  # raised when the same inputs would train another retriever
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
    "average",
    "rating_epochs",
}
TRAINING_SETTINGS |= {"context_turns", "max_history", "encoder"}
SHAPE_SETTINGS = {
    "hidden",
    "blocks",
    "dropout",
    "use_text",
    "use_item_text",
    "heads",
    "cosine_weight",
    "neighbours",
    "newcomers",
    "newcomer_votes",
    "rescored",
}


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


def training_config(settings: Settings, *, epochs: int, learning_rate: float) -> TrainingConfig:
    """How a fit goes. Raises RarError for devices that are not there."""
    from rar_pipeline.retriever.training import TrainingConfig

    device = pick_device(settings.device)
    check_devices(settings.devices, device)
    return TrainingConfig(
        settings.seed,
        settings.batch,
        epochs,
        settings.patience,
        learning_rate,
        settings.negatives,
        settings.schedule,
        settings.warm_up,
        device=device,
        devices=settings.devices,
        precision=pick_precision(settings.precision, device),
        average=settings.average,
    )


def pretrain(
    folder: Path,
    attempts: Path,
    cases: pl.DataFrame,
    mentions: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    settings: Settings,
    log: Callable[[str], None],
    logs: Path | None = None,
    ratings: pl.DataFrame | None = None,
) -> tuple[Version, bool]:
    """Train on all that all data sets teach, into `folder`. Gives the version's record and whether it was trained now.

    `cases` and `mentions` are those of all data sets together; `ratings`, the table RATING_SEQUENCES, is learned from first, where it is given. A
    version that was made from the same ones and the same settings is kept as it is; new movies of the corpus need no training. Checkpoints lie under
    `attempts` until it is made; what was logged stays under `logs`, by default beside them. Both have a folder a fingerprint.
    """
    held, ids = reserved_dialogues(cases, settings.reserved_share), ["dataset", "dialogue_id"]
    cases, mentions = cases.join(held, on=ids, how="anti"), mentions.join(held, on=ids, how="anti")
    taught = cases.filter(pl.col("split") == "train")
    judged = cases.filter(pl.col("split") == "validation")
    training = settings.model_dump(include=TRAINING_SETTINGS)
    shape = settings.model_dump(include=SHAPE_SETTINGS)
    shape["turns"] = settings.context_turns if settings.use_turns else 0
    shape["axes"] = settings.axes if settings.cosine_weight else 0
    rated = None if ratings is None or not settings.rating_epochs else rating_cases(ratings)
    made_from = [content_hash(frame) for frame in (taught, judged, mentions, *([] if rated is None else [rated]))]
    fingerprint = digest(CODE, PRETRAINED, training, shape, *made_from)
    if version := unchanged(folder, fingerprint):
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return version, False

    import torch

    from rar_pipeline.retriever.network import NetworkConfig, Retriever
    from rar_pipeline.retriever.training import last_checkpoint

    sets = training_sets(mentions)
    known = known_movies(sets, catalogue)
    if not known:
        raise RarError("no movie of the corpus is named by two training dialogues; check the mentions' links")
    config = training_config(settings, epochs=settings.pretraining_epochs, learning_rate=settings.learning_rate)
    torch.manual_seed(settings.seed)
    network = NetworkConfig(len(catalogue.movie_ids), len(known), catalogue.embeddings.shape[1], **shape)
    retriever = Retriever(network)
    retriever.take_axes(torch.from_numpy(catalogue.embeddings[catalogue.rows(known)]))
    if settings.neighbours:
        number = {movie_id: place for place, movie_id in enumerate(known)}
        members = [[number[movie_id] for movie_id in movie_ids if movie_id in number] for movie_ids in sets]
        columns, values = strongest(ease(members, len(known)), network.neighbours)
        retriever.cooccurrence_columns, retriever.cooccurrence_values = torch.from_numpy(columns), torch.from_numpy(values)
    counts = Counter(movie_id for movie_ids in sets for movie_id in movie_ids)
    retriever.named = torch.log1p(torch.tensor([counts[movie_id] for movie_id in known], dtype=torch.float32))
    places = attempts / fingerprint, (logs or attempts.with_name("logs")) / fingerprint
    if rated is not None and last_checkpoint(places[0]) is None:  # else a killed training goes on behind it
        first = places[0] / "ratings", places[1] / "ratings"
        log(f"learning from {len(rated):,} ratings first")
        brief = replace(config, epochs=settings.rating_epochs, patience=settings.rating_epochs)
        retriever = _fit(retriever, known, rated, judged, catalogue, encode, brief, settings, first, log).retriever
    fitted = _fit(retriever, known, taught, judged, catalogue, encode, config, settings, places, log)
    version = Version(
        PRETRAINED,
        ALL,
        fingerprint,
        None,
        network.as_dict(),
        training | asdict(config),
        known,
        {**fitted.figures, "known_movies": len(known)},
        fitted.curve,
    )
    return save(folder, fitted.retriever, version), True


def supervised_round(
    folder: Path,
    attempts: Path,
    dataset: str,
    cases: pl.DataFrame,
    pretrained: Path,
    catalogue: Catalogue,
    encode: Encode,
    settings: Settings,
    log: Callable[[str], None],
    logs: Path | None = None,
) -> tuple[Version, bool]:
    """Train round 0 of a data set into `folder`, from the version in the folder `pretrained` on. Gives its record and whether it was trained now.

    Taught are the data set's dialogues, or its sequences without text where it has nothing else. What is kept and where things lie is as in
    `pretrain`.
    """
    taught = cases.filter(pl.col("split") == "train")
    taught = taught.join(reserved_dialogues(cases, settings.reserved_share), on=["dataset", "dialogue_id"], how="anti")
    taught = taught.filter(pl.col("origin") != "sequence") if (taught["origin"] != "sequence").any() else taught
    judged = cases.filter(pl.col("split") == "validation")
    before = read_record(pretrained)
    training = settings.model_dump(include=TRAINING_SETTINGS)
    fingerprint = digest(CODE, dataset, training, before.weights_sha256, content_hash(taught), content_hash(judged))
    if version := unchanged(folder, fingerprint):
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return version, False

    retriever, _ = load(pretrained)
    if not positives(taught, catalogue):
        raise RarError(f"{dataset}: no training case has a target in the corpus; check the mentions' links")
    config = training_config(settings, epochs=settings.epochs, learning_rate=settings.tuning_learning_rate)
    places = attempts / fingerprint, (logs or attempts.with_name("logs")) / fingerprint
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    fitting = Fitting(catalogue, before.known, build_queries(judged, catalogue, encode, **window), judged, log)
    fitting.cooccurrence(retriever)  # so that the epochs are judged as the version will serve
    fitted = _fit(retriever, before.known, taught, judged, catalogue, encode, config, settings, places, log)
    fitting.cooccurrence(fitted.retriever)
    fitting.newcomers(fitted.retriever)
    fitting.features(fitted.retriever)
    version = Version(
        "round_0",
        dataset,
        fingerprint,
        PRETRAINED,
        before.network,
        training | asdict(config),
        before.known,
        {
            **fitted.figures,
            **validate(fitted.retriever, catalogue, before.known, fitting.queries, judged),
            "known_movies": len(before.known),
            "cooccurrence_weight": float(fitted.retriever.cooccurrence_weight),
            "newcomer_weight": float(fitted.retriever.newcomer_weight),
            **{
                f"weight_{name.replace(' ', '_')}": weight
                for name, weight in zip(FEATURES, fitted.retriever.feature_weights.tolist(), strict=True)
            },
        },
        fitted.curve,
    )
    return save(folder, fitted.retriever, version), True


@dataclass(frozen=True)
class _Fitted:
    """A retriever of the best epoch, and what was found on the way."""

    retriever: Retriever
    figures: dict[str, float]
    curve: list[dict[str, float]]


def _fit(
    retriever: Retriever,
    known: list[str],
    taught: pl.DataFrame,
    judged: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    config: TrainingConfig,
    settings: Settings,
    places: tuple[Path, Path],
    log: Callable[[str], None],
) -> _Fitted:
    """Fit a retriever on some cases, with early stopping on others; `places`: folders of checkpoints and of logs."""
    from rar_pipeline.retriever.data import Examples, SupervisedData
    from rar_pipeline.retriever.training import SupervisedModule, train

    pairs = positives(taught, catalogue)
    log(
        f"{len(pairs):,} examples, {len(judged):,} validation cases, {len(known):,} known movies of {len(catalogue.movie_ids):,}; "
        f"{config.devices} x {config.device}, {config.precision}"
    )
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    validation = build_queries(judged, catalogue, encode, **window)
    examples = Examples(
        catalogue,
        known,
        build_queries(taught, catalogue, encode, **window),
        pairs,
        refusals(taught, catalogue),
        validation,
        judged,
    )
    module = SupervisedModule(retriever.train(), examples, config)
    fitted = train(module, SupervisedData(examples, config.batch, config.seed), *places, log)
    figures = {
        **validate(fitted, catalogue, known, validation, judged),
        "examples": len(pairs),
        "epochs": len(module.curve),
        "parameters": sum(parameter.numel() for parameter in fitted.parameters()),
    }
    return _Fitted(fitted, figures, module.curve)


def validate(
    retriever: Retriever, catalogue: Catalogue, known: list[str], queries: Queries, cases: pl.DataFrame
) -> dict[str, float]:
    """Validation figures of a retriever: recall_10, recall_20, ndcg_10."""
    from rar_pipeline.retriever.ranking_quality import ranking_quality
    from rar_pipeline.retriever.search import build_index, search

    found, _ = search(build_index(retriever, catalogue, known), queries, 20)
    return ranking_quality(found, cases, catalogue)
