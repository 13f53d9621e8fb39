"""Rating sequences and their protocol (PROTOCOL.md, C): leave-last-out, all items ranked, the user's history removed. No learning here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rar_pipeline.errors import RarError
from rar_pipeline.files import text_lines

CUTS = (1, 5, 10, 20, 50)  # K of R@K, N@K, MRR@K
HEADER = "user\titems"


@dataclass(frozen=True)
class Sequences:
    """Items of every user in time order, as rows of `items`, which are in ascending order of the publisher's numbers.

    The last item of a user is for the test, the last but one for validation; users with fewer than three items have neither.
    """

    items: tuple[int, ...]
    users: tuple[np.ndarray, ...]  # int64 rows of `items`

    def training(self) -> list[np.ndarray]:
        """What may be learned from: the sequences without the last two items, short ones whole."""
        return [user[:-2] if len(user) >= 3 else user for user in self.users]

    def cases(self, part: str) -> list[tuple[np.ndarray, int]]:
        """(history, the item that came next) of each user that has one; `part` is `validation` or `test`."""
        end = {"validation": 2, "test": 1}[part]
        return [(user[:-end], int(user[-end])) for user in self.users if len(user) >= 3]


def read_sequences(path: Path) -> Sequences:
    """Read `user <tab> items`, the items being numbers separated by blanks, with a header; plain or gzipped.

    Raises RarError naming file and line where it is not that.
    """
    if not path.exists() and path.with_name(path.name + ".gz").exists():
        path = path.with_name(path.name + ".gz")
    lines = text_lines(path)
    if next(lines, None) != HEADER:
        raise RarError(f"{path}, line 1: expected the header `user<tab>items`")
    users: dict[str, list[int]] = {}
    for number, line in enumerate(lines, 2):
        name, tab, text = line.partition("\t")
        try:
            items = [int(item) for item in text.split()]
        except ValueError:
            items = []
        if not (name and tab and items):
            raise RarError(f"{path}, line {number}: expected a user, a tab, and item numbers separated by blanks")
        if name in users:
            raise RarError(f"{path}, line {number}: user {name} was there before; expected one line a user")
        users[name] = items
    if not users:
        raise RarError(f"{path}: no user in it; fetch the file again")
    numbers = np.unique(np.concatenate([np.array(items) for items in users.values()]))
    return Sequences(
        tuple(numbers.tolist()), tuple(np.searchsorted(numbers, np.array(items, dtype=np.int64)) for items in users.values())
    )


def windows(training: Iterable[np.ndarray], length: int) -> list[np.ndarray]:
    """Pieces of at most `length` + 1 items that overlap by one, so that each item but a user's first is foretold exactly once.

    They are cut from the end: the latest piece of a long sequence is a full one.
    """
    return [sequence[max(end - length - 1, 0) : end] for sequence in training for end in range(len(sequence), 1, -length)]


def left_padded(sequences: list[np.ndarray], *, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Items (batch, width) int64, zero at padding, and mask (batch, width) bool; width is the longest sequence where it is not given."""
    width = max(map(len, sequences)) if width is None else width
    lengths = np.array([len(sequence) for sequence in sequences])
    mask = np.arange(width) >= width - lengths[:, None]
    items = np.zeros(mask.shape, dtype=np.int64)
    items[mask] = np.concatenate(sequences)
    return items, mask


@dataclass(frozen=True)
class WindowBatches:
    """Batches of windows in an order that seed and epoch decide: (items, mask, next items), each (batch, longest), left-padded."""

    windows: list[np.ndarray]
    size: int
    seed: int
    shortest: int = 0  # width to which batches are padded at least

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.windows) // self.size)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The batches of an epoch."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.windows))
        for start in range(0, len(order), self.size):
            chosen = [self.windows[row] for row in order[start : start + self.size]]
            width = max(self.shortest, *(len(window) - 1 for window in chosen))
            items, mask = left_padded([window[:-1] for window in chosen], width=width)
            yield items, mask, left_padded([window[1:] for window in chosen], width=width)[0]


def ranks(scores: np.ndarray, histories: list[np.ndarray], targets: np.ndarray) -> np.ndarray:
    """Ranks (n,) from 1 of the targets among all items, the history removed; scores (n, items) are changed in place.

    Ties go to the smaller item. A target that is in the history can not be recommended: its rank is infinite.
    """
    rows = np.repeat(np.arange(len(scores)), [len(history) for history in histories])
    scores[rows, np.concatenate(histories)] = -np.inf
    own = scores[np.arange(len(scores)), targets][:, None]
    earlier = (scores == own) & (np.arange(scores.shape[1]) < targets[:, None])
    return np.where(np.isneginf(own[:, 0]), np.inf, 1 + (scores > own).sum(axis=1) + earlier.sum(axis=1))


def quality(found: np.ndarray) -> dict[str, tuple[float, float]]:
    """`recall_K`, `ndcg_K` and `mrr_K` of ranks (n,), each as mean and standard error over the users."""
    figures = {}
    for cut in CUTS:
        hit = found <= cut
        for name, gain in (("recall", np.ones_like(found)), ("ndcg", 1 / np.log2(found + 1)), ("mrr", 1 / found)):
            each = np.where(hit, gain, 0.0)
            error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
            figures[f"{name}_{cut}"] = (float(each.mean()), float(error))
    return figures
