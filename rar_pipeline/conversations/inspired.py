"""INSPIRED (Hayati et al., 2020): `train.tsv`, `dev.tsv`, `test.tsv`, one utterance a row.

Movies of an utterance stand in the column `movies` as `Title (year)`, separated by `;`. Quotation marks were written as a word by the authors.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from rar_pipeline.conversations.reading import Conversation, Named, Reading, Turn, clean, merge_turns
from rar_pipeline.errors import RarError
from rar_pipeline.files import text_lines

FIELDS = {"dialog_id", "speaker", "text", "movies"}
SPEAKERS = {"SEEKER": "seeker", "RECOMMENDER": "recommender"}
FILES = {"train": "inspired/train.tsv", "validation": "inspired/dev.tsv", "test": "inspired/test.tsv"}


def read(files: Mapping[str, Path], validation_share: float) -> Reading:
    """All conversations of the publisher's files; its own dev file is the validation split. Raises RarError for a missing file or column."""
    dropped: Counter[str] = Counter()
    conversations: list[Conversation] = []
    for split, file in FILES.items():
        if file not in files:
            raise RarError(f"{file}: missing among the sources; INSPIRED needs train.tsv, dev.tsv and test.tsv")
        rows = csv.DictReader(text_lines(files[file]), delimiter="\t", quoting=csv.QUOTE_NONE)
        if not set(rows.fieldnames or ()) >= FIELDS:
            raise RarError(f"{files[file]}: expected columns {sorted(FIELDS)}, found {rows.fieldnames}")
        for dialogue_id, utterances in groupby(rows, key=lambda row: row["dialog_id"]):
            messages = []
            for row in utterances:
                if row["speaker"] not in SPEAKERS or row["movies"] is None:
                    dropped[f"{file}: malformed row"] += 1
                    continue
                text = clean(row["text"].replace("QUOTATION_MARK", '"'))
                movies = [Named(clean(name)) for name in row["movies"].split(";") if name.strip()]
                messages.append(Turn(SPEAKERS[row["speaker"]], text, movies))
            if messages:
                conversations.append(Conversation(dialogue_id, split, merge_turns(messages)))
    if not conversations:
        raise RarError(f"{files[FILES['train']]}: no dialogue could be read")
    return Reading(conversations, dropped)
