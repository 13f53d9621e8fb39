"""The forms that expectations take: each in words that a person can read, and as what Great Expectations can judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

LISTS = {"genres", "directors", "cast"}


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


def none(column: str, of: pl.Expr, mostly: float = 1.0) -> Expectation:
    """The count `column`, made by `of` for every row, is above zero nowhere, or in at least the share `mostly` of the rows."""
    return within(column, high=0, mostly=mostly, of=of, says=f"no {column.replace('_', ' ')}{_share(mostly)}")


def present(column: str, mostly: float, where: pl.Expr, who: str) -> Expectation:
    """`column` has a value (a list: an element) in at least the share `mostly` of the rows `where`, which `who` names; no such row, no rule."""
    given = pl.col(column).list.len() > 0 if column in LISTS else pl.col(column).is_not_null()
    counted = pl.when(where).then(given.cast(pl.Int64))
    return within(f"{column}_given", 1, mostly=mostly, of=counted, says=f"{column} has a value{_share(mostly, who)}")


def _share(mostly: float, of: str = "rows") -> str:
    return "" if mostly == 1.0 else f" in at least {mostly * 100:g} % of {of}"
