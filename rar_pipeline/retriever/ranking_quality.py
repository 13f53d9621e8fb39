"""The figures that training watches: recall of candidates and NDCG on the validation cases (PROTOCOL.md, `fresh_turns`)."""

from __future__ import annotations

import numpy as np
import polars as pl

from rar_pipeline.retriever.catalogue import Catalogue


def ranking_quality(found: np.ndarray, cases: pl.DataFrame, catalogue: Catalogue) -> dict[str, float]:
    """Means over cases of `recall_10`, `recall_20` (hits / targets) and `ndcg_10` (ideal list) of catalogue rows found (n, k >= 20)."""
    figures = np.zeros((len(cases), 3))
    discount = 1 / np.log2(np.arange(10) + 2)
    for case, (targets, unlinked) in enumerate(zip(cases["targets"], cases["unlinked_targets"], strict=True)):
        total = len(targets) + unlinked
        hit = np.isin(found[case, :20], catalogue.rows(targets))
        gain = (hit[:10] * discount[: len(hit[:10])]).sum() / discount[:total].sum()
        figures[case] = hit[:10].sum() / total, hit.sum() / total, gain
    means = figures.mean(axis=0) if len(cases) else np.zeros(3)
    return dict(zip(("recall_10", "recall_20", "ndcg_10"), means.tolist(), strict=True))
