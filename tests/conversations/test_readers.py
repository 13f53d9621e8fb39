"""The readers of the publishers' files: what a turn is, what a mention is, what is left out and counted."""

import gzip
import json
from pathlib import Path

import pytest

from rar_pipeline.conversations import inspired, reddit, redial
from rar_pipeline.conversations.cases import build_cases
from rar_pipeline.conversations.reading import Turn, in_share, merge_turns, tables_of
from rar_pipeline.errors import RarError


def redial_line(number: int, messages: list[tuple[int, str]], **extra: object) -> str:
    record = {
        "conversationId": str(number),
        "initiatorWorkerId": 0,
        "respondentWorkerId": 1,
        "movieMentions": {"1": "Heat  (1995)", "2": "Ronin &amp; Co (1998)", "3": None},
        "initiatorQuestions": {"1": {"suggested": 0, "seen": 1, "liked": 0}},
        "respondentQuestions": [],
        "messages": [{"senderWorkerId": who, "text": text} for who, text in messages],
    }
    return json.dumps({**record, **extra})


@pytest.fixture
def redial_files(tmp_path: Path) -> dict[str, Path]:
    train, test = tmp_path / "train_data.jsonl.gz", tmp_path / "test_data.jsonl"
    talk = [(0, "Hi"), (0, "I saw @1"), (1, "Try @2  or @9"), (0, "ok @2")]
    with gzip.open(train, "wt") as lines:
        lines.write(redial_line(1, talk) + "\n{not json\n" + redial_line(2, talk[:2], truncated=True, movieMentions=[]) + "\n")
    test.write_text(redial_line(3, talk) + "\n")
    sequences = tmp_path / "movie_sequences.jsonl"
    movies = [{"id": 1, "liked": 1}, {"id": 2, "liked": 0}]
    sequences.write_text("".join(json.dumps({"conversationId": number, "movies": movies}) + "\n" for number in (2, 7)))
    names = tmp_path / "movies_with_mentions.csv"
    names.write_text("movieId,movieName,nbMentions\n1,Heat  (1995),3\n2,Ronin (1998),0\n9,Alien ,4\n")
    return {
        "redial/train_data.jsonl": train,
        "redial/test_data.jsonl": test,
        "redial/movie_sequences.jsonl": sequences,
        "redial/movies_with_mentions.csv": names,
    }


def test_redial_turns_hold_names_not_markers_and_mentions_keep_their_order(redial_files: dict[str, Path]) -> None:
    found = redial.read(redial_files, validation_share=0.000001)
    first = found.conversations[0]
    assert [(turn.speaker, turn.text) for turn in first.turns] == [
        ("seeker", "Hi I saw Heat (1995)"),
        ("recommender", "Try Ronin & Co (1998) or Alien"),
        ("seeker", "ok Ronin & Co (1998)"),
    ]
    assert [movie.source_id for turn in first.turns for movie in turn.movies] == ["1", "2", "9", "2"]
    assert first.turns[0].movies[0].liked == 0  # the seeker's own form
    assert found.dropped == {"redial/train_data.jsonl: malformed line": 1}


def test_redial_sequences_extend_what_is_cut_off_and_stand_for_what_has_no_text(redial_files: dict[str, Path]) -> None:
    by_id = {c.dialogue_id: c for c in redial.read(redial_files, 0.000001).conversations}
    assert [movie.source_id for movie in by_id["2"].sequence] == ["2"]  # 1 is in the text already
    assert by_id["7"].turns == [] and [movie.source_id for movie in by_id["7"].sequence] == ["1", "2"]
    assert by_id["3"].split == "test" and by_id["3"].sequence == []


def test_redial_without_its_test_file_says_which_file(redial_files: dict[str, Path]) -> None:
    del redial_files["redial/test_data.jsonl"]
    with pytest.raises(RarError, match=r"redial/test_data\.jsonl: missing"):
        redial.read(redial_files, 0.1)


def test_a_cut_off_gzip_names_the_file(redial_files: dict[str, Path]) -> None:
    path = redial_files["redial/train_data.jsonl"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RarError, match=r"train_data\.jsonl\.gz: damaged"):
        redial.read(redial_files, 0.1)


def test_inspired_joins_utterances_and_splits_movie_lists(tmp_path: Path) -> None:
    header = "dialog_id\tutt_id\tspeaker\tturn_id\ttext\tmovies\n"
    rows = [
        'd1\t1\tRECOMMENDER\t1\tHi QUOTATION_MARKyouQUOTATION_MARK "so\t\n',
        "d1\t2\tSEEKER\t2\tI like It\tIt (2017);  It (1990)\n",
        "d1\t3\tSEEKER\t2\tand Up\tUp (2009)\n",
        "d1\t4\tROBOT\t2\tbeep\t\n",
    ]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(header + "".join(rows))
    found = inspired.read({f"inspired/{name}.tsv": tmp_path / f"{name}.tsv" for name in ("train", "dev", "test")}, 0.1)
    assert [c.split for c in found.conversations] == ["train", "validation", "test"]
    turns = found.conversations[0].turns
    assert [turn.text for turn in turns] == ['Hi "you" "so', "I like It and Up"]
    assert [movie.text for movie in turns[1].movies] == ["It (2017)", "It (1990)", "Up (2009)"]
    assert found.dropped == {f"inspired/{name}.tsv: malformed row": 1 for name in ("train", "dev", "test")}


def test_inspired_with_another_schema_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(RarError, match=r"train\.tsv: expected columns .*movies"):
        inspired.read({"inspired/train.tsv": tmp_path / "train.tsv"}, 0.1)


def test_reddit_keeps_replies_of_one_thread_in_one_split(tmp_path: Path) -> None:
    post = "USER: Films like Heat (1995)?\nSYSTEM: Ronin\nUSER: more"
    lines = [
        {
            "sample_id": f"train_{n}",
            "conversation": post,
            "seen_titles": ["Ronin", "Heat"],
            "groundtruth": [{"name": "Thief", "year": "1981"}],
        }
        for n in range(4)
    ]
    path = tmp_path / "reddit_v2_sample_4.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"conversation": 3}\n')
    found = reddit.read({"reddit/reddit_v2_sample_4.jsonl": path}, 0.1)
    assert len({c.split for c in found.conversations}) == 1
    turns = found.conversations[0].turns
    assert [turn.speaker for turn in turns] == ["seeker", "recommender", "seeker", "recommender"]
    assert [[movie.text for movie in turn.movies] for turn in turns] == [["Heat"], ["Ronin"], [], ["Thief (1981)"]]
    assert found.dropped == {"reddit/reddit_v2_sample_4.jsonl: malformed line": 1}


def test_consecutive_messages_of_one_speaker_are_one_turn() -> None:
    turns = merge_turns([Turn("seeker", "a"), Turn("seeker", "b"), Turn("recommender", "c"), Turn("seeker", "d")])
    assert [(turn.speaker, turn.text) for turn in turns] == [("seeker", "a b"), ("recommender", "c"), ("seeker", "d")]


def test_a_share_is_about_its_size_and_never_changes() -> None:
    chosen = [number for number in range(10_000) if in_share(str(number), 0.1, "x")]
    assert 900 < len(chosen) < 1100
    assert chosen == [number for number in range(10_000) if in_share(str(number), 0.1, "x")]


def test_cases_ask_for_new_movies_only(redial_files: dict[str, Path]) -> None:
    found = redial.read(redial_files, 0.000001)
    turns, mentions = tables_of("redial", found.conversations)
    linked = mentions.with_columns(
        movie_id=mentions["source_id"].replace_strict({"1": "tt1", "2": "tt2", "9": None}, default=None)
    )
    cases = {row["case_id"]: row for row in build_cases(turns, linked).iter_rows(named=True)}
    test = cases["3:1"]
    assert test["history"] == ["tt1"] and test["targets"] == ["tt2"] and test["unlinked_targets"] == 1
    assert test["context"] == "Seeker: Hi I saw Heat (1995)"
    assert "3:2" not in cases, "what is named again is no target, and seekers' turns are not scored"
    assert "1:0" not in cases, "a turn without any earlier turn cannot be asked"
    assert cases["7:1"]["origin"] == "sequence" and cases["7:1"]["disliked"] == ["tt2"]


def test_two_ids_of_one_movie_are_two_targets_of_which_one_cannot_be_had(redial_files: dict[str, Path]) -> None:
    turns, mentions = tables_of("redial", redial.read(redial_files, 0.000001).conversations)
    linked = mentions.with_columns(
        movie_id=mentions["source_id"].replace_strict({"1": "tt1", "2": "tt1", "9": "tt9"}, default=None)
    )
    cases = {row["case_id"]: row for row in build_cases(turns, linked).iter_rows(named=True)}
    assert cases["3:1"]["targets"] == ["tt9"] and cases["3:1"]["unlinked_targets"] == 1


def test_the_mirror_gives_the_published_number_of_cases(mirror: Path) -> None:
    files = {f"redial/{path.name.removesuffix('.gz')}": path for path in (mirror / "redial").iterdir()}
    turns, mentions = tables_of("redial", redial.read(files, 0.1).conversations)
    by_source = mentions.with_columns(movie_id=mentions["source_id"])
    assert dict(build_cases(turns, by_source)["split"].value_counts().iter_rows())["test"] == 2479
