"""Passes over the pipeline that run by themselves: which jobs a pass consists of, and what comes next after what has ended.

A pass is a chain of runs, since Dagster runs one partition a run: all of a step, then all of the next. Nothing here knows Dagster; defs/automation.py
asks it. What is not here: what a job makes (defs/automation.py), and when a pass begins (the schedules there).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

State = Literal["going", "succeeded", "failed"]


class Step(NamedTuple):
    """A job of a pass; `each`: one run a data set."""

    job: str
    each: bool


class Wanted(NamedTuple):
    """A run that is to be started; `key` is the same for the same run of the same pass."""

    job: str
    dataset: str | None
    key: str


RENEWAL = (Step("corpus", False), Step("conversations", True))
PASSES: Mapping[str, Sequence[Step]] = {
    "renewal": RENEWAL,
    "training": (*RENEWAL, Step("pretrain", False), Step("retrain", True), Step("summary", False)),
}


def first(name: str) -> Wanted:
    """The run that a pass begins with. name: kind of pass, `/`, when it was asked for."""
    return _wanted(name, PASSES[_kind(name)][0], ())[0]


def following(
    name: str, states: Mapping[tuple[str, str | None], State], known: Collection[str], datasets: Sequence[str]
) -> list[Wanted]:
    """Runs that come next in a pass, by the states of its runs (job, data set) and the keys of those that were asked for.

    A step begins when all of the step before has ended. A data set that failed is left behind, and catches up where its run is executed again with
    success; a failure of what all data sets share ends the pass until then.
    """
    carried = list(datasets)
    for before, step in pairwise(PASSES[_kind(name)]):
        found = [states.get((before.job, dataset), "going") for dataset in (carried if before.each else [None])]
        if "going" in found:
            return []
        if before.each:
            carried = [dataset for dataset, state in zip(carried, found, strict=True) if state == "succeeded"]
        if not carried or (not before.each and found != ["succeeded"]):
            return []
        if missing := [one for one in _wanted(name, step, carried) if one.key not in known]:
            return missing
    return []


def _wanted(name: str, step: Step, datasets: Sequence[str]) -> list[Wanted]:
    if step.each:
        return [Wanted(step.job, dataset, f"{name}/{step.job}/{dataset}") for dataset in datasets]
    return [Wanted(step.job, None, "/".join((name, step.job, "+".join(datasets))).rstrip("/"))]


def _kind(name: str) -> str:
    return name.partition("/")[0]
