"""Results that papers printed, each with its protocol and source: to stand beside ours, never in one column with another protocol's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LRUREC = "Yue et al., Linear Recurrent Units for Sequential Recommendation, WSDM 2024; leave-last-out, all items ranked, history removed"
_HE = (
    "He et al., Large Language Models as Zero-Shot Conversational Recommenders, CIKM 2023; "
    "the authors' result files: new movies, seen titles removed, other titles kept"
)
_KOSTRIC = "Kostric and Balog, SIGIR 2026; the official test set of ReDial, 3,372 cases"


@dataclass(frozen=True)
class Published:
    """Figures of one system on the test set of one data set under one protocol; `cases`: how many there were, where the paper says so."""

    dataset: str
    protocol: str
    system: str
    metrics: Mapping[str, float]
    source: str
    cases: int | None = None


_HE_CASES = {"redial": 4288, "inspired": 211, "reddit": 19438}  # new targets


def _he(dataset: str, system: str, *values: float) -> Published:
    figures = dict(zip(("R@5", "R@10", "N@5", "N@10"), values, strict=True))
    return Published(dataset, "cikm23", system, figures, _HE, _HE_CASES[dataset])


def _kostric(system: str, *values: float) -> Published:
    return Published("redial", "fresh_turns", system, dict(zip(("R@1", "R@10", "R@50"), values, strict=True)), _KOSTRIC, 3372)


def _lrurec(dataset: str, system: str, *values: float) -> Published:
    return Published(dataset, "sequences", system, dict(zip(("N@10", "R@10"), values, strict=True)), _LRUREC)


PUBLISHED = (
    _he("redial", "GPT-4", 0.1350, 0.1959, 0.0922, 0.1118),
    _he("redial", "GPT-3.5", 0.1245, 0.1796, 0.0843, 0.1018),
    _he("inspired", "GPT-4", 0.1232, 0.1754, 0.0952, 0.1117),
    _he("inspired", "GPT-3.5", 0.0995, 0.1564, 0.0726, 0.0912),
    _he("reddit", "GPT-4", 0.0818, 0.1264, 0.0523, 0.0667),
    _he("reddit", "GPT-3.5", 0.0741, 0.1098, 0.0483, 0.0598),
    _kostric("KBRD", 0.017, 0.148, 0.300),
    _kostric("UniCRS", 0.024, 0.180, 0.335),
    _kostric("MESE", 0.025, 0.159, 0.361),
    _kostric("ECR", 0.026, 0.181, 0.337),
    _kostric("ReFICR", 0.018, 0.213, 0.465),
    _lrurec("ml-1m", "LRURec", 0.1930, 0.3264),
    _lrurec("ml-1m", "SASRec", 0.1902, 0.3181),
    _lrurec("video", "LRURec", 0.0620, 0.1134),
    _lrurec("beauty", "LRURec", 0.0309, 0.0528),
)


def tables(dataset: str | None = None) -> list[dict[str, Any]]:
    """What papers printed, of one data set or all, one table a (data set, protocol, source): with `metrics`, `cases`, and figures by system."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in PUBLISHED:
        if dataset in (None, entry.dataset):
            key = (entry.dataset, entry.protocol, entry.source)
            table = found.setdefault(
                key,
                {"dataset": entry.dataset, "protocol": entry.protocol, "source": entry.source, "cases": entry.cases}
                | {"metrics": list(entry.metrics), "systems": {}},
            )
            table["systems"][entry.system] = dict(entry.metrics)
    return list(found.values())
