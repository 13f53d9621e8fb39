"""What a second run does: nothing where nothing changed, what depends on a change, and the same table after any kill."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from rar_pipeline.definitions import build_defs
from rar_pipeline.defs.corpus import MOVIE_PUBLISHERS
from rar_pipeline.files import sha256_of
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, ITEM_EMBEDDINGS, MENTIONS, MOVIES, TITLES

from .small_world import small_encoder, small_settings, small_world

CORPUS = [*(f"source_movies/{source}" for source in MOVIE_PUBLISHERS), "movies", "title_index", "item_embeddings"]
CONVERSATIONS = ["dialogues", "mentions", "cases"]
RETRIEVERS = ("pretrained/retriever", "round_0/retriever")


def materialise(settings: Settings, *more: str) -> dict[str, bool]:
    """Whether each asset of the corpus, the conversations and `more` was made now (True) or kept (False)."""
    keys = [dg.AssetKey(key.split("/")) for key in (*CORPUS, *CONVERSATIONS, *more)]
    raw = [dg.AssetKey(["raw", publisher]) for publisher in (*MOVIE_PUBLISHERS, "redial", "inspired", "reddit")]
    job = build_defs(settings=settings).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="redial", asset_selection=[*raw, *keys])
    assert result.success
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
    made = {}
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        flag = metadata.get("made_now") or metadata.get("trained_now")
        made[event.asset_key.to_user_string()] = bool(flag.value) if flag else True
    return {key: flag for key, flag in made.items() if not key.startswith("raw/")}


def tables(settings: Settings) -> dict[str, str]:
    return {
        str(path.relative_to(settings.root)): sha256_of(path)
        for stage in ("corpus", "conversations")
        for path in sorted((settings.root / stage).rglob("data.parquet"))
    }


def append(file: Path, line: str) -> None:
    file = file if file.exists() else file.with_name(file.name + ".gz")
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        text = lines.read()
    with opener(file, "wt", encoding="utf-8") as sink:
        sink.write(text.rstrip("\n") + "\n" + line + "\n")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A world with a trained retriever of round 0. Tests add to it, none takes away."""
    folder = tmp_path_factory.mktemp("incremental")
    encoder = str(small_encoder(folder / "encoder"))
    settings = small_settings(small_world(folder / "world"), folder / "lake", encoder=encoder, plot_characters=300)
    assert all(materialise(settings, *RETRIEVERS).values())
    return settings


def test_nothing_is_made_again_where_nothing_changed(settings: Settings) -> None:
    before = tables(settings)
    assert not any(materialise(settings, *RETRIEVERS).values())
    assert tables(settings) == before


def test_a_changed_source_redoes_what_depends_on_it_and_nothing_else(settings: Settings) -> None:
    record = {
        "imdbID": "tt9900001",
        "Title": "A Film Nobody Spoke Of",
        "Year": "1931",
        "Type": "movie",
        "Director": "Ann Onymous",
    }
    append(Path(settings.sources) / "omdb" / "movies.jsonl", json.dumps(record))
    made = materialise(settings, *RETRIEVERS)
    assert {key for key, now in made.items() if now} == {
        "source_movies/omdb",
        "movies",
        "title_index",
        "item_embeddings",
        "mentions",
    }
    # the mentions came out as they were, so cases and retriever were not touched


def test_a_change_that_says_nothing_new_stops_where_it_is_found_out(settings: Settings) -> None:
    append(Path(settings.sources) / "tmdb" / "movies.jsonl", "")
    file = Path(settings.sources) / "wikidata" / "films.jsonl"
    append(file, "\n")
    made = materialise(settings)
    assert made["source_movies/wikidata"]
    assert not made["movies"]


def test_a_movie_of_tomorrows_dump_is_retrieved_without_training(settings: Settings) -> None:
    import torch

    from rar_pipeline.defs.retriever import encoder, read_catalogue
    from rar_pipeline.retriever.examples import build_queries
    from rar_pipeline.retriever.search import build_index, search
    from rar_pipeline.retriever.version import load

    plot = "A lighthouse keeper teaches penguins to play the tuba and enters them in a brass band contest."
    append(
        Path(settings.sources) / "imdb" / "title.basics.tsv",
        "tt9900002\tmovie\tTuba Penguins of the Lighthouse\tTuba Penguins of the Lighthouse\t0\t2027\t\\N\t101\tComedy,Music",
    )
    append(
        Path(settings.sources) / "tmdb" / "movies.jsonl",
        json.dumps({"id": 9900002, "imdb_id": "tt9900002", "title": "Tuba Penguins of the Lighthouse", "overview": plot}),
    )
    made = materialise(settings, *RETRIEVERS)
    assert made["movies"] and made["item_embeddings"]
    assert not made["round_0/retriever"]
    lake = Lake(root=str(settings.root))
    movie = lake.read(MOVIES).row(by_predicate=pl.col("movie_id") == "tt9900002", named=True)
    assert (movie["plot"], movie["year"], movie["sources"]) == (plot, 2027, ["imdb", "tmdb"])
    assert lake.read(ITEM_EMBEDDINGS).filter(movie_id="tt9900002").height == 1
    assert lake.read(TITLES).filter(movie_id="tt9900002").height >= 1

    catalogue = read_catalogue(lake)
    retriever, version = load(lake.folder("retriever", "round_0", "redial"))
    assert "tt9900002" not in version.known
    asked = "Seeker: I want a comedy about penguins who play the tuba in a brass band, with a lighthouse keeper"
    case = CASES.frame(
        [
            {
                "dataset": "redial",
                "split": "test",
                "case_id": "new/1",
                "context": asked,
                "history": [],
                "targets": [],
                "disliked": [],
            }
        ]
    )
    queries = build_queries(case, catalogue, encoder(settings, lambda line: None), turns=6, max_history=50)
    torch.manual_seed(0)
    found, _ = search(build_index(retriever, catalogue, version.known), queries, 20)
    assert "tt9900002" in [catalogue.movie_ids[row] for row in found[0]]


def test_a_damaged_table_is_made_again_although_nothing_changed(settings: Settings) -> None:
    file = settings.root / "corpus" / "title_index" / "data.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes(400) + whole[600:])
    assert materialise(settings)["title_index"]
    assert file.read_bytes() == whole
    (settings.root / "corpus" / "conflicts" / "data.parquet").unlink()
    made = materialise(settings)
    assert made["movies"]
    assert not made["title_index"]


RUN = """
import sys
from pathlib import Path
from tests.small_world import small_settings
from tests.test_incremental import materialise
settings = small_settings(Path(sys.argv[1]), Path(sys.argv[2]), encoder=sys.argv[3])
print("ready", flush=True)
materialise(settings)
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_next_run_ends_with_the_same_tables(tmp_path: Path) -> None:
    encoder = small_encoder(tmp_path / "encoder")
    world = small_world(tmp_path / "world")
    whole = small_settings(world, tmp_path / "whole", encoder=str(encoder))
    materialise(whole)
    expected = tables(whole)
    command = [sys.executable, "-c", RUN, str(world), str(tmp_path / "killed"), str(encoder)]
    killed = small_settings(world, tmp_path / "killed", encoder=str(encoder))
    moments = random.Random(7)
    survived = 0
    for kill in range(10):
        shutil.rmtree(tmp_path / "killed", ignore_errors=True) if kill % 3 == 0 else None  # else it dies further on each time
        running = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent, start_new_session=True)
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(moments.uniform(0.2, 8))
        survived += running.poll() is not None
        os.killpg(running.pid, signal.SIGKILL) if running.poll() is None else None
        running.wait()
        running.stdout.close()
        for part in tables(killed):  # whatever lies there is whole
            pl.read_parquet(killed.root / part)
    assert survived < 8, "too quick to be killed: shorten the waits"
    materialise(killed)
    assert tables(killed) == expected
    assert killed.root.joinpath("conversations", MENTIONS.name).is_dir()
