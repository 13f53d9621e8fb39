"""ReDial (Li et al., 2018): `train_data.jsonl`, `test_data.jsonl`, `movies_with_mentions.csv`, optionally `movie_sequences.jsonl`.

Movies stand in messages as `@<movieId>`; the initiator is the seeker; `liked` is 0 no, 1 yes, 2 did not say; empty maps appear as `[]`.
`movie_sequences.jsonl` (conversationId, movies with id and liked) is the order of first mentions without text: it extends dialogues that are
cut off, and stands for those whose text is not there. The publisher's training dialogues are split into train and validation by their id.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rar_pipeline.conversations.reading import Conversation, Named, Reading, Turn, clean, in_share, merge_turns
from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines, text_lines

MARKER = re.compile(r"@(\d+)")
FIELDS = ("messages", "movieMentions", "conversationId", "initiatorWorkerId")


def read(files: Mapping[str, Path], validation_share: float) -> Reading:
    """All conversations of the publisher's files. Raises RarError where a required file or field is missing."""
    dropped: Counter[str] = Counter()
    names = _names(files.get("redial/movies_with_mentions.csv"))
    sequences = _sequences(files.get("redial/movie_sequences.jsonl"), dropped)
    conversations: list[Conversation] = []
    for split, file in (("train", "redial/train_data.jsonl"), ("test", "redial/test_data.jsonl")):
        if file not in files:
            raise RarError(f"{file}: missing among the sources; ReDial needs train_data.jsonl and test_data.jsonl")
        for number, record in json_lines(files[file]):
            if not isinstance(record, dict) or any(name not in record for name in FIELDS):
                dropped[f"{file}: malformed line"] += 1
                continue
            try:
                conversation = _conversation(record, split, names, validation_share)
            except (TypeError, KeyError, ValueError, AttributeError) as error:
                raise RarError(f"{files[file]}, line {number}: not a ReDial dialogue ({error!r})") from None
            if conversation.split != "test" and record.get("truncated"):
                known = {movie.source_id for turn in conversation.turns for movie in turn.movies}
                rest = sequences.get(conversation.dialogue_id, [])
                conversation.sequence = [_named(movie, names) for movie in rest if str(movie["id"]) not in known]
            sequences.pop(conversation.dialogue_id, None)
            conversations.append(conversation)
    if not conversations:
        raise RarError(f"{files['redial/train_data.jsonl']}: no dialogue could be read")
    for dialogue_id, movies in sequences.items():
        conversations.append(Conversation(dialogue_id, "train", [], [_named(movie, names) for movie in movies]))
    return Reading(conversations, dropped)


def _conversation(record: dict[str, Any], split: str, names: Mapping[str, str], validation_share: float) -> Conversation:
    dialogue_id = str(record["conversationId"])
    listed = {key: clean(name) for key, name in (record["movieMentions"] or {}).items() if name}
    liked = _liked(record.get("respondentQuestions")) | _liked(record.get("initiatorQuestions"))
    messages = []
    for message in record["messages"]:
        text = str(message["text"])
        speaker = "seeker" if message["senderWorkerId"] == record["initiatorWorkerId"] else "recommender"
        ids = [i for i in MARKER.findall(text) if i in listed or i in names]
        movies = [Named(listed.get(i) or names[i], i, liked.get(i)) for i in ids]
        messages.append(Turn(speaker, clean(MARKER.sub(lambda m: listed.get(m[1]) or names.get(m[1], m[0]), text)), movies))
    if split == "train" and not record.get("truncated") and in_share(dialogue_id, validation_share, "redial"):
        split = "validation"
    return Conversation(dialogue_id, split, merge_turns(messages))


def _liked(form: object) -> dict[str, int]:
    """MovieId -> 1 or 0 of a filled-in form; an empty form appears as a list."""
    if not isinstance(form, dict):
        return {}
    return {key: answer["liked"] for key, answer in form.items() if answer.get("liked") in (0, 1)}


def _names(path: Path | None) -> dict[str, str]:
    """MovieId -> name of the list of movies."""
    if path is None:
        return {}
    rows = csv.DictReader(text_lines(path))
    if not {"movieId", "movieName"} <= set(rows.fieldnames or ()):
        raise RarError(f"{path}: expected columns movieId and movieName, found {rows.fieldnames}")
    return {row["movieId"]: clean(row["movieName"] or "") for row in rows if row["movieName"]}


def _sequences(path: Path | None, dropped: Counter[str]) -> dict[str, list[dict[str, Any]]]:
    if path is None:
        return {}
    sequences = {}
    for _, record in json_lines(path):
        if isinstance(record, dict) and isinstance(record.get("movies"), list) and "conversationId" in record:
            sequences[str(record["conversationId"])] = record["movies"]
        else:
            dropped["redial/movie_sequences.jsonl: malformed line"] += 1
    return sequences


def _named(movie: dict[str, Any], names: Mapping[str, str]) -> Named:
    source_id = str(movie["id"])
    liked = movie.get("liked")
    return Named(names.get(source_id, f"@{source_id}"), source_id, liked if liked in (0, 1) else None)
