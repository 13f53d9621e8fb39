"""Means with 95 % bootstrap intervals and paired differences; what is drawn again is conversations, not cases.

The cases of one conversation share a seeker and a history, so drawing cases would make intervals too narrow. All systems that are
compared meet the same draws. With fewer than two conversations there is no interval (null, or NaN from `paired_difference`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rar_pipeline import tables

RESAMPLES = 10_000
LEVEL = 0.95
FEWEST = 20  # conversations: of fewer, intervals by percentiles are too narrow to decide anything
_CHUNK_CELLS = 4_000_000  # conversations x resamples held at once: 32 MB of float64

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class PairedDifference(NamedTuple):
    """Mean of a minus mean of b on the cases of both, its 95 % interval, and the numbers of those cases and of their conversations."""

    difference: float
    low: float
    high: float
    cases: int
    conversations: int

    @property
    def beats(self) -> bool:
        """Whether a is shown to be better: the whole interval lies above zero, and there are conversations enough to believe it."""
        return bool(self.low > 0 and self.conversations >= FEWEST)


@dataclass(frozen=True)
class _Scores:
    """Dense metrics of one data set, split and protocol."""

    systems: list[str]
    metrics: list[str]
    values: Floats  # (systems, cases, metrics), 0 where a system lacks the case
    weights: Floats  # (cases, metrics)
    present: Bools  # (systems, cases)
    dialogues: NDArray[np.int64]  # (cases,) number of the case's conversation


def leaderboard(
    metrics: pl.DataFrame,
    *,
    scope: str,
    references: Mapping[str, str],
    seed: int,
    common: Collection[str] | None = None,
    resamples: int = RESAMPLES,
) -> pl.DataFrame:
    """Means, intervals and paired differences, as a frame of `tables.LEADERBOARD`.

    `scope` "all": every case that a system has. "judged": only the cases that every system of `common` has (None: every system
    of that data set, split and protocol). `references` names for a system the one that its difference is taken against; the
    difference is on the cases that both have, so in scope "all" it need not be the difference of the two means.
    Raises ValueError for another scope.
    """
    if scope not in ("all", "judged"):
        raise ValueError(f"scope {scope!r}: expected all or judged")
    rows: list[dict[str, object]] = []
    for (dataset, split, protocol), part in metrics.group_by("dataset", "split", "protocol", maintain_order=True):
        scores = _dense(part)
        present = scores.present
        if scope == "judged":
            needed = [i for i, name in enumerate(scores.systems) if common is None or name in common]
            if not needed:
                continue
            present = present & present[needed].all(axis=0)
        place = {"dataset": dataset, "split": split, "protocol": protocol, "scope": scope}
        rows += [place | row for row in _rows(scores, present, references, seed, resamples)]
    return tables.LEADERBOARD.frame(rows).sort(tables.LEADERBOARD.key)


def paired_difference(
    metrics_a: pl.DataFrame, metrics_b: pl.DataFrame, metric: str, *, seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Difference of one metric between two systems on the cases of both, with its paired bootstrap interval.

    Both are frames of `tables.METRICS` of one system, data set, split and protocol. `a` wins where it `beats`; without a common
    case all figures are NaN. Raises ValueError where a frame mixes protocols, data sets or systems.
    """
    for frame in (metrics_a, metrics_b):
        if frame.select("dataset", "split", "protocol", "system").n_unique() > 1:
            raise ValueError("paired_difference: rows of one system, data set, split and protocol are expected")
    both = pl.concat(
        [
            metrics_a.filter(pl.col("metric") == metric).with_columns(system=pl.lit("a")),
            metrics_b.filter(pl.col("metric") == metric).with_columns(system=pl.lit("b")),
        ]
    )
    if both["system"].n_unique() < 2:
        return PairedDifference(np.nan, np.nan, np.nan, 0, 0)
    scores = _dense(both)
    shared: Bools = np.logical_and(scores.present[0], scores.present[1])
    if not shared.any():
        return PairedDifference(np.nan, np.nan, np.nan, 0, 0)
    means, draws = _means(scores, shared, [0, 1], seed, resamples)
    low, high, _ = _spread(draws[:, 0, 0] - draws[:, 1, 0])
    conversations = len(np.unique(scores.dialogues[shared]))
    return PairedDifference(float(means[0, 0] - means[1, 0]), float(low), float(high), int(shared.sum()), conversations)


def _dense(part: pl.DataFrame) -> _Scores:
    systems = part["system"].unique().sort()
    metrics = part["metric"].unique(maintain_order=True)
    cases = part.select("case_id", "dialogue_id").unique().sort("case_id", "dialogue_id")
    dialogues = cases["dialogue_id"].rank("dense").cast(pl.Int64).to_numpy() - 1

    def codes(column: str, known: pl.Series) -> NDArray[np.int64]:
        order = pl.DataFrame({column: known, "code": np.arange(len(known))})
        return part.select(column).join(order, on=column, how="left", maintain_order="left")["code"].to_numpy()

    s, c, m = codes("system", systems), codes("case_id", cases["case_id"]), codes("metric", metrics)
    values = np.zeros((len(systems), len(cases), len(metrics)))
    weights = np.zeros((len(cases), len(metrics)))
    present = np.zeros((len(systems), len(cases)), dtype=bool)
    values[s, c, m] = part["value"].to_numpy()
    weights[c, m] = part["weight"].to_numpy()
    present[s, c] = True
    return _Scores(systems.to_list(), metrics.to_list(), values, weights, present, dialogues)


def _rows(scores: _Scores, present: Bools, references: Mapping[str, str], seed: int, resamples: int) -> list[dict[str, object]]:
    """Rows of the leaderboard without their place. Whatever is asked of the same set of cases shares one set of draws."""
    number = {name: i for i, name in enumerate(scores.systems)}
    asked: list[tuple[int, int | None]] = [(i, None) for i in range(len(scores.systems))]
    asked += [(number[a], number[b]) for a, b in references.items() if a in number and b in number and a != b]
    by_cases: dict[bytes, list[tuple[int, int | None]]] = {}
    for a, b in asked:
        mask = present[a] if b is None else present[a] & present[b]
        if mask.any():
            by_cases.setdefault(mask.tobytes(), []).append((a, b))

    rows: dict[tuple[int, int], dict[str, object]] = {}
    for key, questions in by_cases.items():
        mask = np.frombuffer(key, dtype=bool)
        systems = sorted({i for pair in questions for i in pair if i is not None})
        at = {system: i for i, system in enumerate(systems)}
        means, draws = _means(scores, mask, systems, seed, resamples)
        for a, b in questions:
            drawn = draws[:, at[a]] if b is None else draws[:, at[a]] - draws[:, at[b]]
            low, high, error = _spread(drawn)
            for m, metric in enumerate(scores.metrics):
                row = rows.setdefault((a, m), {"system": scores.systems[a], "metric": metric})
                if b is None:
                    row["value"] = float(means[at[a], m])
                    row["low"], row["high"], row["standard_error"] = _known(low[m]), _known(high[m]), _known(error[m])
                    row["cases"] = int(mask.sum())
                else:
                    row["reference"] = scores.systems[b]
                    row["difference"] = float(means[at[a], m] - means[at[b], m])
                    row["difference_low"], row["difference_high"] = _known(low[m]), _known(high[m])
    return list(rows.values())


def _means(scores: _Scores, mask: Bools, systems: list[int], seed: int, resamples: int) -> tuple[Floats, Floats]:
    """Means (systems, metrics) on the masked cases, and of every resample of conversations (resamples, systems, metrics)."""
    _, dialogue = np.unique(scores.dialogues[mask], return_inverse=True)
    drawn_from = int(dialogue.max()) + 1
    values = scores.values[systems][:, mask]
    sums = np.zeros((drawn_from, len(systems), len(scores.metrics)))
    np.add.at(sums, dialogue, values.transpose(1, 0, 2))
    weights = np.zeros((drawn_from, len(scores.metrics)))
    np.add.at(weights, dialogue, scores.weights[mask])

    means = sums.sum(axis=0) / weights.sum(axis=0)
    if drawn_from < 2:
        return means, np.full((1, *means.shape), np.nan)
    flat = sums.reshape(drawn_from, -1)
    draws = np.empty((resamples, *means.shape))
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // drawn_from)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        # how often each conversation is drawn: multinomial counts, by counting uniform draws, which is faster than
        # rng.multinomial
        drawn = rng.integers(0, drawn_from, (size, drawn_from)) + np.arange(size)[:, None] * drawn_from
        counts = np.bincount(drawn.ravel(), minlength=size * drawn_from).reshape(size, drawn_from).astype(np.float64)
        draws[start : start + size] = (counts @ flat).reshape(size, *means.shape) / (counts @ weights)[:, None, :]
    return means, draws


def _spread(draws: Floats) -> tuple[Floats, Floats, Floats]:
    """Lower end, upper end and standard error over the first axis; NaN where the draws are."""
    if np.isnan(draws).all():
        nothing = np.full(draws.shape[1:], np.nan)
        return nothing, nothing, nothing
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high, draws.std(axis=0, ddof=1)


def _known(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)
