"""`python -m benchmarks.retriever_quality`: how well the retriever finds what was recommended, against what can be had without training a network.

Peers: popularity, EASE on mentions, and a linear blend of EASE, the cosine of conversation and movie text, and one ridge regression from the text of
the last turns to the recommended movie, its weights fitted on validation. With `--set` a version of its own is trained, which is how the parts of the
retriever are ablated. Nothing is fitted on the split that is judged unless it is validation itself, which the table then says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from rar_pipeline.defs.retriever import encoder
from rar_pipeline.errors import RarError
from rar_pipeline.evaluation import baselines
from rar_pipeline.evaluation.bootstrap import leaderboard, paired_difference
from rar_pipeline.evaluation.breakdowns import by_popularity, training_counts
from rar_pipeline.evaluation.metrics import score
from rar_pipeline.resources import Lake
from rar_pipeline.retriever.catalogue import Catalogue, build_catalogue
from rar_pipeline.retriever.examples import Queries, build_queries, positives
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, DATASETS, ITEM_EMBEDDINGS, MENTIONS, MOVIES, RATING_SEQUENCES

LENGTH = 50
RIDGE = 5.0
SHOWN = ("R@1", "R@10", "R@50", "N@10")
BLEND_WEIGHTS = tuple(
    itertools.product((0.25, 0.5, 1.0), (0.0, 0.15, 0.3, 0.6))
)  # of ridge and cosine beside EASE, in standard deviations


@dataclass(frozen=True)
class Data:
    """What is compared on: conversations of one data set and of all, and the movies that are ranked."""

    dataset: str
    cases: pl.DataFrame
    mentions: pl.DataFrame
    all_cases: pl.DataFrame
    all_mentions: pl.DataFrame
    catalogue: Catalogue
    ratings: pl.DataFrame | None


def read(lake: Lake, dataset: str, voted: int | None) -> Data:
    """The data of a lake; with `voted` only the movies that a case or mention names and that many of the most voted are ranked."""
    there = [name for name in DATASETS if lake.file(CASES, name).is_file()]
    cases, mentions = (pl.concat([lake.read(table, name) for name in there]) for table in (CASES, MENTIONS))
    movies, embeddings = lake.read(MOVIES), lake.read(ITEM_EMBEDDINGS)
    if voted is not None:
        named = mentions["movie_id"].drop_nulls().unique()
        most = movies.sort("votes", "movie_id", descending=[True, False], nulls_last=True).head(voted)["movie_id"]
        kept = pl.col("movie_id").is_in(pl.concat([named, most]).unique().implode())
        movies, embeddings = movies.filter(kept), embeddings.filter(kept)
    own = pl.col("dataset") == dataset
    ratings = lake.read(RATING_SEQUENCES) if lake.file(RATING_SEQUENCES).is_file() else None
    return Data(dataset, cases.filter(own), mentions.filter(own), cases, mentions, build_catalogue(movies, embeddings), ratings)


def blend(data: Data, judged: pl.DataFrame, encode: Callable[[Sequence[str]], np.ndarray], turns: int) -> pl.DataFrame:
    """Lists of the linear blend for the judged cases, a frame of RECOMMENDATIONS."""
    catalogue = data.catalogue
    taught = data.cases.filter((pl.col("split") == "train") & (pl.col("context") != ""))
    validation = data.cases.filter(pl.col("split") == "validation")
    text = {
        name: _with_one(build_queries(cases, catalogue, encode, turns=turns, max_history=LENGTH))
        for name, cases in (("taught", taught), ("validation", validation), ("judged", judged))
    }
    pairs = positives(taught, catalogue)
    named = sorted({movie for _, movie in pairs})
    column = {movie: number for number, movie in enumerate(named)}
    sums = np.zeros((text["taught"].shape[1], len(named)), np.float32)  # X'Y
    for row, movie in pairs:
        sums[:, column[movie]] += text["taught"][row]
    gram = text["taught"].T @ text["taught"] + RIDGE * np.eye(len(sums), dtype=np.float32)
    weights = np.linalg.solve(gram, sums)
    model = baselines.fit_ease(data.mentions)
    places = np.array([catalogue.index.get(movie, -1) for movie in model.movie_ids])
    items = catalogue.embeddings.astype(np.float32)

    def parts(cases: pl.DataFrame, words: np.ndarray, start: int, stop: int) -> list[np.ndarray]:
        """EASE, ridge and cosine scores (some cases, N) of the cases from start to stop."""
        known = {movie: number for number, movie in enumerate(model.movie_ids)}
        together, ridge = (np.zeros((stop - start, len(items)), np.float32) for _ in range(2))
        for row, history in enumerate(cases["history"][start:stop].to_list()):
            numbers = sorted({known[movie] for movie in history if movie in known})
            found = model.weights[numbers].sum(axis=0) + np.float32(1e-4) * model.counts
            together[row, places[places >= 0]] = found[places >= 0]
        ridge[:, named] = words[start:stop] @ weights
        return [together, ridge, words[start:stop, :-1] @ items.T]

    sample = parts(validation, text["validation"], 0, min(64, len(validation)))
    scales = [float(part.std()) or 1.0 for part in sample]

    def lists(cases: pl.DataFrame, words: np.ndarray, a: float, b: float) -> pl.DataFrame:
        def blocks() -> list[np.ndarray]:
            for start in range(0, len(cases), 64):
                ease, ridge, cosine = parts(cases, words, start, min(start + 64, len(cases)))
                yield ease / scales[0] + a * ridge / scales[1] + b * cosine / scales[2]

        return baselines.rank(blocks(), catalogue.movie_ids, cases, system="linear blend")

    def quality(a: float, b: float) -> float:
        found = lists(validation, text["validation"], a, b)["ranking"].to_list()
        rows = np.array([catalogue.rows(ranking)[:20] for ranking in found])
        return ranking_quality(rows, validation, catalogue)["ndcg_10"]

    best = max(BLEND_WEIGHTS, key=lambda pair: quality(*pair))
    return lists(judged, text["judged"], *best)


def _with_one(queries: Queries) -> np.ndarray:
    """Text embeddings and a constant, (n, E + 1) float32."""
    return np.hstack([queries.text.astype(np.float32), np.ones((len(queries), 1), np.float32)])


def retrieved(
    data: Data, judged: pl.DataFrame, folder: Path, encode: Callable[[Sequence[str]], np.ndarray], turns: int, system: str
) -> pl.DataFrame:
    """Lists of the version in a folder, a frame of RECOMMENDATIONS."""
    retriever, version = load(folder)
    queries = build_queries(judged, data.catalogue, encode, turns=turns, max_history=LENGTH)
    found, _ = search(build_index(retriever, data.catalogue, version.known), queries, LENGTH)
    lists = [[data.catalogue.movie_ids[row] for row in rows if row >= 0] for rows in found.tolist()]
    return baselines.listed(judged, system, lists)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", type=Path, required=True, help="folder of a world's tables, for example lake/mirror")
    parser.add_argument("--dataset", choices=DATASETS, action="append", help="may be given several times; default: redial")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SETTING=VALUE", help="train a version with this setting changed"
    )
    parser.add_argument(
        "--voted", type=int, help="rank only movies that conversations name and so many of the most voted (default: all)"
    )
    parser.add_argument("--only", action="store_true", help="the version that is trained alone, without peers")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    chosen = parser.parse_args(arguments)
    try:
        for dataset in chosen.dataset or ["redial"]:
            compare(chosen, dataset)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(chosen: argparse.Namespace, dataset: str) -> None:
    """Print the figures of one data set. Raises RarError where the lake lacks something."""
    changes = dict(pair.split("=", 1) for pair in chosen.set)
    settings = Settings(**{**changes, "lake": chosen.lake.parent})  # type: ignore[arg-type]
    data = read(Lake(root=str(chosen.lake)), dataset, chosen.voted)
    judged = data.cases.filter(pl.col("split") == chosen.split)
    encode, turns = encoder(settings, lambda line: None), settings.context_turns
    frames = []
    if not chosen.only:
        blended = blend(data, judged, encode, turns)
        frames = [baselines.popularity(data.mentions, judged), baselines.ease(baselines.fit_ease(data.mentions), judged), blended]
    label = "round_0" + "".join(f" {pair}" for pair in chosen.set)
    if changes:
        with TemporaryDirectory(prefix="rar-quality-") as scratch:
            place = Path(scratch)
            made_of = data.catalogue, encode, settings, lambda line: print(line, file=sys.stderr, flush=True)
            pretrain(place / "pretrained", place / "attempts", data.all_cases, data.all_mentions, *made_of, ratings=data.ratings)
            supervised_round(place / "version", place / "attempts", dataset, data.cases, place / "pretrained", *made_of)
            frames.append(retrieved(data, judged, place / "version", encode, turns, label))
    else:
        folder = Lake(root=str(chosen.lake)).folder("retriever", "round_0", dataset)
        frames.append(retrieved(data, judged, folder, encode, turns, label))
    metrics = score(pl.concat(frames), judged)
    fresh = metrics.filter(pl.col("protocol") == "fresh_turns")
    board = leaderboard(metrics, scope="all", references={}, seed=0)
    buckets = by_popularity(metrics, training_counts(data.mentions)).filter(
        (pl.col("metric") == "R@10") & (pl.col("system") == label)
    )
    print_rows(chosen, dataset, board, buckets, label)
    if not chosen.only:
        of = {name: part for (name,), part in fresh.group_by("system")}
        for metric in SHOWN:
            gain = paired_difference(of[label], of["linear blend"], metric)
            print(f"  {label} minus linear blend, {metric}: {gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})")


def print_rows(chosen: argparse.Namespace, dataset: str, board: pl.DataFrame, buckets: pl.DataFrame, label: str) -> None:
    """Means with standard errors, and recall by popularity of the target."""
    if chosen.json:
        for row in board.filter(pl.col("metric").is_in(SHOWN)).iter_rows(named=True):
            print(json.dumps(row))
        return
    for (protocol,), part in board.group_by("protocol", maintain_order=True):
        print(f"{dataset}, {chosen.split}, {protocol}, {part['cases'].max()} cases (standard error)")
        for (system,), rows in part.group_by("system", maintain_order=True):
            figures = {row["metric"]: row for row in rows.iter_rows(named=True)}
            values = "  ".join(f"{name} {figures[name]['value']:.4f} ({figures[name]['standard_error']:.4f})" for name in SHOWN)
            print(f"  {system:<24} {values}")
    told = ", ".join(
        f"{bucket} {value:.3f} ({cases})" for bucket, value, cases in buckets.select("bucket", "value", "cases").iter_rows()
    )
    print(f"  {label}, R@10 by popularity of the target in training (targets): {told}")


if __name__ == "__main__":
    sys.exit(main())
