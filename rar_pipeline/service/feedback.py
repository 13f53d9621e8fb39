"""What people thought of recommendations, kept as conversations of the data set `chat` in the pipeline's own tables.

One conversation is one part of DIALOGUES and one of MENTIONS, written whole or not at all and replaced when it goes on:
`conversations/chat_dialogues/<id>.parquet` and `conversations/chat_mentions/<id>.parquet`. `gather` makes the tables `dialogues`, `mentions` and
`cases` of the data set `chat` of them, all of split `train`: nothing is evaluated on it, since people react to what they were shown.

Of a recommender's turn only what was reacted to is a mention: liked and accepted are what a case is to be answered with, disliked is a refusal. What
was shown and passed over says nothing. What the seeker has seen they say in their next turn, as seekers of the other data sets do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from rar_pipeline.conversations.cases import build_cases
from rar_pipeline.conversations.reading import Conversation, Named, Turn, merge_turns, tables_of
from rar_pipeline.files import replacing
from rar_pipeline.service.talk import Feedback, line
from rar_pipeline.tables import CHAT, DIALOGUES, MENTIONS

DIALOGUE_PARTS, MENTION_PARTS = "chat_dialogues", "chat_mentions"
SAID = "chosen by the person, or linked in what they typed"

Name = Callable[[str], str | None]  # movie_id -> title (year), None where the corpus has no such movie


def tables(feedback: Feedback, named: Sequence[Sequence[str]], name: Name) -> tuple[pl.DataFrame, pl.DataFrame]:
    """DIALOGUES and MENTIONS of one conversation; `named`: movie_ids that each turn of the seeker names (of other turns: nothing)."""
    opinions: dict[tuple[int, str], str] = {(one.turn, one.movie_id): one.opinion for one in feedback.reactions}
    liked = {movie: int(opinion != "disliked") for (_, movie), opinion in opinions.items() if opinion != "seen"}
    turns, seen = [], list[Named]()
    for place, said in enumerate(feedback.turns):
        if said.speaker == "recommender":
            reacted = [movie for (turn, movie), opinion in opinions.items() if turn == place and opinion != "seen"]
            turns.append(Turn("recommender", line(said.text), _named(reacted, name, liked)))
            seen += _named(
                [movie for (turn, movie), opinion in opinions.items() if turn == place and opinion == "seen"], name, {}
            )
        else:
            turns.append(_seekers(line(said.text), _named(named[place], name, liked), seen))
            seen = []
    if seen:
        turns.append(_seekers("", [], seen))
    conversation = Conversation(feedback.conversation_id, "train", merge_turns(turns))
    dialogues, mentions = tables_of(CHAT, [conversation])
    found = mentions.with_columns(movie_id=pl.col("source_id"), score=pl.lit(1.0), reason=pl.lit(SAID))
    return DIALOGUES.conform(dialogues), MENTIONS.conform(found)


def _named(movie_ids: Sequence[str], name: Name, liked: dict[str, int]) -> list[Named]:
    known = [(movie, title) for movie in movie_ids if (title := name(movie)) is not None]
    return [Named(title, movie, liked.get(movie)) for movie, title in known]


def _seekers(text: str, movies: list[Named], seen: list[Named]) -> Turn:
    before = f"I have seen {', '.join(movie.text for movie in seen)}. " if seen else ""
    return Turn("seeker", (before + text).strip(), [*seen, *movies])


def keep(folder: Path, dialogues: pl.DataFrame, mentions: pl.DataFrame) -> None:
    """Write the parts of one conversation below `folder`. The turns come first, so that no mention is without its turn."""
    (dialogue_id,) = dialogues["dialogue_id"].unique().to_list()
    for parts, frame in ((DIALOGUE_PARTS, dialogues), (MENTION_PARTS, mentions)):
        with replacing(folder / parts / f"{dialogue_id}.parquet") as temporary:
            frame.write_parquet(temporary)


def forget(folder: Path, dialogue_id: str) -> None:
    """Take the parts of a conversation away, the mentions first."""
    for parts in (MENTION_PARTS, DIALOGUE_PARTS):
        (folder / parts / f"{dialogue_id}.parquet").unlink(missing_ok=True)


def gather(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, int]:
    """DIALOGUES, MENTIONS and CASES of all conversations that were kept, and how many parts were damaged and left out."""
    damaged = 0
    frames: list[list[pl.DataFrame]] = [[DIALOGUES.empty()], [MENTIONS.empty()]]
    for path in sorted((folder / DIALOGUE_PARTS).glob("*.parquet")):
        beside = folder / MENTION_PARTS / path.name
        try:
            pair = DIALOGUES.conform(pl.read_parquet(path)), MENTIONS.conform(pl.read_parquet(beside))
        except (OSError, pl.exceptions.PolarsError):
            damaged += 1
            continue
        for found, frame in zip(frames, pair, strict=True):
            found.append(frame)
    dialogues, mentions = pl.concat(frames[0]), pl.concat(frames[1])
    return dialogues, mentions, build_cases(dialogues, mentions), damaged
