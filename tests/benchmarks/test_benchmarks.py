"""Every benchmark runs on tiny inputs and prints rows that hold together. No figure is judged here: machines differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks import corpus_duckdb, corpus_ours, imdb_sqlite, linker_inputs
from benchmarks.measure import alternate, run
from benchmarks.report import Row, show
from rar_pipeline.errors import RarError
from tests.small_world import small_world

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world(tmp_path_factory.mktemp("benchmarks") / "world")


def rows_of(module: str, *arguments: object) -> list[dict[str, object]]:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--json", "--runs", "1", *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(rows: list[dict[str, object]], count: int) -> None:
    assert len(rows) == count
    for row in rows:
        assert {"name", "ours", "peer", "ratio", "peak_mb", "runs"} <= row.keys()
        assert row["ours"] > 0
        assert row["peak_mb"] > 10
        assert row["runs"] == 1
        if row["peer"]:
            assert row["ratio"] == pytest.approx(row["ours"] / row["peer"], rel=0.05)
    assert len({row["name"] for row in rows}) == count


def test_corpus(files: Path) -> None:
    rows = rows_of("corpus", "--files", files, "--without-imdb-sqlite")
    check(rows, 6)
    assert rows[-1]["peer"] is None


def test_linker(files: Path, tmp_path: Path) -> None:
    rows = rows_of("linker", "--files", files, "--lake", tmp_path / "none", "--mentions", 300, "--sample", 5)
    check(rows, 2)
    assert "300 different mentions" in str(rows[0]["work"])


def test_imdb_scale_leaves_nothing_of_its_own_and_everything_of_others(tmp_path: Path) -> None:
    size = ("--titles", 2000, "--principals", 15000, "--folder", tmp_path)
    check(rows_of("imdb_scale", *size, "--without-peer", "--keep"), 3)
    made = sorted((tmp_path / "imdb").iterdir())
    assert len(made) == 5
    check(rows_of("imdb_scale", *size), 3)
    assert sorted((tmp_path / "imdb").iterdir()) == made


def test_ours_and_the_peer_find_the_same_films(files: Path, tmp_path: Path) -> None:
    corpus_ours.main(files, tmp_path / "ours.parquet")
    corpus_duckdb.main(files, tmp_path / "peer.parquet")
    ours = pl.read_parquet(tmp_path / "ours.parquet").sort("imdb_id")
    peer = pl.read_parquet(tmp_path / "peer.parquet").sort("tconst")
    assert ours.height > 500
    assert ours["imdb_id"].to_list() == peer["tconst"].to_list()
    assert ours["directors"].to_list() == peer["directors"].fill_null([]).to_list()
    assert ours["rating"].to_list() == peer["rating"].to_list()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.corpus", "--files", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "title.basics.tsv.gz: no such file" in done.stderr


def test_mentions_are_all_different_and_the_same_every_time() -> None:
    names = ["The Matrix (1999)", "Alien (1979)", "Up"]
    mentions = linker_inputs.mentions_of(names, 60)
    assert mentions[:3] == names
    assert len(set(mentions)) == 60
    assert linker_inputs.mentions_of(names, 60) == mentions


def test_imdb_sqlite_finds_all_files_that_it_would_download(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "place" / "imdb_sqlite").mkdir(parents=True)
    monkeypatch.setattr(imdb_sqlite, "PLACE", tmp_path / "place")
    imdb_sqlite.command(files, tmp_path)
    wanted = {"name.basics", "title.basics", "title.akas", "title.principals", "title.episode", "title.ratings"}
    assert wanted <= {path.name.removesuffix(".tsv.gz") for path in (tmp_path / "imdb-sqlite").iterdir() if path.exists()}


def test_a_run_is_measured_and_a_failed_one_is_told() -> None:
    busy = [sys.executable, "-c", "x = bytearray(60_000_000); sum(range(5_000_000))"]
    idle = [sys.executable, "-c", "import time; time.sleep(0.3)"]
    taken = alternate({"busy": busy, "idle": idle}, 1)
    assert taken["busy"].peak_mb > 55
    assert taken["idle"].wall >= 0.3
    assert taken["idle"].cpu < taken["idle"].wall
    with pytest.raises(RarError, match="status 1: ValueError: no"):
        run([sys.executable, "-c", "raise ValueError('no')"])


def test_the_table_shows_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    work = "both did the same"
    show([Row.of("a, CPU", 2.0, 4.0, 100, 3, unit="s", goal="ratio <= 1", against="the peer", work=work)], as_json=False)
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("against the peer", "0.5", "ratio <= 1", work))
    assert os.linesep in printed
