"""A preference round from tables to a version on disk: the entries that assets and library users call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.files import content_hash, digest
from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.questions import Question
from rar_pipeline.preference.feedback import Ask, choose_contexts, collect_feedback
from rar_pipeline.preference.lessons import build_lessons, rewarded
from rar_pipeline.preference.sampling import ndcg
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.rounds import pick_device, validate
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import Version, load, read_record, save, unchanged
from rar_pipeline.settings import Settings

if TYPE_CHECKING:
    from rar_pipeline.preference.training import RoundConfig, Watch

CODE = "2"  # raised when the same inputs would train another retriever
QUALITY = ("recall_10", "recall_20", "ndcg_10")
AFTER_LLM = "ndcg_10_after_llm"


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
    chosen = choose_contexts(cases, catalogue, settings.contexts_to_judge, settings.seed, number, settings.reserved_share)
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
        skip_known=settings.skips_known_winners,
        seed=settings.seed,
        round_number=number,
    )


def round_config(settings: Settings, number: int) -> RoundConfig:
    """How round `number` trains. Raises RarError for a device that is not there."""
    from rar_pipeline.preference.training import RoundConfig

    return RoundConfig(
        seed=settings.seed + number,
        objective=settings.objective,
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
        set_probability=settings.set_probability,
        objective_weight=settings.objective_weight,
        sft_weight=settings.sft_weight,
        kl_weight=settings.kl_weight,
        temperature=settings.temperature,
        learning_rate=settings.preference_learning_rate,
        epochs=settings.preference_epochs,
        batch=settings.preference_batch,
        kl_ceiling=settings.kl_ceiling,
        patience=settings.preference_patience,
        watched=AFTER_LLM if settings.cases_to_watch else "ndcg_10",
        device=pick_device(settings.device),
    )


def watch_after_llm(
    cases: pl.DataFrame, movies: pl.DataFrame, catalogue: Catalogue, ask: Ask, settings: Settings
) -> tuple[np.ndarray, Callable[[np.ndarray], float]]:
    """Rows of the validation cases that the LLM re-ranks after every epoch, and what gives their N@10 for their candidates (n, 20).

    Where an answer failed, the retriever's order stands. Answers are cached: what an epoch did not change is not paid for again.
    """
    order = np.random.default_rng([settings.seed, 4]).permutation(len(cases))[: settings.cases_to_watch]
    rows = np.sort(order)
    watched = cases[rows.tolist()]

    def judged(found: np.ndarray) -> float:
        lists = [[catalogue.movie_ids[row] for row in shown if row >= 0] for shown in found[:, : settings.candidates]]
        cards = candidates_of(movies, sorted({movie for shown in lists for movie in shown}))
        questions = [
            Question(case["case_id"], case["context"], tuple(cards[movie] for movie in shown), tuple(case["history"]))
            for case, shown in zip(watched.iter_rows(named=True), lists, strict=True)
        ]
        rankings = {answer.question_id: answer.ranking for answer in ask(questions) if answer.status == "answered"}
        wanted = [
            [*targets, *(f"unlinked:{n}" for n in range(unlinked))]
            for targets, unlinked in watched.select("targets", "unlinked_targets").iter_rows()
        ]
        values = [
            ndcg(tuple(dict.fromkeys((*rankings.get(case_id, ()), *shown))), targets)
            for case_id, shown, targets in zip(watched["case_id"], lists, wanted, strict=True)
        ]
        return float(np.mean(values)) if values else 0.0

    return rows, judged


def preference_round(
    folder: Path,
    parent: Path,
    number: int,
    cases: pl.DataFrame,
    feedback: pl.DataFrame,
    preferences: pl.DataFrame,
    movies: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    ask: Ask,
    settings: Settings,
    log: Callable[[str], None],
    *,
    name: str = "",
) -> tuple[Version, bool]:
    """Train round `number` from the version in `parent` into `folder`. Gives its record and whether it was trained now. `name`: of the version,
    where it is not `round_<number>`.

    The version kept is that of the best epoch on validation, the start included: a round that makes things worse ends with the weights that it began
    with, and its record says so (`ended_where_it_began`, and what the best trained epoch reached). A version that was made from the same parent,
    feedback, preferences, validation cases and settings is kept as it is; the same inputs give the same weights.
    """
    from rar_pipeline.preference.pools import Pools
    from rar_pipeline.preference.training import PreferenceModule, train_round

    taught = rewarded(feedback)
    if taught.is_empty():  # nothing is trained, so that there is no epoch for the LLM to choose
        settings = settings.model_copy(update={"watched_cases": 0})
    config = round_config(settings, number)
    before = read_record(parent)
    judged = cases.filter(pl.col("split") == "validation")
    inputs = {
        "parent_sha256": before.weights_sha256,
        "feedback": content_hash(taught),
        "preferences": content_hash(preferences),
        "validation": content_hash(judged),
        "watched_cases": settings.cases_to_watch,
    }
    read = settings.model_dump(include={"encoder", "context_turns", "max_history"})  # what a query is made of
    made_from = {**asdict(config), **read, "pool": settings.pool, "candidates": settings.candidates, **inputs}
    fingerprint = digest(CODE, number, made_from)
    if version := unchanged(folder, fingerprint):
        log(f"unchanged since it was trained (fingerprint {fingerprint}): kept")
        return version, False

    retriever, _ = load(parent, config.device)
    chosen = cases.filter(pl.col("case_id").is_in(taught["case_id"].unique().implode())).sort("case_id")
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    queries, validation = (build_queries(part, catalogue, encode, **window) for part in (chosen, judged))
    index = build_index(retriever, catalogue, before.known)
    lessons = build_lessons(taught, preferences, search(index, queries, settings.pool)[0], catalogue)
    pools = Pools(retriever, catalogue, before.known, queries, lessons.pools, config.device)
    watched = Pools(retriever, catalogue, before.known, validation, search(index, validation, settings.pool)[0], config.device)
    del index
    log(
        f"{config.objective}: {len(lessons):,} contexts, {lessons.pairs:,} pairs, {int(lessons.drawn.sum()):,} rewarded draws, "
        f"{len(judged):,} validation cases; {config.device}"
    )
    watch = watch_of(judged, movies, catalogue, ask, settings)
    module = PreferenceModule(retriever, lessons, pools, watched, watch, config, log)
    retriever, curve = train_round(module)
    start, kept = curve[0], max(curve, key=lambda record: record["eligible"] * record[config.watched])
    figures = {name: start[name] for name in QUALITY}  # those of the parent, whose lists these pools begin with
    if kept["epoch"]:
        figures = validate(retriever, catalogue, before.known, validation, judged)
    figures |= {AFTER_LLM: kept[AFTER_LLM]} if AFTER_LLM in kept else {}
    trained = [record[config.watched] for record in curve[1:]]
    figures |= {f"{name}_before": start[name] for name in (*QUALITY, AFTER_LLM) if name in start}
    figures |= {f"{config.watched}_best_trained": max(trained)} if trained else {}
    figures |= {
        "ended_where_it_began": float(not kept["epoch"]),
        "kept_epoch": kept["epoch"],
        "kl": kept["kl"],
        "contexts": len(lessons),
        "pairs": lessons.pairs,
        "updates": kept["epoch"] * -(-len(lessons) // config.batch),
    }
    log(told(config.watched, figures))
    network, known = before.network, before.known
    version = Version(
        name or f"round_{number}", before.dataset, fingerprint, before.name, network, made_from, known, figures, curve
    )
    return save(folder, retriever, version), True


def told(watched: str, figures: dict[str, float]) -> str:
    """How a round ended, in one sentence."""
    before, best = figures[f"{watched}_before"], figures.get(f"{watched}_best_trained")
    if not figures["ended_where_it_began"]:
        return f"kept epoch {figures['kept_epoch']:.0f}: validation {watched} {before:.4f} before, {best:.4f} after"
    said = "nothing was trained" if best is None else f"the best trained epoch reached {best:.4f}"
    return f"the round ends where it began: validation {watched} was {before:.4f}, {said}; there is nothing to promote"


def watch_of(cases: pl.DataFrame, movies: pl.DataFrame, catalogue: Catalogue, ask: Ask, settings: Settings) -> Watch:
    """What is looked at after each epoch: the figures of the validation lists and, where cases are watched, N@10 after the LLM."""
    if not settings.cases_to_watch:
        return lambda found: ranking_quality(found, cases, catalogue)
    rows, judged = watch_after_llm(cases, movies, catalogue, ask, settings)
    return lambda found: {**ranking_quality(found, cases, catalogue), AFTER_LLM: judged(found[rows])}


def ancestry(folder_of: Callable[[str], Path], name: str) -> Sequence[Version]:
    """A version and its parents, youngest first."""
    found = [read_record(folder_of(name))]
    while found[-1].parent:
        found.append(read_record(folder_of(found[-1].parent)))
    return found
