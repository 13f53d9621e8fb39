"""The data-quality section in words: figures with their description, and every number in a table that can be read without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rar_pipeline.evaluation import quality_plots
from rar_pipeline.evaluation.data_quality import FIELDS, SHOWN_DUPLICATES, DataQuality
from rar_pipeline.evaluation.grids import Block, Grid, drawn
from rar_pipeline.evaluation.quality_plots import percent
from rar_pipeline.expectations import DUPLICATES_ALLOWED

COMBINATIONS = 16
IN_WORDS = 5  # combinations that a description names


def blocks(quality: DataQuality) -> list[Block]:
    """All parts of the section that the lake has something to say about, expectations aside."""
    parts = [
        _coverage("Fields by decade of release", "decade", quality.by_decade),
        _coverage("Fields by IMDb votes", "votes", quality.by_votes),
        _overlap(quality),
    ]
    if quality.origins.height:
        parts.append(_origins(quality))
    return [*parts, _sources(quality), *_conflicts(quality), *_left_out(quality), _duplicates(quality)]


def _coverage(title: str, by: str, coverage: pl.DataFrame) -> Block:
    rows = coverage.to_dicts()
    said = "; ".join(_range(field, rows) for field in FIELDS) if rows else "no movies"
    grid = Grid(
        f"Movies and the share of them that has a value, by {by}",
        (by, "movies", *FIELDS),
        [(row["bucket"], f"{row['movies']:,}", *(f"{100 * row[field]:.1f} %" for field in FIELDS)) for row in rows],
    )
    description = f"Per cent of movies that have a value, lowest to highest row. {said}."
    text = "Per cent of the movies that have a value; the number beside each row counts its movies."
    return Block(title, text, grid, drawn(quality_plots.coverage_map(coverage, FIELDS), title, description))


def _range(field: str, rows: Sequence[Mapping[str, Any]]) -> str:
    low, high = min(rows, key=lambda row: row[field]), max(rows, key=lambda row: row[field])
    if low[field] == high[field]:
        return f"{field} {percent(low[field])} % everywhere"
    return f"{field} {percent(low[field])} % ({low['bucket']}) to {percent(high[field])} % ({high['bucket']})"


def _overlap(quality: DataQuality) -> Block:
    title = "Which sources know the same movies"
    shown = quality.combinations.head(COMBINATIONS)
    rest = quality.combinations.slice(COMBINATIONS)
    names = quality.sources["source"].to_list()
    rows = [(_together(row["sources"]), f"{row['movies']:,}", _share(row["movies"], quality.movies)) for row in shown.to_dicts()]
    if rest.height:
        rest_movies = int(rest["movies"].sum())
        rows.append((f"{rest.height:,} other combinations", f"{rest_movies:,}", _share(rest_movies, quality.movies)))
    description = "Movies by the sources that know them. " + "; ".join(f"{name}: {count}" for name, count, _ in rows[:IN_WORDS])
    text = f"The {shown.height} most frequent combinations; joined dots are the sources that know these movies, and no others."
    return Block(
        title,
        text,
        Grid("Movies by the combination of sources that know them", ("sources", "movies", "share"), rows),
        drawn(quality_plots.overlap_plot(shown, names), title, description),
    )


def _together(sources: Sequence[str]) -> str:
    return f"{sources[0]} alone" if len(sources) == 1 else " + ".join(sources)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _origins(quality: DataQuality) -> Block:
    title = "Which source each field came from"
    rows = quality.origins.to_dicts()
    by_field: dict[str, list[str]] = {}
    for row in rows:
        by_field.setdefault(row["field"], []).append(f"{row['source']} {percent(row['share'])} %")
    said = "; ".join(f"{field}: {', '.join(shares[:2])}" for field, shares in by_field.items())
    contradicted = {row["field"]: row for row in quality.overruled.to_dicts()}
    grid = Grid(
        "Values of each field by the source that they were taken from; contradicted: another source gave another value",
        ("field and source", "values", "share of the field", "contradicted, all sources"),
        [
            (
                f"{row['field']}: {row['source']}",
                f"{row['values']:,}",
                f"{100 * row['share']:.2f} %",
                _share(contradicted[row["field"]]["overruled"], contradicted[row["field"]]["values"]),
            )
            for row in rows
        ],
    )
    figure = drawn(quality_plots.origin_bars(quality.origins), title, f"Share of each field's values by source. {said}.")
    return Block(title, "Per cent of the values of a field that were taken from a source.", grid, figure)


def _sources(quality: DataQuality) -> Block:
    rows = [(row["source"], f"{row['movies']:,}", f"{row['alone']:,}") for row in quality.sources.to_dicts()]
    grid = Grid("Movies that each source knows", ("source", "movies", "only there"), rows)
    return Block("What each source adds", "", grid)


def _conflicts(quality: DataQuality) -> list[Block]:
    found = quality.conflicts
    if found.is_empty():
        return [Block("Conflicts", "No record contradicts the movie that it was merged into.", Grid("", (), ()))]
    sources = found.group_by("source").agg(pl.sum("rows")).sort("rows", "source", descending=[True, False])["source"].to_list()
    counts = {(row["field"], row["source"]): row["rows"] for row in found.to_dicts()}
    totals = found.group_by("field").agg(pl.sum("rows")).sort("rows", "field", descending=[True, False])
    rows = [
        (field, f"{total:,}", *(f"{counts.get((field, source), 0):,}" for source in sources))
        for field, total in totals.iter_rows()
    ]
    examples = [
        (
            row["movie"] or "none",
            row["field"],
            row["kept"] or "–",
            row["overruled"] or "–",
            f"{row['source']}: {row['source_id']}",
        )
        for row in quality.conflict_examples.to_dicts()
    ]
    text = f"{int(found['rows'].sum()):,} times a record says something else than the movie that it was merged into."
    return [
        Block("Conflicts", text, Grid("Conflicts by field and source", ("field", "all", *sources), rows)),
        Block(
            "Examples of conflicts",
            "Of each field those of the best-known movies; a conflict of the field movie is a record that fits several movies.",
            Grid("Conflicts to read", ("movie", "field", "kept", "overruled", "record"), examples, (1, 2, 3, 4)),
        ),
    ]


def _left_out(quality: DataQuality) -> list[Block]:
    if quality.left_out.is_empty():
        return []
    rows = [(row["source"], f"{row['rows']:,}", row["step"], row["reason"]) for row in quality.left_out.to_dicts()]
    text = "Rows of the sources that are not in the corpus: left out while a source's files were read, or while the sources were merged."
    return [
        Block("What was left out of the corpus", text, Grid("Rows left out", ("source", "rows", "while", "reason"), rows, (2, 3)))
    ]


def _duplicates(quality: DataQuality) -> Block:
    share = quality.repeated / quality.movies if quality.movies else 0.0
    text = (
        f"{quality.repeated:,} movies, {100 * share:.2f} %, are likely repeats of another: the same normalised title, years at most one apart, "
        f"and a director or two of the cast in common. Fewer than {100 * DUPLICATES_ALLOWED:g} % are expected; some are two films all the same."
    )
    rows = [
        (
            f"{row['title']} ({row['year']})",
            f"{row['other_title']} ({row['other_year']})",
            row["movie_id"],
            row["other_id"],
            f"{row['shared_directors']}",
            f"{row['shared_cast']}",
        )
        for row in quality.duplicates.head(SHOWN_DUPLICATES).to_dicts()
    ]
    columns = ("movie", "likely the same", "id", "other id", "shared directors", "shared cast")
    return Block(
        "Likely duplicates", text, Grid(f"The first {len(rows)} of {quality.duplicates.height:,} pairs", columns, rows, (1, 2, 3))
    )


def verdicts(quality: DataQuality) -> list[dict[str, Any]]:
    """One entry a table that was judged: title, passed, held, all, rows, a grid of its expectations, grids of offending rows."""
    return [_verdict(verdict) for verdict in quality.verdicts if verdict["results"]]


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    results = verdict["results"]
    title = verdict["name"] + (f", {verdict['part']}" if verdict["part"] else "")
    rows = [(r["name"], "yes" if r["passed"] else "no", r["observed"], f"{r['unexpected_percent']:.3g} %") for r in results]
    samples = [
        Grid(
            f"{'Breaks' if not r['passed'] else 'Tolerated by'} “{r['name']}”: {len(r['sample'])} of {r['unexpected_count']:,} rows",
            list(r["sample"][0]),
            [[str(value) for value in row.values()] for row in r["sample"]],
            tuple(range(1, len(r["sample"][0]))),
        )
        for r in results
        if r["sample"]
    ]
    return {
        "title": title,
        "passed": verdict["passed"],
        "held": sum(r["passed"] for r in results),
        "all": len(results),
        "rows": verdict["rows"],
        "grid": Grid(f"Expectations of {title}", ("expectation", "holds", "observed", "unexpected"), rows, (1, 2)),
        "samples": samples,
    }
