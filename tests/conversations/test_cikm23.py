"""The CIKM'23 test files: which turns count, what is new, what names mean, and what malformed files are told."""

import gzip
import json
from pathlib import Path

import pytest

from rar_pipeline.conversations import cikm23, heldout
from rar_pipeline.errors import RarError

ENTITIES = {
    "<http://dbpedia.org/resource/Hoffa_(film)>": 0,
    "<http://dbpedia.org/resource/It_(2017_film)>": 1,
    "<http://dbpedia.org/resource/It_(1990_film)>": 2,
    "<http://dbpedia.org/resource/Spider-Man:_Homecoming>": 3,
    "<http://dbpedia.org/resource/Drama>": 4,
}
ITEMS = [0, 1, 2, 3]


def turn(rec, context=("", "I like drama. Have you seen Hoffa (1992)?"), dialogue="test_0", **more):
    return {
        "context": list(context),
        "resp": "Try this",
        "rec": rec,
        "is_user": 0,
        "dialog_id": dialogue,
        "turn_id": "test_1",
    } | more


def folder(path: Path, rows, entities=ENTITIES, items=ITEMS) -> Path:
    path.mkdir(exist_ok=True)
    with gzip.open(path / "test.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.write("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    (path / "entity2id.json").write_text(json.dumps(entities))
    (path / "item_ids.json").write_text(json.dumps(items))
    return path


def read(path: Path) -> cikm23.CikmTest:
    _, files = heldout.test_files(path, "redial", None)
    return cikm23.read(*(files[name] for name in heldout.CIKM23))


def test_recommenders_turns_with_a_target_count_and_keep_their_place_in_the_file(tmp_path: Path) -> None:
    rows = [turn([1], is_user=1), turn([]), turn([1, 3], prev_entity=[4, 0])]
    found = read(folder(tmp_path, rows))
    assert [(row.line, row.targets, row.seen) for row in found.rows] == [(2, ("1", "3"), ("4", "0"))]
    assert found.dropped == {"turn of the user": 1, "turn that recommends nothing": 1}


def test_a_target_is_new_unless_its_name_was_named_before_whatever_its_id_and_counts_as_often_as_it_is_given(
    tmp_path: Path,
) -> None:
    found = read(folder(tmp_path, [turn([2, 3, 3, 0], prev_entity=[1])]))
    # both films are called "It" once brackets are taken off
    assert found.fresh(found.rows[0]) == ["3", "3", "0"]


def test_addresses_and_titles_with_a_year_become_names_to_compare_and_titles_to_link() -> None:
    assert cikm23.entity("<http://dbpedia.org/resource/It_(2017_film)>") == cikm23.Entity("It", "It", 2017)
    assert cikm23.entity("<http://dbpedia.org/resource/Face/Off>").title == "Face/Off"
    assert cikm23.entity("<http://dbpedia.org/resource/Spider-Man:_Homecoming>").name == "Spider Man: Homecoming"
    assert cikm23.entity("Theater (2020)", "tt10650424") == cikm23.Entity("Theater", "Theater", 2020, "tt10650424")


def test_a_name_without_a_year_takes_the_one_that_the_dialogues_write(tmp_path: Path) -> None:
    found = read(folder(tmp_path, [turn([3], prev_entity=[])]))
    assert found.entities["0"].year == 1992
    assert found.entities["1"].year == 2017
    assert found.entities["3"].year is None


def test_speakers_alternate_and_the_seeker_spoke_last(tmp_path: Path) -> None:
    rows = [
        turn([3], ["Hello", "Hi, what do you like?", "Drama"], prev_entity=[]),
        {"input": "\nSystem: Hello\nUser: Drama, please\nSystem: ", "rec": [3], "prev_entity": []},
    ]
    found = read(folder(tmp_path, rows))
    assert [[(turn.speaker, turn.text) for turn in row.turns] for row in found.rows] == [
        [("seeker", "Hello"), ("recommender", "Hi, what do you like?"), ("seeker", "Drama")],
        [("recommender", "Hello"), ("seeker", "Drama, please")],
    ]


def test_without_prev_entity_what_was_named_is_read_from_the_text_and_from_earlier_turns(tmp_path: Path) -> None:
    rows = [
        turn([3], ["I saw It (2017) and Hoffa, is it good?"]),
        turn([1, 0], ["I saw It (2017).", "And this?", "Yes. Like spider-man: homecoming!"]),
        turn([3, 1], ["Hello"], dialogue="test_9"),
    ]
    found = read(folder(tmp_path, rows))
    assert [row.seen for row in found.rows] == [("1",), ("3", "1"), ()]  # "it" and "Hoffa" alone are too common to be believed
    assert [found.fresh(row) for row in found.rows] == [["3"], ["0"], ["3", "1"]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['{"context": [}'], r"test.jsonl.gz, line 1: expected a JSON object"),
        ([turn([1]), turn([77])], r"test.jsonl.gz, line 2: rec: 77 is not in entity2id.json"),
        ([turn([1], prev_entity=[78])], r"line 1: prev_entity: 78 is not in"),
        ([turn([1], context=()) | {"context": 3}], r"line 1: `context` is int"),
        ([turn([])], r"no turn of a recommender recommends anything"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, rows: list, said: str) -> None:
    with pytest.raises(RarError, match=said):
        read(folder(tmp_path, rows))


def test_files_that_do_not_belong_together_or_are_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(RarError, match=r"item_ids.json: none of its ids"):
        read(folder(tmp_path, [turn([1])], items=[99]))
    (tmp_path / "entity2id.json").write_text('{\n"a": }')
    with pytest.raises(RarError, match=r"entity2id.json, line 2: no JSON"):
        read(tmp_path)


def test_the_layout_follows_from_the_files_and_a_missing_one_is_named(tmp_path: Path) -> None:
    both = folder(tmp_path / "both", [turn([1])])
    (both / "test_data.jsonl").write_text("{}\n")
    assert heldout.test_files(both, "redial", None)[0] == "publisher"
    assert heldout.test_files(both, "redial", "cikm23")[0] == "cikm23"
    assert heldout.test_files(both, "inspired", None)[0] == "cikm23"
    (both / "item_ids.json").unlink()
    with pytest.raises(RarError, match=r"item_ids.json: missing"):
        heldout.test_files(both, "inspired", None)
    with pytest.raises(RarError, match=r"neither test.tsv nor test.jsonl"):
        heldout.test_files(tmp_path, "inspired", None)
    with pytest.raises(RarError, match="no such folder"):
        heldout.test_files(tmp_path / "nowhere", "redial", None)


REDIAL = {
    "movieMentions": {"1": "Hoffa (1992)", "2": "It (2017)"},
    "respondentQuestions": [],
    "initiatorQuestions": [],
    "messages": [
        {"text": "Seen @1?", "senderWorkerId": 5},
        {"text": "Yes, and @2", "senderWorkerId": 6},
    ],
    "conversationId": "77",
    "initiatorWorkerId": 5,
    "respondentWorkerId": 6,
}


def test_a_publishers_test_file_is_read_without_its_other_splits(tmp_path: Path) -> None:
    (tmp_path / "test_data.jsonl").write_text(json.dumps(REDIAL) + "\n")
    (found,) = heldout.read_publisher("redial", heldout.test_files(tmp_path, "redial", None)[1]).conversations
    assert (found.dialogue_id, found.split) == ("77", "test")
    assert [[movie.text for movie in turn.movies] for turn in found.turns] == [["Hoffa (1992)"], ["It (2017)"]]

    (tmp_path / "test.tsv").write_text(
        "dialog_id\tspeaker\ttext\tmovies\na\tSEEKER\tHello\t\na\tRECOMMENDER\tHoffa!\tHoffa (1992)\n"
    )
    (found,) = heldout.read_publisher("inspired", heldout.test_files(tmp_path, "inspired", None)[1]).conversations
    assert (found.dialogue_id, found.split, found.turns[1].movies[0].text) == ("a", "test", "Hoffa (1992)")

    reply = {
        "sample_id": 3,
        "conversation": "USER: Like Hoffa",
        "seen_titles": ["Hoffa"],
        "groundtruth": [{"name": "It", "year": 2017}],
    }
    (tmp_path / "reddit_v2_test.jsonl").write_text(json.dumps(reply) + "\n")
    (found,) = heldout.read_publisher("reddit", heldout.test_files(tmp_path, "reddit", None)[1]).conversations
    assert (found.split, found.turns[-1].movies[0].text) == ("test", "It (2017)")


@pytest.mark.parametrize(
    ("dataset", "name", "text", "said"),
    [
        ("redial", "test_data.jsonl", json.dumps(REDIAL) + "\n{}\n", "test_data.jsonl, line 2: .* messages is missing"),
        (
            "redial",
            "test_data.jsonl",
            json.dumps(REDIAL | {"messages": [{}]}) + "\n",
            "test_data.jsonl, line 1: not a ReDial dialogue",
        ),
        ("redial", "test_data.jsonl", "", "test_data.jsonl, line 1: no conversation"),
        (
            "inspired",
            "test.tsv",
            "dialog_id\tspeaker\ttext\tmovies\na\tSEEKER\n",
            "test.tsv, line 2: 2 columns; the header has 4",
        ),
        ("reddit", "reddit_v2_x.jsonl", "no\n", "reddit_v2_x.jsonl, line 1: expected a JSON object"),
    ],
)
def test_a_malformed_publishers_file_is_named_with_its_line(
    tmp_path: Path, dataset: str, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RarError, match=said):
        heldout.read_publisher(dataset, heldout.test_files(tmp_path, dataset, None)[1])
