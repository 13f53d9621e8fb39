"""Cases: a conversation up to a turn, and the movies that the turn names for the first time (PROTOCOL.md, `fresh_turns`).

Validation and test hold recommenders' turns only. Training also takes what seekers name, and the published sequences without text, as further
examples of "after these movies, that one".
"""

from __future__ import annotations

from collections import defaultdict

import polars as pl

from rar_pipeline.conversations.reading import in_share
from rar_pipeline.tables import CASES

ORIGINS = {"recommender": "dialogue", "seeker": "seeker", "unknown": "sequence"}


def build_cases(dialogues: pl.DataFrame, mentions: pl.DataFrame) -> pl.DataFrame:
    """The table `cases` of linked mentions (tables MENTIONS) and turns (DIALOGUES).

    A movie is new by the data set's own id where it has one, else by its corpus id, else by its name; a turn counts as a case when it names at
    least one new movie and, for dialogues, any turn came before. So the number of cases is the protocol's, however mentions are linked: two ids
    of a data set that are one movie of the corpus give two targets, of which the second cannot be had and counts as unlinked.
    """
    turns: dict[str, list[str]] = defaultdict(list)
    for row in dialogues.sort("dialogue_id", "turn").iter_rows(named=True):
        turns[row["dialogue_id"]].append(f"{row['speaker'].capitalize()}: {row['text']}")
    rows = []
    ordered = mentions.sort("dialogue_id", "position")
    for (dialogue_id,), group in ordered.group_by(["dialogue_id"], maintain_order=True):
        history: list[str] = []
        named: set[str] = set()
        for (turn,), mentioned in group.group_by(["turn"], maintain_order=True):
            first = mentioned.row(0, named=True)
            origin = ORIGINS[first["speaker"]]
            targets: list[str] = []
            disliked: list[str] = []
            unlinked = 0
            for row in mentioned.iter_rows(named=True):
                identity = row["source_id"] or row["movie_id"] or row["text"]
                if identity in named:
                    continue
                named.add(identity)
                if row["movie_id"] is None or row["movie_id"] in history or row["movie_id"] in targets:
                    unlinked += 1
                    continue
                targets.append(row["movie_id"])
                if row["liked"] == 0:
                    disliked.append(row["movie_id"])
            answerable = int(turn) > 0 or origin == "sequence"
            wanted = origin == "dialogue" or first["split"] == "train"
            if (targets or unlinked) and answerable and wanted and (history or origin != "sequence"):
                rows.append(
                    {
                        "dataset": first["dataset"],
                        "split": first["split"],
                        "case_id": f"{dialogue_id}:{turn}",
                        "dialogue_id": dialogue_id,
                        "turn": turn,
                        "origin": origin,
                        "context": "" if origin == "sequence" else "\n".join(turns[str(dialogue_id)][: int(turn)]),
                        "history": list(history),
                        "targets": targets,
                        "disliked": disliked,
                        "unlinked_targets": unlinked,
                    }
                )
            history.extend(targets)
    return CASES.frame(rows).sort("split", "dialogue_id", "turn")


def reserved_dialogues(cases: pl.DataFrame, share: float) -> pl.DataFrame:
    """Dataset and dialogue_id of the training dialogues with text that supervision leaves to preference rounds: about `share` of them, by hash."""
    with_text = cases.filter((pl.col("split") == "train") & (pl.col("origin") == "dialogue"))
    whose = with_text.select("dataset", "dialogue_id").unique(maintain_order=True)
    drawn = [in_share(f"{dataset}/{dialogue_id}", share, "reserved") for dataset, dialogue_id in whose.iter_rows()]
    return whose.filter(pl.Series("drawn", drawn, dtype=pl.Boolean))
