"""A movie in words: the text that the encoder reads, and the card that a prompt shows. Missing pieces leave no separators behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

FIELDS = ("title", "year", "genres", "directors", "cast", "plot")
ELLIPSIS = "…"


def cut(text: str, characters: int) -> str:
    """Text on one line of at most `characters`, cut at a word border and marked with an ellipsis where something is missing."""
    text = " ".join(text.split())
    if len(text) <= characters:
        return text
    kept = text[: max(characters - len(ELLIPSIS), 0) + 1]
    kept = kept[: kept.rfind(" ")] if " " in kept.strip() else kept[:-1]
    return kept.rstrip(" ,;:.-–—") + ELLIPSIS


def headline(row: Mapping[str, Any]) -> str:
    """`title (year)`, or the title alone."""
    return f"{row['title']} ({row['year']})" if row.get("year") is not None else str(row["title"])


def item_text(row: Mapping[str, Any], plot_characters: int = 600, names: int = 6) -> str:
    """`title (year); genres; director; cast; plot` of a row of tables.MOVIES: what the text encoder reads (METHOD, 3 "Item table").

    A plot longer than `plot_characters` is cut, since the encoder reads 256 word pieces only; the cast is cut to `names`.
    """
    pieces = [headline(row), _listed(row.get("genres")), _listed(row.get("directors"), names), _listed(row.get("cast"), names)]
    return "; ".join(piece for piece in (*pieces, cut(row.get("plot") or "", plot_characters)) if piece)


def card(row: Mapping[str, Any], plot_characters: int = 200, names: int = 4) -> str:
    """`genres | director and cast | one line of plot` of a row of tables.MOVIES: what stands behind `title (year)` in a prompt (METHOD, 4).

    At most `names` of the cast, at most two directors. Empty where nothing is known.
    """
    directors = _listed(row.get("directors"), 2)
    people = "; ".join(
        part for part in (f"directed by {directors}" if directors else "", _listed(row.get("cast"), names)) if part
    )
    return " | ".join(
        piece for piece in (_listed(row.get("genres"), 4), people, cut(row.get("plot") or "", plot_characters)) if piece
    )


def item_texts(movies: pl.DataFrame, plot_characters: int = 600, names: int = 6) -> list[str]:
    """`item_text` of every row, in order."""
    return [item_text(row, plot_characters, names) for row in movies.select(FIELDS).iter_rows(named=True)]


def cards(movies: pl.DataFrame, plot_characters: int = 200, names: int = 4) -> list[str]:
    """`card` of every row, in order."""
    return [card(row, plot_characters, names) for row in movies.select(FIELDS).iter_rows(named=True)]


def _listed(names: Sequence[str] | None, most: int | None = None) -> str:
    return ", ".join((names or [])[:most])
