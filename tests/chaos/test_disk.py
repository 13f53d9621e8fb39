"""A disk that is full, and one that cannot be written: a small file system of its own in memory, as root."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rar_pipeline.settings import Settings

from ..small_world import materialise
from .scratch import DATASET, LlmServer, copy_of, failure, fill, kept_answers, remount, small_disk, unread

PART = f"dataset={DATASET}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 64) as found:
        yield found


@pytest.fixture
def settings(whole: Settings, disk: Path) -> Settings:
    """Settings of a copy of the lake on a disk of its own."""
    return copy_of(whole, disk / "lake")


def left(settings: Settings) -> list[Path]:
    return [path for path in settings.lake.rglob(".*") if path.suffix in (".part", ".old")]


# an asset, what is taken away so that it is made again, where what it writes lies, and bytes of room
WRITTEN = (
    ("movies", "world/corpus/movies", "world/corpus/", 4096),
    ("item_embeddings", "world/corpus/item_embeddings", "corpus/item_embeddings", 65536),
    ("item_embeddings", "embeddings", "embeddings", 65536),
    ("metrics", f"world/evaluation/metrics/{PART}", "evaluation/metrics", 4096),
    ("recommendations", "world/evaluation/bm25", "evaluation/bm25", 131072),
    ("round_0/retriever", f"world/retriever/round_0/{PART}", "retriever/attempts", 65536),  # a checkpoint
    ("round_1/retriever", f"world/retriever/round_1/{PART}", "retriever/round_1", 65536),  # a version
    ("champion", f"world/evaluation/champion/{PART}", "champion", 131072),
    ("report", "world/evaluation/report", "report", 65536),
    ("database", "world/rar.duckdb", "rar.duckdb", 4096),
)


@pytest.mark.parametrize(("asset", "taken", "place", "room"), WRITTEN)
def test_a_full_disk_is_told_in_one_line_leaves_nothing_half_and_the_next_run_succeeds(
    settings: Settings, disk: Path, asset: str, taken: str, place: str, room: int
) -> None:
    target = settings.lake / taken
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    if taken == "embeddings":
        (settings.root / "corpus/item_embeddings/data.parquet").unlink()
    ballast = fill(disk, room)
    said = failure(materialise(settings, asset))
    assert "disk is full" in said
    assert str(settings.lake) in said
    assert place in said
    assert left(settings) == []
    assert unread(settings) == []
    ballast.unlink()
    assert materialise(settings, asset).success


@pytest.mark.parametrize("room", [0, 81920])
def test_a_full_disk_ends_the_questions_and_no_answer_is_lost_or_paid_for_twice(
    settings: Settings, server: LlmServer, disk: Path, room: int
) -> None:
    other = settings.model_copy(update={"llm_model": f"with {room} bytes", "objective": "pl_rloo"})  # knows no answer yet
    before, asked = kept_answers(other), server.noted("asked")
    ballast = fill(disk, room)
    said = failure(materialise(other, "round_1/feedback"))
    assert str(other.lake) in said
    assert "make room" in said
    ballast.unlink()
    kept, new = kept_answers(other), server.noted("asked") - asked
    assert before <= kept
    assert len(new) <= kept - before + other.llm_concurrency
    assert materialise(other, "round_1/feedback").success
    again = server.noted("asked") - asked
    assert sum(again.values()) - len(again) <= other.llm_concurrency, "only what could not be kept"
    assert kept_answers(other) == before + len(again)


@pytest.mark.parametrize(
    ("asset", "taken"),
    [
        ("movies", "world/corpus/movies/data.parquet"),
        ("round_0/retriever", f"world/retriever/round_0/{PART}/retriever.json"),
        ("round_1/feedback", f"world/preference/round_1_feedback/{PART}/data.parquet"),
        ("database", "world/rar.duckdb"),
        ("report", "world/evaluation/report/report.html"),
    ],
)
def test_a_read_only_lake_is_told_in_one_line_and_stays_as_it_is(settings: Settings, disk: Path, asset: str, taken: str) -> None:
    (settings.lake / taken).unlink()
    before = sorted((path, path.stat().st_mtime_ns) for path in settings.lake.rglob("*"))
    remount(disk, "ro")
    said = failure(materialise(settings, asset))
    assert "read-only" in said or "readonly" in said
    assert str(settings.lake) in said
    assert sorted((path, path.stat().st_mtime_ns) for path in settings.lake.rglob("*")) == before
    remount(disk, "rw")
    assert materialise(settings, asset).success
