"""Which version serves a data set: the gate that a challenger must pass, on validation data only, and the way back.

In the champion's folder lie `champion.json` (what serves now, and why), `history.json` (every change: when, by whom, why, who lost) and
`versions/<id>/`, a copy of each version that ever served: what is trained later overwrites rounds, never what serves. Only the asset
`champion` calls what writes here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.bootstrap import FEWEST, paired_difference
from rar_pipeline.evaluation.systems import INCUMBENT, after_llm, fused, in_words, ordered
from rar_pipeline.files import maker, sha256_of, write_json, writing
from rar_pipeline.retriever.version import WEIGHTS, Version, read_record

METRIC = "N@10"
PREVIOUS = "previous"
_SHORT = 12  # characters of a hash that tell versions apart
ASKED_WITH = ("encoder", "context_turns", "max_history")  # what a query is made of

Record = dict[str, Any]
Fit = Callable[[str], float]  # version -> weight of the LLM in its fused list, fitted on validation cases


def choose_champion(
    metrics: pl.DataFrame,
    versions: Sequence[str],
    present: str | None,
    seed: int,
    fit: Fit,
    barred: Mapping[str, str] | None = None,
) -> Record:
    """The version that serves, how much the LLM's order counts in what it lists (`llm_weight`), and why.

    metrics: METRICS of one data set; versions: systems, oldest first; present: the one that serves now, None at the beginning; barred: why a
    system may not take part. A challenger takes the place of the champion only where its validation N@10 is higher by a paired bootstrap
    (95 % interval above zero) on all cases of the champion. Then its own order is challenged in the same way, on the cases that the LLM saw, by
    the LLM's and by both fused, the weight of each validation case fitted on others. Test data has no say. Every comparison is on record.
    """
    barred = barred or {}
    standing = [name for name in versions if name not in barred]
    champion = present if present in standing else standing[0] if standing else versions[0]
    trials: list[Record] = []
    for challenger in versions:
        if challenger == champion:
            continue
        if challenger in barred:
            trials.append(_trial(challenger, champion) | {"barred": barred[challenger]})
            continue
        trials.append(compare(metrics, challenger, champion, seed))
        if trials[-1]["wins"]:
            champion = challenger
    serves = champion
    for challenger in (after_llm(champion), fused(champion)):
        if challenger in barred:
            trials.append(_trial(challenger, serves) | {"barred": barred[challenger]})
            continue
        trials.append(compare(metrics, challenger, serves, seed, some_cases=True))
        serves = challenger if trials[-1]["wins"] else serves
    won = [trial for trial in trials if trial["wins"]]
    why = (
        "; ".join(f"{trial['challenger']} beat {trial['champion']}" for trial in won)
        if won
        else f"no challenger beat {champion} beyond the noise"
    )
    few = [trial for trial in trials if (trial["low"] or 0) > 0 and trial["conversations"] < FEWEST]
    why += "".join(f"; {trial['challenger']} met it in {trial['conversations']} conversations, too few to win" for trial in few)
    return {
        "version": champion,
        "llm_weight": fit(champion) if serves == fused(champion) else float(serves != champion),
        "metric": METRIC,
        "split": "validation",
        "why": why,
        "trials": trials,
    }


def compare(metrics: pl.DataFrame, challenger: str, champion: str, seed: int, *, some_cases: bool = False) -> Record:
    """One trial: difference of validation N@10, its interval, the number of cases, and whether the challenger wins.

    It cannot win on fewer cases than the champion answered, but for `some_cases`: the LLM is asked about a part. Nor on a few conversations
    (`bootstrap.FEWEST`), of which no interval can be believed.
    """
    mine, theirs = (
        metrics.filter(pl.col("split") == "validation", pl.col("protocol") == "fresh_turns", pl.col("system") == system)
        for system in (challenger, champion)
    )
    found = paired_difference(mine, theirs, METRIC, seed=seed)
    whole = some_cases or found.cases == theirs["case_id"].n_unique()
    figures = found._asdict() if found.cases else {}
    return _trial(challenger, champion) | figures | {"wins": whole and found.beats}


def _trial(challenger: str, champion: str) -> Record:
    nothing = dict.fromkeys(("difference", "low", "high"))
    return {"challenger": challenger, "champion": champion, **nothing, "cases": 0, "conversations": 0, "wins": False}


def unmet(champion: Mapping[str, Any]) -> list[str]:
    """Challengers that did not meet the champion on any case, though nothing barred them."""
    return [trial["challenger"] for trial in champion["trials"] if not trial["cases"] and "barred" not in trial]


def told(champion: Mapping[str, Any]) -> str:
    """The choice in one sentence."""
    served = f"{champion['version']} {in_words(champion['llm_weight'])}"
    by_gate = champion.get("by", "gate") == "gate"
    return f"{served}: {champion['why']}" + (f" (validation {champion['metric']}, paired bootstrap)" if by_gate else "")


def read_champion(folder: Path) -> Record | None:
    """What serves; None where nothing does yet. Raises RarError where the record is damaged."""
    found = _read(folder / "champion.json", None)
    return None if found is None else _weighted(found)


def read_history(folder: Path) -> list[Record]:
    """Every change of what serves, oldest first. Raises RarError where the record is damaged."""
    return [_weighted(change) for change in _read(folder / "history.json", {"changes": []})["changes"]]


def _weighted(record: Record) -> Record:
    """A record with `llm_weight`; those of before fusion say only whether the LLM re-ranks."""
    llm = record.pop("llm", False)
    return {"llm_weight": float(llm)} | record


def _read(path: Path, absent: Any) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return absent
    except ValueError as error:
        raise RarError(
            f"{path}: damaged ({error}); move the file away and materialise the asset champion: the gate then decides anew"
        ) from None


def champion_folder(lake: Path, champion: Mapping[str, Any]) -> Path:
    """Where the weights that serve lie in a world's lake; in lakes of before this copy, those of the round."""
    if "folder" in champion:
        return lake / champion["folder"]
    return lake / "retriever" / champion["version"] / f"dataset={champion['dataset']}"


def incumbent(lake: Path, folder: Path, rounds: Mapping[str, Path], made_of: Mapping[str, Any]) -> dict[str, Path]:
    """What serves, as a system `incumbent`, where its weights are no longer those of a round; else nothing.

    A champion that is asked otherwise than the settings say (`made_of`: encoder, turns and history that are read) cannot be compared.
    """
    champion = read_champion(folder)
    if champion is None or champion["weights_sha256"] in {read_record(path).weights_sha256 for path in rounds.values()}:
        return {}
    place = champion_folder(lake, champion)
    if not (place / WEIGHTS).is_file() or sha256_of(place / WEIGHTS) != champion["weights_sha256"]:
        return {}
    training = read_record(place).training
    return {INCUMBENT: place} if all(training.get(name, made_of[name]) == made_of[name] for name in ASKED_WITH) else {}


def served_as(champion: Mapping[str, Any], systems: Collection[str], rounds: Mapping[str, str]) -> str | None:
    """The system that is what serves: the round of its weights, or the incumbent; None where none of `systems` is. `rounds`: name -> weights."""
    names = [name for name, weights in rounds.items() if weights == champion["weights_sha256"]]
    version = next((name for name in (champion["version"], *names) if name in names), INCUMBENT)
    system = ordered(version, champion["llm_weight"])
    return system if system in systems else None


def name_of(version: Version) -> str:
    """The id of a version among all that ever served: its name and the beginning of its weights' hash."""
    return f"{version.name}-{version.weights_sha256[:_SHORT]}"


def decide(
    lake: Path, folder: Path, rounds: Mapping[str, Path], metrics: pl.DataFrame, fit: Fit, seed: int, *, when: str, run: str
) -> Record:
    """Hold the gate, and make the winner what serves. `rounds`: system -> folder, oldest first, the incumbent among them where there is one.

    `when` and `run` go into the history. Raises RarError where a version's weights are not those on record.
    """
    history, present = read_history(folder), read_champion(folder)
    records = {name: _checked(path) for name, path in rounds.items()}
    out = _taken_out(history)
    barred = {
        order(name): out[key]
        for name, record in records.items()
        for order in (str, after_llm, fused)
        if (key := order(record.weights_sha256[:_SHORT])) in out
    }
    now = None
    if present is not None:
        same = [name for name, record in records.items() if record.weights_sha256 == present["weights_sha256"]]
        now = next((name for name in same if name == present["version"]), same[0] if same else None)
    choice = choose_champion(metrics, list(rounds), now, seed, fit, {name: why for name, why in barred.items() if name != now})
    system = choice["version"]
    choice |= {"version": records[system].name, "by": "gate"}
    if present is not None and now is None:
        choice["why"] += (
            f"; the champion of before, {present['version']}, could not take part: its weights or texts are not at hand"
        )
    return _crown(lake, folder, rounds[system], choice, history, present, when, run)


def roll_back(lake: Path, folder: Path, to: str, rounds: Mapping[str, Path], reason: str, *, when: str, run: str) -> Record:
    """Make an earlier version serve again, in the order in which it served, whatever the gate says; it lets what was taken out, a version or an
    order of its candidates, in again only when trained anew.

    `to`: `previous`, an id of the history or the beginning of one, or the name of a round. Raises RarError where there is no such version.
    """
    history, present = read_history(folder), read_champion(folder)
    kept = {path.name: path for path in sorted((folder / "versions").glob("*")) if (path / WEIGHTS).is_file()}
    served = list(dict.fromkeys(change["id"] for change in reversed(history) if change["id"] in kept))
    changes = [change for change in reversed(history) if change["id"] in kept]
    if to == PREVIOUS:
        changes = [change for change in changes if not present or _served(change) != _served(present)]
        found = [kept[change["id"]] for change in changes]
    else:
        exact = [rounds[to]] if to in rounds else []
        found = exact or [kept[key] for key in served if key == to or key.startswith(f"{to}-") or key.startswith(to)]
    if not found:
        known = ", ".join([*rounds, *served]) or "none"
        raise RarError(f"rollback to {to!r}: no such version of {folder.name}; there are: {known}")
    version = _checked(found[0])
    weights = [change["llm_weight"] for change in changes if change["id"] == name_of(version)]
    choice: Record = {
        "version": version.name,
        "llm_weight": weights[0] if weights else 0.0,
        "metric": METRIC,
        "split": "validation",
        "why": f"rolled back by a person: {reason or 'no reason given'}",
        "trials": [],
        "by": "rollback",
    }
    return _crown(lake, folder, found[0], choice, history, present, when, run)


def _checked(folder: Path) -> Version:
    """The record of a version whose weights are those on record."""
    version = read_record(folder)
    if not (folder / WEIGHTS).is_file() or sha256_of(folder / WEIGHTS) != version.weights_sha256:
        raise RarError(f"{folder / WEIGHTS}: missing, or not the weights on record; materialise {version.name}/retriever again")
    return version


def _taken_out(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Weights (the end of an id) that a rollback replaced and that were not called back since, each with the reason.

    Where it replaced only the order of the same weights' candidates, these as the system of that order.
    """
    out: dict[str, str] = {}
    for before, change in zip((None, *history), history, strict=False):
        here = change["id"][-_SHORT:]
        if change["by"] == "rollback" and before:
            there = change["replaced"][-_SHORT:] if change["replaced"] else ordered(here, before["llm_weight"])
            out[there] = f"taken out at {change['when']}: {change['why']}"
        for key in (here, ordered(here, change["llm_weight"])):
            out.pop(key, None)
    return out


def _served(change: Mapping[str, Any]) -> tuple[str | None, float]:
    """What tells two changes apart: the version, and how much the LLM's order counts."""
    return change.get("id"), change["llm_weight"]


def _crown(
    lake: Path, folder: Path, source: Path, choice: Record, history: list[Record], present: Record | None, when: str, run: str
) -> Record:
    """Keep a copy of the version, then say that it serves, then note the change."""
    version = read_record(source)
    key = name_of(version)
    place = folder / "versions" / key
    if not place.is_dir():
        part = place.with_name(f".{key}.{maker()}.part")
        try:
            with writing(place):
                shutil.copytree(source, part)
                part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    dataset = folder.name.removeprefix("dataset=")
    record = {"dataset": dataset, "id": key, **choice, "weights_sha256": version.weights_sha256}
    record |= {"folder": place.relative_to(lake).as_posix()}
    changed = present is None or not history or _served(present) != (key, choice["llm_weight"])
    since = when if changed or present is None else present.get("since", when)
    write_json(folder / "champion.json", record | {"since": since})
    if changed:
        change = {"when": when, "run": run, "by": choice["by"], "id": key, "version": version.name}
        change |= {"llm_weight": choice["llm_weight"]}
        change |= {"replaced": present.get("id") if present and present.get("id") != key else None, "why": choice["why"]}
        change["lost"] = [trial["challenger"] for trial in choice["trials"] if not trial["wins"]]
        write_json(folder / "history.json", {"changes": [*history, change]})
    return record | {"since": since}
