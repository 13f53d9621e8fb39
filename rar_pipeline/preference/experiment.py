"""Dose and response: what a round gains from a judge of known competence, for every objective, beside supervision with as many updates.

A cell is one round, trained from round 0 on the feedback of one `SimulatedJudge`, with one objective and one seed. All objectives of a judge and seed
learn from the same table of feedback, so from the same number of calls, and take the same steps. The epoch is chosen by what the same judge makes of
the validation cases; test cases are looked at once, when the round has ended. Test lists come from the `pool` best movies of round 0.
No bootstrap here: who summarises is handed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import polars as pl

from rar_pipeline.files import content_hash, digest, replacing
from rar_pipeline.generation.questions import Answer, Candidate, Question
from rar_pipeline.preference.feedback import build_preferences, choose_contexts, collect_feedback
from rar_pipeline.preference.lessons import build_lessons, rewarded
from rar_pipeline.preference.simulated import NAME, SimulatedJudge, popularity_of
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, Queries, build_queries
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import Version, load
from rar_pipeline.settings import Objective, Settings
from rar_pipeline.tables import JUDGE_EXPERIMENT
from rar_pipeline.tables import METRICS as METRICS_TABLE

if TYPE_CHECKING:
    from rar_pipeline.preference.pools import Pools
    from rar_pipeline.retriever.network import Retriever

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)  # the last is the control
CONTROL = "sft"
START: Literal["round_0"] = "round_0"
PUBLISHED = {"LlamaRec": 0.077}  # how much published rankers lifted N@10 over the order of their own retriever
PLACE, POPULARITY = 2.0, 1.0  # the biases of every judge here: it copies the order it is given, and favours the popular
AFTER = f"N@10 after {NAME}"
METRICS = ("R@20", "N@10", AFTER)
CODE = "1"  # raised when the same inputs would give another cell

Difference = Callable[
    [pl.DataFrame, pl.DataFrame, str], tuple[float, ...]
]  # METRICS of two systems, metric -> mean of a - b, low, high, ...


@dataclass(frozen=True)
class Split:
    """Cases of one split with their queries, the movies round 0 puts first (n, M), targets as catalogue rows, and pools under training."""

    cases: pl.DataFrame
    queries: Queries
    found: np.ndarray
    targets: list[list[int]]
    pools: Pools


@dataclass
class Bench:
    """What all cells share. `contexts`: a split of training contexts for every seed, made when it is first asked for."""

    parent: Path
    start: Version
    retriever: Retriever
    catalogue: Catalogue
    train: pl.DataFrame
    validation: Split
    test: Split
    popularity: np.ndarray
    counts: dict[str, int]
    search: Callable[[pl.DataFrame], tuple[Queries, np.ndarray, np.ndarray]]
    settings: Settings
    contexts: dict[int, tuple[pl.DataFrame, Queries, np.ndarray, np.ndarray]] = field(default_factory=dict)
    trained: dict[int, Pools] = field(default_factory=dict)


def prepare(
    parent: Path, cases: pl.DataFrame, mentions: pl.DataFrame, catalogue: Catalogue, encode: Encode, settings: Settings
) -> Bench:
    """Everything that no cell changes, from the version in the folder `parent`; `mentions` give the popularity in training."""
    from rar_pipeline.preference.pools import Pools

    retriever, start = load(parent)
    index = build_index(retriever, catalogue, start.known)

    def found(chosen: pl.DataFrame) -> tuple[Queries, np.ndarray, np.ndarray]:
        queries = build_queries(chosen, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
        return queries, *search(index, queries, settings.pool)

    def split(name: str) -> Split:
        chosen = cases.filter(pl.col("split") == name).sort("case_id")
        queries, rows, _ = found(chosen)
        targets = [catalogue.rows(movies) for movies in chosen["targets"]]
        return Split(chosen, queries, rows, targets, Pools(retriever, catalogue, start.known, queries, rows))

    taught = mentions.filter((pl.col("split") == "train") & pl.col("movie_id").is_not_null())
    counts = dict(taught.group_by("movie_id").agg(pl.col("dialogue_id").n_unique()).iter_rows())
    train = cases.filter(pl.col("split") == "train")
    splits = split("validation"), split("test")
    popularity = popularity_of(catalogue, counts)
    return Bench(parent, start, retriever, catalogue, train, *splits, popularity, counts, found, settings)


def judge_of(dial: float, seed: int) -> SimulatedJudge:
    """The judge at a position of the dial: it sees the target and what resembles it `dial` times as strongly as it errs; its biases stay."""
    return SimulatedJudge(dial, dial, PLACE, POPULARITY, seed)


def ranked(bench: Bench, split: Split, found: np.ndarray, judge: SimulatedJudge) -> np.ndarray:
    """The judge's order (n, k) of the candidates (n, k) of some cases; places without a movie stay last."""
    lists = found.copy()
    for row, case_id in enumerate(split.cases["case_id"]):
        shown = found[row][found[row] >= 0]
        lists[row, : len(shown)] = judge.rank(case_id, shown, split.targets[row], bench.catalogue, bench.popularity)
    return lists


def lift(bench: Bench, dial: float, draws: int = 5) -> float:
    """By what share the judge's order of round 0's candidates beats round 0's own in validation N@10: its competence. Mean over some judges."""
    split, k = bench.validation, bench.settings.candidates
    found = split.found[:, :k]

    def quality(lists: np.ndarray) -> float:
        return _mean(ndcg_of(places(lists, split, bench.catalogue, bench.counts), "rank")["value"])

    judged = [quality(ranked(bench, split, found, judge_of(dial, seed))) for seed in range(draws)]
    own = quality(found)
    return float(np.mean(judged) / own - 1) if own else 0.0


def dial_for(bench: Bench, wanted: float, steps: int = 12) -> float:
    """The dial at which a judge lifts validation N@10 by the share `wanted`, by halving between guessing and an oracle."""
    low, high = 0.0, 8.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if lift(bench, middle) < wanted else (low, middle)
    return round((low + high) / 2, 3)


def places(lists: np.ndarray, split: Split, catalogue: Catalogue, counts: dict[str, int]) -> pl.DataFrame:
    """One row a (case, target): case_id, dialogue_id, target, bucket, targets (of the case, unlinked ones too) and rank from 1, null where missed."""
    rows = []
    bucket = buckets(counts)
    for row, (case_id, dialogue_id, unlinked) in enumerate(
        split.cases.select("case_id", "dialogue_id", "unlinked_targets").iter_rows()
    ):
        place = {movie: rank for rank, movie in enumerate(lists[row].tolist(), 1)}
        targets = split.targets[row]
        for target in targets:
            movie = catalogue.movie_ids[target]
            rows.append((case_id, dialogue_id, movie, bucket.get(movie, "unseen"), len(targets) + unlinked, place.get(target)))
    schema = {"case_id": pl.String, "dialogue_id": pl.String, "target": pl.String, "bucket": pl.String, "targets": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, "rank": pl.Int64}, orient="row")


def buckets(counts: dict[str, int]) -> dict[str, str]:
    """movie_id -> popularity in training: rare (1 to 4 conversations), top 100 or middle; what is not named is in none (PROTOCOL.md)."""
    order = sorted(counts, key=lambda movie: (-counts[movie], movie))
    return {movie: "rare" if counts[movie] <= 4 else "top 100" if place < 100 else "middle" for place, movie in enumerate(order)}


def ndcg_of(placed: pl.DataFrame, rank: str, cutoff: int = 10) -> pl.DataFrame:
    """NDCG with the ideal list of every case: case_id, dialogue_id, value. Columns of `placed` as in `places`, the rank in the column `rank`."""
    gain = pl.when(pl.col(rank) <= cutoff).then(1 / (pl.col(rank) + 1).log(2)).otherwise(0.0)
    ideal = {n: sum(1 / np.log2(place + 2) for place in range(min(n, cutoff))) for n in placed["targets"].unique().to_list()}
    return (
        placed.group_by("case_id", "dialogue_id", maintain_order=True)
        .agg(gain=gain.sum(), targets=pl.col("targets").first())
        .select(
            "case_id",
            "dialogue_id",
            value=pl.col("gain") / pl.col("targets").replace_strict(ideal or {0: 1.0}, return_dtype=pl.Float64),
        )
    )


def collect(bench: Bench, dial: float, seed: int) -> tuple[pl.DataFrame, int]:
    """FEEDBACK of one judge on the contexts of one seed, and the number of calls that it took. All sets that hold a target are ranked."""
    settings, catalogue = bench.settings, bench.catalogue
    if seed not in bench.contexts:
        chosen = choose_contexts(
            bench.train, catalogue, settings.experiment_contexts, settings.seed + seed, 1, settings.reserved_share
        )
        bench.contexts[seed] = (chosen, *bench.search(chosen))
    chosen, _, pools, scores = bench.contexts[seed]
    targets = {case_id: catalogue.rows(movies) for case_id, movies in chosen.select("case_id", "targets").iter_rows()}

    def ask(questions: Sequence[Question]) -> list[Answer]:
        return judge_of(dial, seed).answers(questions, targets, catalogue, bench.popularity)

    frame = collect_feedback(
        chosen,
        pools,
        scores,
        catalogue,
        lambda movie_ids: {movie: Candidate(movie, movie, None, "") for movie in movie_ids},
        ask,
        sets=settings.sets,
        size=settings.candidates,
        temperature=settings.temperature,
        skip_known=False,
        seed=settings.seed + seed,
        round_number=1,
    )
    return frame, int((frame["status"] == "answered").sum())


def run_cell(
    bench: Bench, feedback: pl.DataFrame, dial: float, objective: Objective, seed: int, log: Callable[[str], None]
) -> pl.DataFrame:
    """Train one round and look at the test cases: `places` of its own order and of the judge's, with the updates that were kept."""
    from dataclasses import replace

    from rar_pipeline.preference.pools import Pools
    from rar_pipeline.preference.rounds import round_config
    from rar_pipeline.preference.training import PreferenceModule, train_round

    settings = bench.settings.model_copy(update={"objective": objective, "seed": bench.settings.seed + seed, "device": "cpu"})
    retriever, _ = load(bench.parent)
    chosen, queries, found, _ = bench.contexts[seed]
    taught = rewarded(feedback)
    rows = [place for place, case_id in enumerate(chosen["case_id"]) if case_id in set(taught["case_id"])]
    lessons = build_lessons(taught, build_preferences(feedback), found[rows], bench.catalogue)
    if seed not in bench.trained:  # draws do not depend on the judge, so neither do the pools
        bench.trained[seed] = Pools(retriever, bench.catalogue, bench.start.known, queries.some(rows), lessons.pools)
    judge, validation, k = judge_of(dial, seed), bench.validation, settings.candidates

    def watch(lists: np.ndarray) -> dict[str, float]:
        judged = ranked(bench, validation, lists[:, :k], judge)
        placed = places(judged, validation, bench.catalogue, bench.counts)
        value = _mean(ndcg_of(placed, "rank")["value"])
        return {**ranking_quality(lists, validation.cases, bench.catalogue), "ndcg_10_after": value}

    config = replace(round_config(settings, 1), watched="ndcg_10_after")
    module = PreferenceModule(retriever, lessons, bench.trained[seed], validation.pools, watch, config, log)
    trained, curve = train_round(module)
    kept = max(curve, key=lambda record: record["eligible"] * record["ndcg_10_after"])
    return tested(bench, trained, judge).with_columns(
        updates=pl.lit(int(kept["epoch"]) * -(-len(lessons) // config.batch), pl.Int64)
    )


def tested(bench: Bench, retriever: Retriever, judge: SimulatedJudge) -> pl.DataFrame:
    """`places` of the test cases under a retriever, `rank` in its own order and `judged` in the judge's."""
    lists = bench.test.pools.best(retriever, bench.settings.candidates)
    own = places(lists, bench.test, bench.catalogue, bench.counts)
    after = places(ranked(bench, bench.test, lists, judge), bench.test, bench.catalogue, bench.counts)
    return own.with_columns(judged=after["rank"])


def run(bench: Bench, kept: Path, log: Callable[[str], None]) -> pl.DataFrame:
    """All cells, each kept in the folder `kept` as it is finished and looked up when it is there: their `places` under one another.

    Added columns: dial, lift, objective, seed, calls, updates. `round_0` stands beside the objectives, with the same judges.
    """
    settings = bench.settings
    seeds = list(range(settings.experiment_seeds))
    published = [dial_for(bench, wanted) for wanted in PUBLISHED.values()]
    dials = sorted({*settings.experiment_dials, *published})
    lifts = {dial: lift(bench, dial) for dial in dials}
    log(
        f"{NAME}: dial -> lift of validation N@10 over {START}'s order: "
        + ", ".join(f"{d:g} -> {100 * lifts[d]:+.1f} %" for d in dials)
    )
    names: tuple[Objective | Literal["round_0"], ...] = (START, *OBJECTIVES)
    keys = [(dial, seed, objective) for seed in seeds for dial in dials for objective in names]
    folder = kept / fingerprint(bench)
    frames: list[pl.DataFrame] = []
    feedback: dict[tuple[float, int], tuple[pl.DataFrame, int]] = {}
    started, made = time.monotonic(), 0
    for number, (dial, seed, objective) in enumerate(keys, 1):
        path = folder / f"dial={dial:g}" / f"seed={seed}" / f"{objective}.parquet"
        if not path.exists():
            if (dial, seed) not in feedback:
                feedback = {(dial, seed): collect(bench, dial, seed)}
            table, calls = feedback[dial, seed]
            if objective == START:
                cell = tested(bench, bench.retriever, judge_of(dial, seed)).with_columns(updates=pl.lit(0, pl.Int64))
                calls = 0
            else:
                cell = run_cell(bench, table, dial, objective, seed, lambda line: None)
            with replacing(path) as temporary:
                cell.with_columns(
                    dial=pl.lit(dial),
                    lift=pl.lit(lifts[dial]),
                    objective=pl.lit(objective),
                    seed=pl.lit(seed),
                    calls=pl.lit(calls),
                ).write_parquet(temporary)
            made += 1
            spent = time.monotonic() - started
            left = spent / made * (len(keys) - number)
            log(f"{number} of {len(keys)} cells: dial {dial:g}, seed {seed}, {objective}; at most {left / 60:.1f} min left")
        frames.append(pl.read_parquet(path))
    return pl.concat(frames)


def fingerprint(bench: Bench) -> str:
    """Hash of all that a cell depends on beside its dial, objective and seed."""
    names = {
        "seed",
        "sets",
        "candidates",
        "pool",
        "temperature",
        "experiment_contexts",
        "beta",
        "label_smoothing",
        "set_probability",
    }
    names |= {"objective_weight", "sft_weight", "kl_weight", "kl_ceiling", "preference_learning_rate", "preference_batch"}
    names |= {"preference_epochs", "preference_patience", "context_turns", "max_history", "reserved_share"}
    cases = (content_hash(part) for part in (bench.train, bench.validation.cases, bench.test.cases))
    return digest(CODE, PLACE, POPULARITY, bench.start.weights_sha256, bench.settings.model_dump(include=names), *cases)


def summarise(dataset: str, cells: pl.DataFrame, difference: Difference) -> pl.DataFrame:
    """The table JUDGE_EXPERIMENT of the cells. `difference`: mean of a minus b with its paired 95 % interval over conversations.

    Per case the mean over seeds is taken, and that is drawn again: the interval is of cases, not of seeds; the rows of single seeds stand beside it.
    """
    rows: list[dict[str, object]] = []
    for (dial,), part in cells.group_by(["dial"], maintain_order=True):
        base = {"dataset": dataset, "judge": NAME, "dial": dial, "judge_lift": part["lift"][0]}
        for bucket in ("all", *sorted(part["bucket"].unique().to_list())):
            inside = part if bucket == "all" else part.filter(pl.col("bucket") == bucket)
            for metric in METRICS:
                values: dict[str, pl.DataFrame] = {
                    name: _values(inside.filter(pl.col("objective") == name), metric, bucket) for name in (START, *OBJECTIVES)
                }
                for name, frame in values.items():
                    own = part.filter(pl.col("objective") == name)
                    row = {**base, "objective": name, "bucket": bucket, "metric": metric, "cases": frame["case_id"].n_unique()}
                    row |= {"calls": int(_mean(own.group_by("seed").agg(pl.col("calls").first())["calls"]))}
                    row |= {"updates": own.group_by("seed").agg(pl.col("updates").first())["updates"].mean()}
                    over_seeds = _over_seeds(frame)
                    row |= {"seed": "all", "value": over_seeds["value"].mean()}
                    for reference in (START, CONTROL):
                        if name in (reference, START):
                            continue
                        pair = (
                            _as_metrics(over_seeds, name, metric),
                            _as_metrics(_over_seeds(values[reference]), reference, metric),
                        )
                        mean, low, high, *_ = difference(*pair, metric)
                        against = values[reference].select(pl.col("value").mean()).item()
                        relative = mean / against if against else None
                        rows.append(
                            {**row, "reference": reference, "difference": mean, "low": low, "high": high, "relative": relative}
                        )
                    if name == START:
                        rows.append({**row, "reference": "none"})
                    if bucket == "all":
                        rows += [
                            {**row, "seed": str(seed), "reference": "none", "value": one["value"].mean()}
                            for (seed,), one in frame.group_by(["seed"], maintain_order=True)
                        ]
    return JUDGE_EXPERIMENT.frame(rows).sort(JUDGE_EXPERIMENT.key)


def _values(part: pl.DataFrame, metric: str, bucket: str) -> pl.DataFrame:
    """case_id, dialogue_id, seed, value: a case's figure; inside a bucket a target's, since a case may have targets of several."""
    rank = "judged" if metric == AFTER else "rank"
    if bucket == "all" and metric != "R@20":
        frames = [
            ndcg_of(one, rank).with_columns(seed=pl.lit(seed)) for (seed,), one in part.group_by(["seed"], maintain_order=True)
        ]
        return pl.concat(frames)
    hit = pl.col(rank).is_not_null().cast(pl.Float64)
    gain = pl.when(pl.col(rank) <= 10).then(1 / (pl.col(rank) + 1).log(2)).otherwise(0.0)
    value = hit if metric == "R@20" else gain
    if bucket == "all":
        return part.group_by("case_id", "dialogue_id", "seed", maintain_order=True).agg(
            value=value.sum() / pl.col("targets").first()
        )
    return part.select(pl.concat_str("case_id", pl.lit("#"), "target").alias("case_id"), "dialogue_id", "seed", value=value)


def _mean(values: pl.Series) -> float:
    """The mean of numbers; 0 where there are none."""
    return float(cast("Any", values.mean()) or 0.0)


def _over_seeds(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("case_id", "dialogue_id", maintain_order=True).agg(pl.col("value").mean())


def _as_metrics(frame: pl.DataFrame, system: str, metric: str) -> pl.DataFrame:
    place = {"dataset": "", "split": "test", "protocol": "fresh_turns", "system": system, "metric": metric}
    return METRICS_TABLE.conform(frame.with_columns(weight=pl.lit(1.0), **{name: pl.lit(value) for name, value in place.items()}))


def told(table: pl.DataFrame) -> Iterable[str]:
    """The figures a person asks for first: N@10 after the judge over round 0 and over the control, a line a judge and objective."""
    shown = table.filter((pl.col("metric") == AFTER) & (pl.col("bucket") == "all") & pl.col("difference").is_not_null())
    for row in shown.sort("judge_lift", "objective", "reference").iter_rows(named=True):
        yield (
            f"{NAME} that lifts N@10 by {100 * row['judge_lift']:+.1f} %: {row['objective']} over {row['reference']} "
            f"{100 * (row['relative'] or 0):+.1f} % ({row['difference']:+.4f}, {row['low']:+.4f} to {row['high']:+.4f})"
        )
