"""A preference round from tables to a version on disk: the entries that assets and library users call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from rar_pipeline.files import content_hash, digest
from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.preference.feedback import Ask, choose_contexts, collect_feedback
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.rounds import pick_device, validate
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import RECORD, Version, load, read_record, save
from rar_pipeline.settings import Settings

CODE = "1"  # raised when the same inputs would train another retriever


def feedback_of_round(
    parent: Path,
    number: int,
    cases: pl.DataFrame,
    movies: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    ask: Ask,
    settings: Settings,
) -> pl.DataFrame:
    """The table FEEDBACK of round `number`: sets drawn from the retriever in the folder `parent` for a fresh draw of training contexts."""
    retriever, version = load(parent)
    chosen = choose_contexts(cases, catalogue, settings.contexts_to_judge, settings.seed, number)
    queries = build_queries(chosen, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    pools, scores = search(build_index(retriever, catalogue, version.known), queries, settings.pool)
    return collect_feedback(
        chosen,
        pools,
        scores,
        catalogue,
        lambda movie_ids: candidates_of(movies, movie_ids),
        ask,
        sets=settings.sets,
        size=settings.candidates,
        temperature=settings.temperature,
        seed=settings.seed,
        round_number=number,
    )


def preference_round(
    folder: Path,
    parent: Path,
    number: int,
    cases: pl.DataFrame,
    preferences: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    settings: Settings,
    log: Callable[[str], None],
) -> tuple[Version, bool]:
    """Train round `number` from the version in `parent` into `folder`. Gives its record and whether it was trained now.

    A version that was made from the same parent, preferences, validation cases and settings is kept as it is.
    """
    from rar_pipeline.preference.training import PreferenceModule, RoundConfig, build_pairs, train_round

    config = RoundConfig(
        settings.seed + number,
        settings.beta,
        settings.label_smoothing,
        settings.sft_weight,
        settings.temperature,
        settings.preference_learning_rate,
        settings.preference_epochs,
        settings.preference_batch,
        device=pick_device(settings.device),
    )
    before = read_record(parent)
    judged = cases.filter(pl.col("split") == "validation")
    made_from = {**asdict(config), "objective": settings.objective, "pool": settings.pool}
    fingerprint = digest(CODE, number, before.weights_sha256, made_from, content_hash(preferences), content_hash(judged))
    if (folder / RECORD).exists() and read_record(folder).fingerprint == fingerprint:
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return read_record(folder), False

    retriever, _ = load(parent)
    chosen = cases.filter(pl.col("case_id").is_in(preferences["case_id"].unique().implode())).sort("case_id")
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    queries = build_queries(chosen, catalogue, encode, **window)
    validation = build_queries(judged, catalogue, encode, **window)
    pools, _ = search(build_index(retriever, catalogue, before.known), queries, settings.pool)
    pairs = build_pairs(preferences, chosen, pools, catalogue)
    log(f"{len(pairs):,} pairs of {len(chosen):,} contexts, {len(judged):,} validation cases; {config.device}")
    retriever, curve = train_round(
        PreferenceModule(retriever, before.known, catalogue, queries, pairs, validation, judged, config), log
    )
    figures = validate(retriever, catalogue, before.known, validation, judged)
    start = {name: curve[0][name] for name in ("recall_10", "recall_20", "ndcg_10")}
    version = Version(
        f"round_{number}",
        before.dataset,
        fingerprint,
        before.name,
        before.network,
        made_from,
        before.known,
        {**figures, **{f"{name}_before": value for name, value in start.items()}, "pairs": len(pairs)},
        curve,
    )
    return save(folder, retriever, version), True


def ancestry(folder_of: Callable[[str], Path], name: str) -> Sequence[Version]:
    """A version and its parents, youngest first."""
    found = [read_record(folder_of(name))]
    while found[-1].parent:
        found.append(read_record(folder_of(found[-1].parent)))
    return found
