"""Reddit-Movie (He et al., 2023), version 2: JSONL files with `conversation`, `seen_titles` and `groundtruth`, a list of {name, year}.

A record is one reply to a thread: the turns so far as `USER:` and `SYSTEM:` lines, and the movies that the reply names. The published sample
has no test part, so threads (their first words) are split by hash: half train, a quarter validation, a quarter test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rar_pipeline.conversations.reading import Conversation, Named, Reading, Turn, clean, in_share, merge_turns
from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines

SPEAKERS = {"USER": "seeker", "SYSTEM": "recommender"}
TURN = re.compile(r"(?:^|\n)(USER|SYSTEM): ?")
THREAD_KEY = 120  # characters of the opening post that tell threads apart


def read(files: Mapping[str, Path], validation_share: float) -> Reading:
    """All replies of the sample files. Raises RarError where there is none."""
    dropped: Counter[str] = Counter()
    conversations = []
    names = sorted(name for name in files if re.fullmatch(r"reddit/reddit_v2_sample[^/]*\.jsonl", name))
    if not names:
        raise RarError("reddit/reddit_v2_sample_*.jsonl: missing among the sources")
    for name in names:
        for _, record in json_lines(files[name]):
            try:
                conversations.append(_conversation(record))
            except (TypeError, KeyError, AttributeError):
                dropped[f"{name}: malformed line"] += 1
    if not conversations:
        raise RarError(f"{files[names[0]]}: no reply could be read")
    return Reading(conversations, dropped)


def _conversation(record: dict[str, Any]) -> Conversation:
    parts = TURN.split(record["conversation"])
    turns = merge_turns(Turn(SPEAKERS[who], clean(text)) for who, text in zip(parts[1::2], parts[2::2], strict=True))
    if not turns or turns[-1].speaker == "recommender":
        turns.append(Turn("seeker", ""))
    for title in record["seen_titles"]:
        place = next((turn for turn in turns if clean(title).lower() in turn.text.lower()), turns[-1])
        place.movies.append(Named(clean(title)))
    answer = [
        Named(f"{clean(movie['name'])} ({movie['year']})" if movie.get("year") else clean(movie["name"]))
        for movie in record["groundtruth"]
    ]
    turns.append(Turn("recommender", "", answer))
    thread = parts[2][:THREAD_KEY] if len(parts) > 2 else ""
    split = "train" if in_share(thread, 0.5, "reddit") else "validation" if in_share(thread, 0.75, "reddit") else "test"
    return Conversation(str(record["sample_id"]), split, turns)
