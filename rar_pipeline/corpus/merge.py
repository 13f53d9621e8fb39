"""Entity resolution: records of all sources to one row a movie.

First by shared ids, then by normalised title, year and people, source by source in the order of table precedence, at last by titles spelt nearly
the same. The rules are SQL (sql/corpus/: precedence, identified, evidence, matched, similar, choices); this module runs the statements in
their order. What joins with itself is a table of its own, no common table expression: DuckDB 2.0.0 fails on those that `unnest` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb
import polars as pl

from rar_pipeline.corpus.engine import MEMORY, engine
from rar_pipeline.corpus.normalise import normalise_name, normalised
from rar_pipeline.sql import statement
from rar_pipeline.tables import ALIASES, CONFLICTS, MOVIES, PLACEMENTS, PROVENANCE, SOURCE_MOVIES

CATALOGUES = ("netflix", "disney_plus", "hulu", "amazon_prime")
PLACEHOLDER = r"^\W*(add a plot|no overview|plot (is )?(unknown|unavailable|under wraps)|under wraps|n/a|tba|coming soon)\b"
BEFORE_ALL, AFTER_ALL = 1, 99


@dataclass(frozen=True)
class Merged:
    """The corpus, what was disputed, other titles in use, and how many records of each source went which way."""

    movies: pl.DataFrame  # tables.MOVIES, sorted by movie_id
    provenance: pl.DataFrame  # tables.PROVENANCE
    placements: pl.DataFrame  # tables.PLACEMENTS
    conflicts: pl.DataFrame  # tables.CONFLICTS
    aliases: pl.DataFrame  # tables.ALIASES
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # source -> "matched by id", "left out: ..." -> records


def merge(claims: pl.DataFrame, excluded: pl.DataFrame | None = None, memory: str = MEMORY, *, explained: bool = True) -> Merged:
    """Merge records of all sources (tables.SOURCE_MOVIES) into movies.

    `excluded` (same columns) holds IMDb's titles of kinds that must stay out: records that carry their ids or are found to be them are left
    out and counted. `memory` is what DuckDB may hold before it spills to disk. Without `explained` there are movies, aliases and counts alone:
    where fields came from, where records went and what was disputed take about as long again. The result does not depend on the order of the rows.
    """
    claims = SOURCE_MOVIES.conform(claims).sort("source", "source_id").with_row_index("record")
    claims = claims.with_columns(pl.when(pl.col("imdb_id").str.contains(r"^tt\d{7,}$")).then("imdb_id").alias("imdb_id"))
    excluded = SOURCE_MOVIES.empty() if excluded is None else SOURCE_MOVIES.conform(excluded)
    with engine(memory) as con:
        con.register("claims", claims)
        con.register("excluded", excluded)
        _resolve(con)
        explanations = ("chosen", "said", "provenance", "conflicts") if explained else ()
        for table in ("placed", "choices", "movies", *explanations, "aliases"):
            con.execute(statement("corpus", table), {"placeholder": PLACEHOLDER} if table == "choices" else None)
        counts: dict[str, dict[str, int]] = {}
        for source, what, records in con.sql(statement("corpus", "merge_counts")).fetchall():
            counts.setdefault(source, {})[what] = int(records)
        placements = con.sql(statement("corpus", "placements")).pl() if explained else PLACEMENTS.empty()
        # at IMDb's size the records and what was worked out of them would not fit beside the results
        for name in ("claims", "excluded"):
            con.unregister(name)
        del claims, excluded
        for table in ("choices", "chosen", "said", "placed", "units", "unit_keys", "unit_people", "identified"):
            con.execute(f'DROP TABLE IF EXISTS "{table}"')
        return Merged(
            MOVIES.conform(con.sql("SELECT * FROM movies ORDER BY movie_id").pl()),
            PROVENANCE.conform(con.sql("SELECT * FROM provenance ORDER BY place").pl()) if explained else PROVENANCE.empty(),
            PLACEMENTS.conform(placements),
            CONFLICTS.conform(con.sql("SELECT * FROM conflicts ORDER BY ALL").pl()) if explained else CONFLICTS.empty(),
            ALIASES.conform(con.sql("SELECT * FROM aliases ORDER BY ALL").pl()),
            counts,
        )


def _resolve(con: duckdb.DuckDBPyConnection) -> None:
    for table in ("precedence", "shared_ids", "identified"):
        con.execute(statement("corpus", table))
    con.register("title_keys", normalised(con.sql(statement("corpus", "compared_titles")).pl()["text"]))
    con.execute(statement("corpus", "unit_keys"))
    con.register("name_keys", normalised(con.sql(statement("corpus", "compared_names")).pl()["text"], normalise_name))
    con.execute(statement("corpus", "unit_people"))
    con.execute(statement("corpus", "units"), {"catalogues": list(CATALOGUES)})
    con.execute(statement("corpus", "resolved"))
    batches = [int(row[0]) for row in con.sql("SELECT DISTINCT batch FROM units WHERE batch > 0 ORDER BY batch").fetchall()]
    for batch in batches:
        _match(con, batch, batch, among=False)
    # a last look at all that is left, now also inside each batch: the same film twice in one catalogue
    _match(con, BEFORE_ALL, AFTER_ALL, among=True)
    for table in ("similar", "resolved_more"):
        con.execute(statement("corpus", table))


def _match(con: duckdb.DuckDBPyConnection, first: int, last: int, among: bool) -> None:
    con.execute(statement("corpus", "evidence"), {"first": first, "last": last, "among": among})
    con.execute(statement("corpus", "matched"), {"by_title": not among})
    con.execute(statement("corpus", "resolved_more"))
