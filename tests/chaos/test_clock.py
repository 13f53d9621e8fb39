"""A clock that jumped: files, answers and records from years ahead, or of 1970. Nothing is done again for it, and nothing goes that should stay."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest

from rar_pipeline.files import sha256_of
from rar_pipeline.settings import Settings

from ..small_world import materialise
from .scratch import DATASET, LlmServer

MADE = ("movies", "title_index", "item_embeddings", "dialogues", "mentions", "cases")


@pytest.mark.parametrize("year", [1970, 2060])
def test_neither_the_future_nor_1970_makes_anything_again(settings: Settings, server: LlmServer, year: int) -> None:
    seconds = (year - 1970) * 31_557_600 + 1
    with closing(sqlite3.connect(settings.lake / "answers" / "answers.sqlite")) as kept:
        for table in ("answers", "requests"):
            kept.execute(f"update {table} set asked_at = '{year}-01-01T00:00:00Z'")
        kept.commit()
    folder = settings.root / "evaluation" / "champion" / f"dataset={DATASET}"
    for name in ("champion.json", "history.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("2026-", f"{year}-"))
    for path in settings.lake.rglob("*"):
        os.utime(path, (seconds, seconds))
    before = {path: sha256_of(path) for path in settings.root.rglob("*") if path.suffix in (".parquet", ".safetensors")}
    asked = server.noted("asked")
    result = materialise(
        settings, *MADE, "round_0/retriever", "round_1/feedback", "round_1/retriever", "recommendations", "champion"
    )
    assert result.success
    for key in MADE:
        (event,) = result.asset_materializations_for_node(key)
        assert event.metadata["made_now"].value is False
    assert {path: sha256_of(path) for path in before} == before
    assert server.noted("asked") == asked
    assert json.loads((folder / "champion.json").read_text())["version"]
