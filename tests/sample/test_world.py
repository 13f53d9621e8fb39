"""The raw files of the sample world: publishers' layouts, typical dirt, the same bytes for the same seed."""

import csv
import gzip
import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys

import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.sample import write
from rar_pipeline.sample.extras import extras
from rar_pipeline.sample.films import load_films
from rar_pipeline.sample.phrases import UNLISTED
from rar_pipeline.sample.write import Sizes, write_sample_world

SMALL = Sizes(redial_train=300, redial_test=40, inspired_train=60, inspired_dev=8, inspired_test=8, reddit_threads=30)
TINY = Sizes(redial_train=4, redial_test=2, inspired_train=2, inspired_dev=1, inspired_test=1, reddit_threads=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "world"
    write_sample_world(folder, seed=0, sizes=SMALL)
    return folder


@pytest.fixture(scope="module")
def films():
    return load_films()


def text(world, name):
    return gzip.decompress((world / f"{name}.gz").read_bytes()).decode()


def tsv(world, name):
    header, *rows = (line.split("\t") for line in text(world, name).rstrip("\n").split("\n"))
    assert all(len(row) == len(header) for row in rows)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def table(world, name):
    return list(csv.DictReader(io.StringIO(text(world, name))))


def records(world, name):
    return [json.loads(line) for line in text(world, name).splitlines()]


def prints(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")}


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path):
    program = (
        "import sys, pathlib; from rar_pipeline.sample.write import Sizes, write_sample_world; "
        f"write_sample_world(pathlib.Path(sys.argv[1]), seed=5, sizes={TINY!r})"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], env=os.environ | {"PYTHONHASHSEED": "11"}, check=True)
    write_sample_world(tmp_path / "b", seed=5, sizes=TINY)
    write_sample_world(tmp_path / "c", seed=6, sizes=TINY)
    assert prints(tmp_path / "a") == prints(tmp_path / "b")
    assert prints(tmp_path / "c")["redial/train_data.jsonl.gz"] != prints(tmp_path / "b")["redial/train_data.jsonl.gz"]


def test_an_older_world_is_replaced_and_anything_else_is_left_alone(tmp_path):
    write_sample_world(tmp_path / "world", seed=1, sizes=TINY)
    write_sample_world(tmp_path / "world", seed=2, sizes=TINY)
    assert json.loads((tmp_path / "world" / write.MARK).read_text())["seed"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(RarError, match="not a sample world"):
        write_sample_world(tmp_path / "mine", sizes=TINY)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_world_that_breaks_off_is_never_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "write_reddit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_sample_world(tmp_path / "world", sizes=TINY)
    assert list(tmp_path.iterdir()) == []


def test_imdb_files_have_imdbs_columns_and_what_a_corpus_must_leave_out(world, films):
    header, basics = tsv(world, "imdb/title.basics.tsv")
    assert " ".join(header) == "tconst titleType primaryTitle originalTitle isAdult startYear endYear runtimeMinutes genres"
    kinds = {row["titleType"] for row in basics}
    assert {"movie", "short", "tvSeries", "tvEpisode", "videoGame", "tvMovie", "video"} <= kinds
    assert any(row["isAdult"] == "1" for row in basics)
    assert any(row["startYear"] == r"\N" for row in basics)
    assert any("&amp;" in row["primaryTitle"] for row in basics)
    assert len({row["tconst"] for row in basics}) == len(basics)
    kept = [row for row in basics if row["titleType"] in ("movie", "tvMovie", "video") and row["isAdult"] == "0"]
    assert len(kept) == len(films) + sum(extra.kept for extra in extras(films))
    for name, columns in {
        "title.ratings": "tconst averageRating numVotes",
        "title.crew": "tconst directors writers",
        "title.principals": "tconst ordering nconst category job characters",
        "name.basics": "nconst primaryName birthYear deathYear primaryProfession knownForTitles",
    }.items():
        header, rows = tsv(world, f"imdb/{name}.tsv")
        assert header == columns.split()
        assert rows
    for name in ("title.akas", "title.episode"):
        assert tsv(world, f"imdb/{name}.tsv")[1] == []


def test_a_series_bears_the_name_of_a_known_film(world):
    _, basics = tsv(world, "imdb/title.basics.tsv")
    movies = {row["primaryTitle"] for row in basics if row["titleType"] == "movie"}
    assert any(row["primaryTitle"] in movies for row in basics if row["titleType"] == "tvSeries")


def test_movielens_moves_articles_and_writes_bare_padded_ids(world):
    titles = [row["title"] for row in table(world, "movielens/ml-32m/movies.csv")]
    assert any(re.search(r", The (\(.+\) )?\(\d{4}\)$", title) for title in titles)
    assert not all(re.search(r"\(\d{4}\)$", title) for title in titles)
    links = table(world, "movielens/ml-32m/links.csv")
    assert all(re.fullmatch(r"\d{7}", row["imdbId"]) for row in links)
    assert any(row["tmdbId"] == "" for row in links)
    assert len(links) < len(titles)


def test_every_plot_is_told_by_a_source_that_names_the_imdb_id(world, films):
    tmdb, omdb = records(world, "tmdb/movies.jsonl"), records(world, "omdb/movies.jsonl")
    told = {row["imdb_id"]: html.unescape(row["overview"]) for row in tmdb if row["imdb_id"] and row["overview"]}
    told |= {row["imdbID"]: row["Plot"] for row in omdb if row["Plot"] != "N/A"}
    assert {film.imdb_id: film.plot for film in films} == told


def test_tmdb_omdb_wikidata_and_wikipedia_records_look_like_the_publishers(world, films):
    tmdb = records(world, "tmdb/movies.jsonl")
    assert all(" ".join(row) == "id imdb_id title release_date genres overview credits" for row in tmdb)
    assert {len(row["release_date"]) for row in tmdb} == {4, 10}
    assert any(row["imdb_id"] is None for row in tmdb)
    assert any(row["overview"] == "" for row in tmdb)
    assert any("&#x27;" in row["overview"] for row in tmdb)
    omdb = records(world, "omdb/movies.jsonl")
    assert all(" ".join(row) == "imdbID Title Year Genre Director Actors Plot Type Response" for row in omdb)
    assert all(any(row[field] == "N/A" for row in omdb) for field in ("Year", "Genre", "Director", "Actors", "Plot"))
    wikidata = records(world, "wikidata/films.jsonl")
    assert all(" ".join(row) == "item imdb enwiki label year" for row in wikidata)
    by_label = {(film.title, film.year): film for film in films}
    articles = [row for path in sorted((world / "wikipedia").iterdir()) for row in json.loads(gzip.decompress(path.read_bytes()))]
    assert any(row["href"] is None and "extract" not in row for row in articles)
    for row in articles:
        if "extract" in row:
            assert row["extract"] == by_label[row["title"], row["year"]].plot


@pytest.fixture(scope="module")
def redial(world):
    return records(world, "redial/train_data.jsonl"), records(world, "redial/test_data.jsonl")


def test_redial_dialogues_have_redials_fields_and_dirt(world, redial):
    train, test = redial
    assert (len(train), len(test)) == (SMALL.redial_train, SMALL.redial_test)
    assert len({dialogue["conversationId"] for dialogue in train + test}) == len(train + test)
    names, answers = [], set()
    for dialogue in train + test:
        assert isinstance(dialogue["conversationId"], str)
        workers = {dialogue["initiatorWorkerId"], dialogue["respondentWorkerId"]}
        for message in dialogue["messages"]:
            assert list(message) == ["timeOffset", "text", "senderWorkerId", "messageId"]
            assert message["senderWorkerId"] in workers
        for form in ("initiatorQuestions", "respondentQuestions"):
            answers |= {answer["liked"] for answer in dict(dialogue[form] or {}).values()}
            assert set(dialogue[form] or {}) <= set(dialogue["movieMentions"])
        names += dict(dialogue["movieMentions"] or {}).values()
    assert answers == {0, 1, 2}
    assert any(dialogue["respondentQuestions"] == [] for dialogue in train)
    assert any(dialogue["movieMentions"] == [] for dialogue in train)
    assert any("  (" in name for name in names if name)
    assert None in names
    assert set(names) & set(UNLISTED)
    assert any(int(number) > 500_000 for dialogue in train for number in dialogue["movieMentions"]), "a second id of a film"
    assert any(not re.search(r"\(\d{4}\)", name) for name in names if name)
    assert any("&#39;" in message["text"] for dialogue in train for message in dialogue["messages"])


def test_redial_texts_name_films_by_id_only(redial, films):
    titles = [film.title for film in films if " " in film.title]
    for dialogue in [*redial[0], *redial[1]]:
        mentioned = set(dialogue["movieMentions"])
        for message in dialogue["messages"]:
            said = html.unescape(message["text"])
            assert set(re.findall(r"@(\d+)", said)) <= mentioned
            assert not re.search(r"\(\d{4}\)", said)
            assert not [title for title in titles if title in said]


def test_redial_counts_mentions_of_training_only(world, redial):
    assert "\r\n" in text(world, "redial/movies_with_mentions.csv")
    rows = table(world, "redial/movies_with_mentions.csv")
    assert list(rows[0]) == ["movieId", "movieName", "nbMentions"]
    counts = {row["movieId"]: int(row["nbMentions"]) for row in rows}
    assert sum(counts.values()) == sum(len(dialogue["movieMentions"]) for dialogue in redial[0])
    assert {number for dialogue in redial[1] for number in dialogue["movieMentions"]} <= set(counts)


def test_inspired_files_have_its_header_and_some_titles_go_unannotated(world, films):
    labels = {film.label for film in films}
    unannotated = 0
    for split, size in (("train", 60), ("dev", 8), ("test", 8)):
        header, rows = tsv(world, f"inspired/{split}.tsv")
        assert header[:7] == ["dialog_id", "utt_id", "speaker", "turn_id", "text", "text_with_placeholder", "movies"]
        assert len(header) == 19
        assert header[-1] == "movie_id"
        assert len({row["dialog_id"] for row in rows}) == size
        assert {row["speaker"] for row in rows} == {"SEEKER", "RECOMMENDER"}
        for row in rows:
            annotated = [name.strip() for name in row["movies"].split(";") if name]
            assert set(annotated) <= labels
            unannotated += row["expert_label"] == "offer_help" and not annotated
    assert unannotated > 0


def test_reddit_cases_and_catalogues_have_the_second_releases_shape(world, films):
    (path,) = (world / "reddit").glob("reddit_v2_sample_*.jsonl.gz")
    cases = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    assert path.name == f"reddit_v2_sample_{len(cases)}.jsonl.gz"
    assert len(cases) == 2 * SMALL.reddit_threads
    for case in cases:
        assert list(case) == ["sample_id", "conversation", "seen_titles", "groundtruth"]
        assert case["conversation"].startswith("USER: ")
        assert len(case["groundtruth"]) >= 3
        assert all(isinstance(answer["year"], str) for answer in case["groundtruth"])
    assert any("\nSYSTEM: " in case["conversation"] for case in cases)
    known = {(film.title, str(film.year)) for film in films}
    assert any((answer["name"], answer["year"]) not in known for case in cases for answer in case["groundtruth"])
    ids = json.loads(text(world, "reddit/entity2id.json"))
    assert ids == {film.label: film.imdb_id for film in films}
    assert sorted(json.loads(text(world, "reddit/item_ids.json"))) == sorted(ids.values())
    assert sorted(json.loads(text(world, "reddit/reddit_v2_gt_catalog.json"))) == sorted([f.title, f.year] for f in films)
