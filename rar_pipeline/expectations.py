"""What must hold of every boundary table: `SUITES`, in words that a person can read and a form that Great Expectations can judge.

Types and columns are not ruled here (`Table.conform` does that), nor whether a model is good enough (that is the champion's gate).
Nothing is judged here either: see `quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rar_pipeline.tables import DATASETS, EMBEDDING_WIDTH, SPLITS, Table


@dataclass(frozen=True)
class Expectation:
    """One rule of a table, in words and as a class of `great_expectations.expectations` with its arguments.

    `of` makes the judged column `column` where the table has none of that name. Nulls are judged by `filled` alone; NaN counts as null.
    """

    name: str
    column: str
    judge: str
    arguments: Mapping[str, Any]
    of: pl.Expr | None = None


def rows(at_least: int = 1) -> Expectation:
    """The table has rows."""
    return Expectation(f"at least {at_least} row", "", "ExpectTableRowCountToBeBetween", {"min_value": at_least})


def unique(*columns: str) -> Expectation:
    """No two rows agree in all of `columns`."""
    if len(columns) == 1:
        return Expectation(f"{columns[0]} is unique", columns[0], "ExpectColumnValuesToBeUnique", {"column": columns[0]})
    name = ", ".join(columns)
    return Expectation(f"({name}) is unique", name, "ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def filled(column: str, mostly: float = 1.0) -> Expectation:
    """`column` has a value in at least the share `mostly` of the rows."""
    name = f"{column} has a value" + _share(mostly)
    return Expectation(name, column, "ExpectColumnValuesToNotBeNull", {"column": column, "mostly": mostly})


def one_of(column: str, values: Sequence[str | int], mostly: float = 1.0) -> Expectation:
    """Values of `column` come from a closed set, in at least the share `mostly` of the rows."""
    name = f"{column} is one of {', '.join(map(str, values))}" + _share(mostly)
    return Expectation(
        name, column, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values), "mostly": mostly}
    )


def chosen(column: str, values: Sequence[str | int]) -> tuple[Expectation, Expectation]:
    """`column` has a value in every row, and from a closed set."""
    return filled(column), one_of(column, values)


def within(
    column: str,
    low: float | None = None,
    high: float | None = None,
    *,
    mostly: float = 1.0,
    of: pl.Expr | None = None,
    says: str = "",
) -> Expectation:
    """Numbers of `column` lie from `low` to `high`, both included, in at least the share `mostly` of the rows; `says` is the name."""
    ends = [f"{word} {end:g}" for word, end in (("at least", low), ("at most", high)) if end is not None]
    arguments = {"column": column, "min_value": low, "max_value": high, "mostly": mostly}
    name = says or f"{column} is {' and '.join(ends)}{_share(mostly)}"
    return Expectation(name, column, "ExpectColumnValuesToBeBetween", arguments, of)


def matches(column: str, regex: str, form: str) -> Expectation:
    """Texts of `column` have a form."""
    return Expectation(f"{column} is {form}", column, "ExpectColumnValuesToMatchRegex", {"column": column, "regex": regex})


def none(column: str, of: pl.Expr) -> Expectation:
    """The count `column`, made by `of` for every row, is nowhere above zero."""
    return within(column, high=0, of=of, says=f"no {column.replace('_', ' ')}")


def _share(mostly: float) -> str:
    return "" if mostly == 1.0 else f" in at least {mostly * 100:g} % of rows"


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


SUITES: dict[str, tuple[Expectation, ...]] = {
    "raw_files": (
        filled("path"),
        within("bytes", 1),
        matches("sha256", r"^[0-9a-f]{64}$", "64 hexadecimal digits"),
    ),
    "movies": (
        filled("title"),
        *chosen("kind", _FILMS),
        matches("imdb_id", r"^tt\d{7,}$", "tt and at least seven digits"),
        filled("year", mostly=0.9),
        _YEAR,
        within("rating", 1, 10),
        within("votes", 0),
        within("runtime", 0),
        filled("plot", mostly=0.02),  # without plots the text embeddings know little but names
        filled("plot_source", mostly=0.02),
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
    """The suite of a table: it has rows (a round without a pair keeps its retriever), its key is complete and unique, and what `SUITES` adds.

    Raises KeyError where the table has no suite.
    """
    suite = SUITES[table.name]
    return (
        *([] if table.name == "preferences" else [rows()]),
        *(filled(column) for column in table.key),
        unique(*table.key),
        *suite,
    )
