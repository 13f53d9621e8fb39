"""Files of the lake that are cut off, overwritten or empty: what reads one says so in one line, and making it again heals it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rar_pipeline.files import sha256_of
from rar_pipeline.settings import Settings

from ..small_world import materialise
from .scratch import DATASET, failure, kept_answers, unread


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwritten(content: bytes) -> bytes:
    """Another kilobyte in the middle, as a bad sector leaves it."""
    middle = len(content) // 2
    width = min(1024, len(content) // 4)
    return content[:middle] + bytes(range(256)) * (width // 256) + b"\xff" * (width % 256) + content[middle + width :]


def emptied(content: bytes) -> bytes:
    return b""


PART = f"dataset={DATASET}"
# file, the asset that makes it, an asset that reads it, how it is damaged
TABLES = (
    ("sources/raw_files/dataset=imdb/data.parquet", "raw/imdb", "source_movies/imdb", cut),
    ("corpus/movies/data.parquet", "movies", "item_embeddings", cut),
    ("corpus/movies/data.parquet", "movies", "recommendations", overwritten),
    ("corpus/movies/data.parquet", "movies", "item_embeddings", emptied),
    ("corpus/title_index/data.parquet", "title_index", "recommendations", overwritten),
    ("corpus/item_embeddings/data.parquet", "item_embeddings", "round_0/retriever", overwritten),
    (f"conversations/cases/{PART}/data.parquet", "cases", "round_1/feedback", emptied),
    (f"preference/round_1_feedback/{PART}/data.parquet", "round_1/feedback", "round_1/preferences", cut),
    (f"evaluation/recommendations/{PART}/data.parquet", "recommendations", "metrics", cut),
    ("retriever/pretrained/dataset=all/retriever.json", "pretrained/retriever", "round_0/retriever", cut),
    (f"retriever/round_0/{PART}/retriever.json", "round_0/retriever", "round_1/feedback", overwritten),
    (f"retriever/round_0/{PART}/retriever.safetensors", "round_0/retriever", "round_1/feedback", cut),
    (f"retriever/round_0/{PART}/retriever.safetensors", "round_0/retriever", "round_1/feedback", overwritten),
    (f"retriever/round_1/{PART}/retriever.safetensors", "round_1/retriever", "recommendations", emptied),
)


@pytest.mark.parametrize(("file", "maker", "reader", "damage"), TABLES)
def test_what_reads_a_damaged_file_names_it_and_its_asset_heals_it(
    settings: Settings, file: str, maker: str, reader: str, damage: Callable[[bytes], bytes]
) -> None:
    path = settings.root / file
    before = sha256_of(path)
    path.write_bytes(damage(path.read_bytes()))
    said = failure(materialise(settings, reader))
    assert str(path) in said
    assert "materialise the asset" in said
    assert materialise(settings, maker).success
    assert materialise(settings, reader).success
    assert sha256_of(path) == before, "as it was, byte for byte"
    assert unread(settings) == []


# what is only a shortcut is made anew without a word being needed
SHORTCUTS = (
    ("world/corpus/movies/expectations.json", "movies"),
    ("world/evaluation/bm25/*/data.csc.index.npy", "recommendations"),
    ("world/evaluation/bm25/*/vocab.index.json", "recommendations"),
    ("world/rar.duckdb", "database"),
    ("embeddings/*/part-*.parquet", "item_embeddings"),
)


@pytest.mark.parametrize("damage", [cut, overwritten])
@pytest.mark.parametrize(("pattern", "maker"), SHORTCUTS)
def test_what_can_be_had_anew_is(settings: Settings, pattern: str, maker: str, damage: Callable[[bytes], bytes]) -> None:
    paths = list(settings.lake.glob(pattern))
    assert paths
    for path in paths:
        path.write_bytes(damage(path.read_bytes()))
    if maker == "item_embeddings":
        (settings.root / "corpus/item_embeddings/data.parquet").unlink()
    assert materialise(settings, maker).success


@pytest.mark.parametrize("damage", [cut, overwritten, emptied])
@pytest.mark.parametrize("name", ["champion.json", "history.json"])
def test_a_damaged_record_of_the_champion_is_named(settings: Settings, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = settings.root / f"evaluation/champion/{PART}/{name}"
    path.write_bytes(damage(path.read_bytes()))
    said = failure(materialise(settings, "champion"))
    assert str(path) in said
    path.unlink()
    assert materialise(settings, "champion").success


@pytest.mark.parametrize("damage", [cut, overwritten])
def test_a_damaged_answer_cache_is_named_and_nothing_is_asked_into_it(
    settings: Settings, damage: Callable[[bytes], bytes]
) -> None:
    cache = settings.lake / "answers" / "answers.sqlite"
    answers = kept_answers(settings)
    cache.write_bytes(damage(cache.read_bytes()))
    (settings.root / f"preference/round_1_feedback/{PART}/data.parquet").unlink()
    said = failure(materialise(settings, "round_1/feedback"))
    assert str(cache) in said
    cache.rename(cache.with_suffix(".broken"))
    assert materialise(settings, "round_1/feedback", "recommendations").success
    assert kept_answers(settings) <= answers
