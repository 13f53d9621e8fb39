"""The shape that every reader gives, and the two tables made of it.

A reader turns a publisher's files into `Conversation`s; what it had to leave out is counted under a reason. Nothing here knows a format.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from rar_pipeline.tables import DIALOGUES, MENTIONS


@dataclass(frozen=True)
class Named:
    """A movie as a data set names it."""

    text: str
    source_id: str | None = None
    liked: int | None = None


@dataclass
class Turn:
    """What one speaker said until the other spoke, and the movies named in it, in order."""

    speaker: str
    text: str
    movies: list[Named] = field(default_factory=list)


@dataclass
class Conversation:
    """A dialogue, or (without turns) only the order in which its movies were named."""

    dialogue_id: str
    split: str
    turns: list[Turn]
    sequence: list[Named] = field(default_factory=list)


@dataclass
class Reading:
    """What a reader found, and how much it left out, by reason."""

    conversations: list[Conversation]
    dropped: Counter[str]


def clean(text: str) -> str:
    """Text with HTML entities resolved and runs of white space made one blank."""
    return re.sub(r"\s+", " ", html.unescape(text)).strip()


def merge_turns(messages: Iterable[Turn]) -> list[Turn]:
    """Consecutive messages of one speaker as one turn (PROTOCOL `fresh_turns`)."""
    turns: list[Turn] = []
    for message in messages:
        if turns and turns[-1].speaker == message.speaker:
            turns[-1].text = f"{turns[-1].text} {message.text}".strip()
            turns[-1].movies.extend(message.movies)
        else:
            turns.append(Turn(message.speaker, message.text, list(message.movies)))
    return turns


def in_share(identifier: str, share: float, salt: str) -> bool:
    """Whether an id falls into a share (0 to 1) of all ids: by its hash, so that the split never changes when data is added."""
    number = int.from_bytes(hashlib.sha256(f"{salt}:{identifier}".encode()).digest()[:8], "big")
    return number < share * 2**64


def tables_of(dataset: str, conversations: Iterable[Conversation]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables `dialogues` and `mentions` (not yet linked) of a data set."""
    turn_rows: list[dict[str, object]] = []
    mention_rows: list[dict[str, object]] = []
    for conversation in conversations:
        base = {"dataset": dataset, "split": conversation.split, "dialogue_id": conversation.dialogue_id}
        position = 0
        for number, turn in enumerate(conversation.turns):
            turn_rows.append({**base, "turn": number, "speaker": turn.speaker, "text": turn.text})
            for movie in turn.movies:
                mention_rows.append({**base, "turn": number, "position": position, "speaker": turn.speaker, **vars(movie)})
                position += 1
        for offset, movie in enumerate(conversation.sequence):
            turn_number = len(conversation.turns) + offset
            mention_rows.append({**base, "turn": turn_number, "position": position, "speaker": "unknown", **vars(movie)})
            position += 1
    return DIALOGUES.frame(turn_rows), MENTIONS.frame(mention_rows)
