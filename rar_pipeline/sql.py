"""SQL text of the project: one statement a file, `sql/<stage>/<table>.sql`, named after the table that it makes.

Values never go into the text: they are bound as parameters where the statement is run.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rar_pipeline.errors import RarError
from rar_pipeline.settings import PROJECT


@cache
def statement(stage: str, name: str, root: Path = PROJECT / "sql") -> str:
    """Text of the statement that makes table `name` of `stage`.

    Raises RarError where the file does not exist.
    """
    path = root / stage / f"{name}.sql"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RarError(f"{path}: no such statement; expected one SQL file a table under sql/{stage}/") from None
