"""What must hold of every boundary table: `SUITES`, in words that a person can read and a form that Great Expectations can judge.

Types and columns are not ruled here (`Table.conform` does that), nor whether a model is good enough (that is the champion's gate).
Nothing is judged here either: see `quality`.
"""

from __future__ import annotations

import polars as pl

from rar_pipeline.corpus.sources import SOURCES
from rar_pipeline.rules import Expectation, chosen, filled, matches, none, one_of, present, rows, unique, within
from rar_pipeline.tables import DATASETS, EMBEDDING_WIDTH, MOVIES, SPLITS, Table

DUPLICATES_ALLOWED = 0.007  # share of movies that may likely be repeats of another
ANSWERED_AT_LEAST = 0.95  # share of a round's questions; with fewer the run goes on, but a person should know
# no validation case may have its target among the candidates; the check of the judge may stop the collection; a round without a pair keeps its
# retriever; an optional source may be missing; sources may agree
MAY_BE_EMPTY = {"judge_check", "feedback", "preferences", "source_movies", "conflicts"}

__all__ = ["ANSWERED_AT_LEAST", "DUPLICATES_ALLOWED", "SUITES", "Expectation", "expectations"]

_ALL = pl.lit(True)
# kinds of IMDb's that are films; a series, an episode or a game among them means that the readers let it in
_FILMS = ("movie", "tvMovie", "video", "short", "tvShort", "tvSpecial")
# IMDb lists a few films far ahead (one for 2115), so a wrong year is an error only where there are many
_YEAR = within("year", 1870, 2035, mostly=0.999)
_DATASET = chosen("dataset", DATASETS)
# a conversation in two splits would leak its answers
_ONE_SPLIT = within(
    "splits_of_dialogue",
    1,
    1,
    of=pl.col("split").n_unique().over("dataset", "dialogue_id"),
    says="a dialogue is in one split only",
)
_EVALUATED = (*_DATASET, *chosen("split", ("validation", "test")))
# float noise of two ways to the same mean
_NOISE = 1e-9


def _repeats(column: str) -> Expectation:
    return none(f"repeats_in_{column}", pl.col(column).list.len().cast(pl.Int64) - pl.col(column).list.n_unique().cast(pl.Int64))


def _shared(one: str, other: str) -> pl.Expr:
    return pl.col(one).list.set_intersection(pl.col(other)).list.len()


def _norm(column: str) -> pl.Expr:
    wide = pl.col(column).cast(pl.Array(pl.Float32, EMBEDDING_WIDTH))
    return (wide * wide).arr.sum().sqrt()


def _of(*sources: str) -> pl.Expr:
    return pl.col("source").is_in(list(sources))


_GARBLED = pl.col("title").str.contains(r"&(amp|quot|lt|gt|nbsp|#\d+);|</?(b|i|a|p|br|div|span)>|\x{FFFD}").cast(pl.Int64)


def _repeats_another(movies: pl.Series) -> pl.Series:
    from rar_pipeline.corpus.duplicates import repeats

    return repeats(movies.struct.unnest()).cast(pl.Int64)


_FORMS = (
    matches("imdb_id", r"^tt\d{7,}$", "tt and at least seven digits"),
    within("tmdb_id", 1),
    within("movielens_id", 1),
    matches("wikidata_id", r"^Q\d+$", "Q and digits"),
    within("rating", 1, 10),
    within("votes", 0),
    # a few catalogues list a runtime of 0, and some films last a day: an error only where there are many
    within("runtime", 1, 900, mostly=0.99),
)
# readers resolve entities and tags; a few titles are damaged at their publisher's, and where "&" is not resolved, 0.4 % to 2 % are broken
_CLEAN = none("markup_in_title", _GARBLED, mostly=0.997)
_CAST = within("n_cast", high=10, of=pl.col("cast").list.len(), says="at most ten of the cast")

SUITES: dict[str, tuple[Expectation, ...]] = {
    "raw_files": (
        filled("path"),
        within("bytes", 1),
        matches("sha256", r"^[0-9a-f]{64}$", "64 hexadecimal digits"),
    ),
    # one part a source; shares lie well below what each source gives, and above what is left where a column is read wrong
    "source_movies": (
        one_of("source", SOURCES),
        filled("title"),
        _CLEAN,
        present("year", 0.9, _ALL, "records"),
        _YEAR,
        *_FORMS,
        one_of("kind", _FILMS),
        present("kind", 1.0, _of("imdb"), "IMDb's records"),
        present(
            "imdb_id", 0.7, _of("imdb", "omdb", "wikidata", "tmdb", "movielens"), "the records of sources that know IMDb's ids"
        ),
        present("genres", 0.6, ~_of("wikidata"), "the records of sources with genres"),
        present("directors", 0.4, _of("imdb", "omdb", "tmdb", "streaming"), "the records of sources with credits"),
        present("cast", 0.2, _of("imdb", "omdb", "tmdb", "streaming", "wikipedia"), "the records of sources with credits"),
        present("plot", 0.8, _of("wikipedia", "streaming"), "the records of sources that are made of texts"),
        present("rating", 0.4, _of("imdb", "ggplot2movies"), "the records of sources with ratings"),
        _CAST,
    ),
    "movies": (
        filled("title"),
        _CLEAN,
        *chosen("kind", _FILMS),
        *_FORMS,
        none("ids_beside_imdb", (pl.col("movie_id") != pl.col("imdb_id")).cast(pl.Int64)),
        *(unique(name) for name in ("imdb_id", "tmdb_id", "movielens_id", "wikidata_id")),  # two would be a merge that was missed
        present("imdb_id", 0.5, _ALL, "movies"),  # IMDb is the spine: with fewer the other sources did not find it
        present("year", 0.95, _ALL, "movies"),  # without a year nothing is merged by title
        _YEAR,
        # what IMDb's files alone give is above these; with fewer one of its files was not read or not joined
        present("genres", 0.7, _ALL, "movies"),
        present("directors", 0.4, _ALL, "movies"),
        present("cast", 0.2, _ALL, "movies"),
        present("runtime", 0.5, _ALL, "movies"),
        present("rating", 0.4, _ALL, "movies"),
        _CAST,
        # a source made of texts is in the movie, so a text must be: without plots the embeddings know little but names
        present(
            "plot", 0.8, pl.col("sources").list.set_intersection(["wikipedia", "streaming"]).list.len() > 0, "movies of texts"
        ),
        none("plots_without_source", (pl.col("plot").is_null() != pl.col("plot_source").is_null()).cast(pl.Int64)),
        within("n_sources", 1, of=pl.col("sources").list.len(), says="a movie is known to a source"),
        within(
            "likely_duplicate",
            high=0,
            mostly=1 - DUPLICATES_ALLOWED,
            of=pl.struct("movie_id", "title", "year", "directors", "cast").map_batches(_repeats_another, return_dtype=pl.Int64),
            says=f"fewer than {100 * DUPLICATES_ALLOWED:g} % likely duplicates: same title, years one apart at most, shared people",
        ),
    ),
    "provenance": (
        one_of("field", [column.name for column in MOVIES.columns]),
        *chosen("source", SOURCES),
        filled("source_id"),
        filled("overruled"),
        # sources agree on most values; where they do not, records of different films were merged or a column is read wrong
        within("n_overruled", high=0, mostly=0.6, of=pl.col("overruled").list.len(), says="uncontested in at least 60 % of rows"),
    ),
    "conflicts": (
        one_of("source", SOURCES),
        one_of("field", ["movie", *(column.name for column in MOVIES.columns)]),
        none("conflicts_that_agree", (pl.col("kept") == pl.col("overruled")).cast(pl.Int64)),
    ),
    "title_index": (
        filled("title"),
        filled("variant"),
        matches("key", r"\S", "not blank"),
        _YEAR,
        filled("votes"),
        within("votes", 0),
    ),
    "item_embeddings": (
        filled("text_hash"),
        within("norm", 0.98, 1.02, of=_norm("embedding"), says="an embedding is of unit length"),
        filled("norm"),
    ),
    "dialogues": (
        *_DATASET,
        *chosen("split", SPLITS),
        _ONE_SPLIT,
        *chosen("speaker", ("seeker", "recommender")),
        within("turn", 0),
        filled("text"),
    ),
    "mentions": (
        *_DATASET,
        *chosen("split", SPLITS),
        _ONE_SPLIT,
        *chosen("speaker", ("seeker", "recommender", "unknown")),
        within("turn", 0),
        within("position", 0),
        one_of("liked", (0, 1)),
        within("score", 0, 1),
        filled("movie_id", mostly=0.5),  # fewer links mean that the corpus or the linker lost its way
    ),
    "cases": (
        *_DATASET,
        *chosen("split", SPLITS),
        _ONE_SPLIT,
        *chosen("origin", ("dialogue", "seeker", "sequence")),
        within("turn", 0),
        within("unlinked_targets", 0),
        within(
            "new_movies",
            1,
            of=pl.col("targets").list.len() + pl.col("unlinked_targets"),
            says="a case asks for at least one movie",
        ),
        _repeats("targets"),
        none("targets_seen_before", _shared("targets", "history")),
        none("disliked_that_are_no_targets", pl.col("disliked").list.set_difference("targets").list.len()),
    ),
    "judge_check": (
        *_DATASET,
        *chosen("shown", ("retriever", "shuffled")),
        *chosen("status", ("answered", "failed", "unparsed")),
        one_of("mode", ("generate", "label", "likelihood")),
        within("n_candidates", 1, of=pl.col("candidates").list.len()),
        _repeats("candidates"),
        _repeats("ranking"),
        none("candidates_without_a_score", (pl.col("candidates").list.len() != pl.col("scores").list.len()).cast(pl.Int64)),
        within("targets_proposed", 1, of=_shared("candidates", "targets"), says="a target is among the candidates"),
        *(within(name, 0, 1) for name in ("retriever", "chance", "judge", "weight", "fused")),
        within("prompt_tokens", 0),
        within("answer_tokens", 0),
        within("seconds", 0),
        within("cost", 0),
    ),
    "feedback": (
        *chosen("status", ("answered", "skipped", "failed", "unparsed")),
        one_of("status", ("answered", "skipped"), mostly=0.5),  # with fewer the endpoint or the prompt is broken
        one_of("mode", ("generate", "label", "likelihood")),
        within("n_candidates", 1, of=pl.col("candidates").list.len()),
        _repeats("candidates"),
        _repeats("ranking"),
        within("reward", 0, 1),
        within("prompt_tokens", 0),
        within("answer_tokens", 0),
        within("seconds", 0),
    ),
    "preferences": (
        *chosen("reason", ("judge", "target")),
        within("n_winner", 1, of=pl.col("winner").list.len()),
        within("n_loser", 1, of=pl.col("loser").list.len()),
        none("pairs_of_equal_sets", (pl.col("winner") == pl.col("loser")).cast(pl.Int64)),
        within("winner_reward", 0, 1),
        within("loser_reward", 0, 1),
        within(
            "margin_of_reward",
            0,
            of=pl.col("winner_reward") - pl.col("loser_reward"),
            says="the winner's reward is not below the loser's",
        ),
    ),
    "recommendations": (
        *_EVALUATED,
        within("n_ranking", high=50, of=pl.col("ranking").list.len()),
        _repeats("ranking"),
        within("unmatched", 0),
    ),
    "metrics": (
        *_EVALUATED,
        *chosen("protocol", ("fresh_turns", "cikm23")),
        filled("value"),
        within("value", 0, 1 + _NOISE),
        filled("weight"),
        within("weight", 0),
    ),
    "leaderboard": (
        *_EVALUATED,
        *chosen("protocol", ("fresh_turns", "cikm23")),
        *chosen("scope", ("all", "judged")),
        filled("value"),
        within("value", 0, 1 + _NOISE),
        within("value_above_low", -_NOISE, of=pl.col("value") - pl.col("low"), says="low is not above value"),
        within("high_above_value", -_NOISE, of=pl.col("high") - pl.col("value"), says="value is not above high"),
        within(
            "width_of_difference",
            -_NOISE,
            of=pl.col("difference_high") - pl.col("difference_low"),
            says="difference_low is not above difference_high",
        ),
        within("standard_error", 0),
        within("cases", 1),
    ),
}


def expectations(table: Table) -> tuple[Expectation, ...]:
    """The suite of a table: it has rows unless it may be empty, its key is complete and unique, and what `SUITES` adds.

    Raises KeyError where the table has no suite.
    """
    suite = SUITES[table.name]
    return (
        *([] if table.name in MAY_BE_EMPTY else [rows()]),
        *(filled(column) for column in table.key),
        unique(*table.key),
        *suite,
    )
