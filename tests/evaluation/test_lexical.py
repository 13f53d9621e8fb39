"""BM25: words decide, the index is made once a corpus, what shares no word is not recommended."""

import shutil
from pathlib import Path

import pytest

from rar_pipeline import tables
from rar_pipeline.evaluation import lexical

FILMS = {
    "tt1": ("Paper Moon", "A con man and a girl sell bibles."),
    "tt2": ("The Sting", "Grifters con a mob boss."),
    "tt3": ("Whale Song", "Sailors hunt a whale across an ocean."),
}
MOVIES = tables.MOVIES.frame({"movie_id": key, "title": title, "plot": plot} for key, (title, plot) in FILMS.items())


def case(name: str, context: str, history: tuple[str, ...] = ()) -> dict[str, object]:
    place = {"dataset": "redial", "split": "test", "case_id": name, "dialogue_id": name}
    return place | {"context": context, "history": list(history), "targets": ["tt3"]}


def lists(folder: Path, *cases: dict[str, object], turns: int = 6) -> list[list[str]]:
    return lexical.bm25(MOVIES, tables.CASES.frame(cases), folder, turns=turns)["ranking"].to_list()


def test_shared_words_decide_and_nothing_else_is_recommended(tmp_path: Path) -> None:
    wish = "Seeker: Something about a whale and sailors"
    assert lists(tmp_path, case("a", wish), case("b", "Seeker: xyzzy"), case("c", "")) == [["tt3"], [], []]


def test_what_the_named_movies_are_about_counts_and_they_themselves_are_left_out(tmp_path: Path) -> None:
    assert lists(tmp_path, case("a", "Seeker: more like that, please", history=("tt1",))) == [["tt2"]]


def test_only_the_last_turns_are_read(tmp_path: Path) -> None:
    long_ago = case("a", "Seeker: a whale\nRecommender: fine\nSeeker: grifters, rather")
    assert lists(tmp_path, long_ago, turns=1) == [["tt2"]]


def test_the_index_is_made_once_for_the_same_texts_and_anew_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lexical.kept_index(["a whale", "a boat"], tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    again = lexical.kept_index(["a whale", "a boat"], tmp_path)
    assert first.get_scores(["whale"]).tolist() == again.get_scores(["whale"]).tolist()
    assert kept.stat().st_mtime_ns == written
    lexical.kept_index(["a whale", "a train"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] != [kept.name]
    assert len(list(tmp_path.iterdir())) == 1
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert (
        lexical.kept_index(["a whale", "a boat"], tmp_path).get_scores(["whale"]).tolist() == first.get_scores(["whale"]).tolist()
    )
