"""How much of a table has changed since it was looked at last, told from samples that are small enough to be remembered.

A sample is the smallest hashes of what a table holds (bottom-k, Broder 1997: "On the resemblance and containment of documents"): of equal
things the same ones are drawn, so two samples tell what share is new. Exact up to SIZE things; beyond, at 5 % new, within 1.4 points of it
19 times of 20.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import polars as pl

SIZE = 1000
_DIGITS = 12  # hexadecimal, of a hash


def sample(things: Iterable[str]) -> list[str]:
    """The SIZE smallest hashes of distinct things, ascending."""
    return sorted({hashlib.blake2b(thing.encode(), digest_size=_DIGITS // 2).hexdigest() for thing in things})[:SIZE]


def changed_share(then: Sequence[str], now: Sequence[str]) -> float:
    """Share of what is there now that was not there then, of two samples; 0 of nothing."""
    # beyond the largest hash of a full sample nothing is known of what it was drawn from
    known = min((drawn[-1] for drawn in (then, now) if len(drawn) == SIZE), default="g")
    within = [value for value in now if value <= known]
    return sum(value not in set(then) for value in within) / len(within) if within else 0.0


def movies(embeddings: pl.DataFrame) -> list[str]:
    """ITEM_EMBEDDINGS (movie_id, text_hash) as things: a movie whose title, year, people or plot have changed is another one."""
    return embeddings.select(pl.concat_str("movie_id", "text_hash", separator=" ")).to_series().to_list()


def conversations(dialogues: pl.DataFrame) -> list[str]:
    """DIALOGUES (dialogue_id, turn, text) as things: each conversation with all its words."""
    joined = dialogues.sort("turn").group_by("dialogue_id", maintain_order=True).agg(pl.col("text").str.join("\n"))
    return joined.select(pl.concat_str("dialogue_id", "text", separator="\n")).to_series().to_list()
