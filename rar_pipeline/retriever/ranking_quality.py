"""The figures that training watches: recall of candidates and NDCG on the validation cases (PROTOCOL.md, `fresh_turns`)."""

from __future__ import annotations

import numpy as np
import polars as pl

from rar_pipeline.retriever.catalogue import Catalogue


def ndcg(found: np.ndarray, cases: pl.DataFrame, catalogue: Catalogue) -> float:
    """Mean over cases of `ndcg_by_case`."""
    return float(ndcg_by_case(found, cases, catalogue).mean()) if len(found) else 0.0


def ndcg_by_case(found: np.ndarray, cases: pl.DataFrame, catalogue: Catalogue) -> np.ndarray:
    """NDCG (n,) of catalogue rows found (n, k), against the ideal list."""
    width = found.shape[1]
    discount = 1 / np.log2(np.arange(width) + 2)
    gains = [
        (np.isin(rows, catalogue.rows(targets)) * discount).sum() / discount[: len(targets) + unlinked].sum()
        for rows, targets, unlinked in zip(found, cases["targets"], cases["unlinked_targets"], strict=True)
    ]
    return np.array(gains, float)


def ranking_quality(found: np.ndarray, cases: pl.DataFrame, catalogue: Catalogue) -> dict[str, float]:
    """Means over cases of `recall_10`, `recall_20` (hits / targets) and `ndcg_10` (ideal list) of catalogue rows found (n, k >= 20)."""
    recall = np.zeros((len(cases), 2))
    for case, (targets, unlinked) in enumerate(zip(cases["targets"], cases["unlinked_targets"], strict=True)):
        hit = np.isin(found[case, :20], catalogue.rows(targets))
        recall[case] = np.array([hit[:10].sum(), hit.sum()]) / (len(targets) + unlinked)
    means = recall.mean(axis=0) if len(cases) else np.zeros(2)
    return {"recall_10": float(means[0]), "recall_20": float(means[1]), "ndcg_10": ndcg(found[:, :10], cases, catalogue)}
