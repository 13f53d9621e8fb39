"""Where each boundary table lies in the lake, and which asset makes it. A word in angle brackets stands for each of its kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rar_pipeline.tables import CHAT, DATASETS, INT, STR, Column, Table

# what the path of a file says and its rows do not
FROM_PATH = {
    "round": Column("round", INT, "Number of the preference round, from 1; read from the file's path"),
    "dataset": Column("dataset", STR, "redial, inspired or reddit; read from the file's path"),
}
PARTS = {"round": r"(\d+)", "dataset": "([^/]+)", "publisher": "([^/]+)", "source": "([^/]+)"}


@dataclass(frozen=True)
class Place:
    """An asset and the parquet file that it writes, relative to the lake's root."""

    asset: str
    file: str

    @property
    def pattern(self) -> str:
        """The file as a glob."""
        return re.sub("<[a-z]+>", "*", self.file)

    def path_columns(self, table: Table) -> dict[Column, str]:
        """Columns that only the path tells, each with the regular expression whose first group is its value."""
        told = [name for name in re.findall("<([a-z]+)>", self.file) if name in FROM_PATH and name not in table.schema]
        return {FROM_PATH[name]: self._regex(name) for name in told}

    def _regex(self, name: str) -> str:
        before, after = self.file.split(f"<{name}>")
        words = [re.sub(r"<[a-z]+>", "[^/]+", re.sub(r"\.", r"\.", part)) for part in (before, after)]
        return f"{words[0]}{PARTS[name]}{words[1]}$"


# tables that one asset writes beside its own
_BESIDE = {"provenance": "movies", "placements": "movies", "conflicts": "movies", "aliases": "movies"}
_KEPT_TWICE = {"unlinked_mentions": "dialogues"}  # by the name under which a table is kept a second time
_APART = {
    "raw_files": Place("raw/<publisher>", "sources/raw_files/dataset=<publisher>/data.parquet"),
    "source_movies": Place("source_movies/<source>", "corpus/source_movies/dataset=<source>/data.parquet"),
    "feedback": Place("round_<round>/feedback", "preference/round_<round>_feedback/dataset=<dataset>/data.parquet"),
    "preferences": Place("round_<round>/preferences", "preference/round_<round>_preferences/dataset=<dataset>/data.parquet"),
    "leaderboard": Place("leaderboard", "evaluation/leaderboard/data.parquet"),
}


def place(table: Table) -> Place:
    """Where a table lies: under its own name, a file a data set where its rows name one, unless it is listed above."""
    part = "dataset=<dataset>/" if "dataset" in table.schema else ""
    own = Place(_BESIDE.get(table.name, table.name), f"{table.stage}/{table.name}/{part}data.parquet")
    return _APART.get(table.name, own)


def made_by(table: Table, part: str | None = None, name: str | None = None) -> str:
    """The asset that makes a file of a table, as Dagster names it, with its partition where it has one; `part`, `name`: see `resources.Lake`."""
    if part == CHAT:
        return "chat_cases"
    where = place(table)
    key = _KEPT_TWICE.get(name or "", where.asset)
    key = re.sub("<(publisher|source)>", part or r"<\1>", key)
    if found := re.match(r"round_(\d+)_", name or ""):
        key = key.replace("<round>", found[1])
    return f"{key} (partition {part})" if part in DATASETS and "<dataset>" in where.file else key
