"""Rating sequences as further supervision: they teach the recurrence before it hears a conversation (METHOD: SFT)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from rar_pipeline.retriever.sequences import read_sequences
from rar_pipeline.tables import CASES, RATING_SEQUENCES

STRIDE = 10  # ratings from one taught to the next: all of them teach little more and cost as many times the time
HISTORY = 20  # ratings before a taught one that are read


def rating_sequences(path: Path, placements: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
    """The frame RATING_SEQUENCES of a file of MovieLens ids, and how many ratings were dropped, by reason.

    `placements` is the table PLACEMENTS. Raises RarError naming file and line where the file is not one of sequences.
    """
    found = read_sequences(path)
    movie_of = dict(
        placements.filter(pl.col("source") == "movielens")
        .with_columns(pl.col("source_id").cast(pl.Int64, strict=False))
        .select("source_id", "movie_id")
        .drop_nulls()
        .iter_rows()
    )
    movies = [movie_of.get(item) for item in found.items]
    rows = [
        {"user": user, "position": position, "movie_id": movies[item]}
        for user, items in enumerate(found.users)
        for position, item in enumerate(items.tolist())
    ]
    frame = RATING_SEQUENCES.frame(rows)
    lost = int(frame["movie_id"].null_count())
    return frame.drop_nulls(), Counter({"movie is not in the corpus": lost} if lost else {})


def rating_cases(sequences: pl.DataFrame) -> pl.DataFrame:
    """Training cases without text, a frame of CASES, of the table RATING_SEQUENCES: every STRIDE-th rating, and the HISTORY before it."""
    cases = []
    for (user,), part in sequences.sort("user", "position").group_by("user", maintain_order=True):
        movies = part["movie_id"].to_list()
        for end in range(len(movies) - 1, 0, -STRIDE):
            history = movies[max(0, end - HISTORY) : end]
            if movies[end] not in history:
                cases.append(
                    {
                        "case_id": f"{user}:{end}",
                        "dialogue_id": str(user),
                        "turn": end,
                        "history": history,
                        "targets": [movies[end]],
                    }
                )
    same = {"dataset": "ratings", "split": "train", "origin": "sequence", "context": "", "unlinked_targets": 0}
    return CASES.frame([{**case, **same, "disliked": []} for case in cases])
