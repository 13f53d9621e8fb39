"""Reddit-Movie's files (the second release) from simulated threads: one case a line, and the catalogues of names and ids.

The dirt is Reddit's: titles as typed, with and without a year, entities, `seen_titles` without years, answers that no corpus has.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rar_pipeline.sample.films import Film
from rar_pipeline.sample.raw import write_jsonl, write_text
from rar_pipeline.sample.session import Message, Session
from rar_pipeline.sample.simulator import Simulator
from rar_pipeline.sample.talk import thread

_PREFIX = {"seeker": "USER", "recommender": "SYSTEM"}
_UNKNOWN = (("The Paper Orchard", "2016"), ("Cobalt Lantern", "1987"))


def write_reddit(folder: Path, simulator: Simulator, threads: int) -> None:
    """`reddit_v2_sample_<cases>.jsonl` with one to three cases a thread (two on average), and the three catalogues."""
    rng = simulator.rng
    cases = []
    for place in range(threads):
        wording: dict[Message, str] = {}  # the post reads the same in all cases of its thread
        for number, session in enumerate(thread(simulator, replies=1 + place % 3)):
            cases.append(_case(session, f"train_{20 * place + 3 * number + 2}", wording, rng))
    write_jsonl(folder / f"reddit_v2_sample_{len(cases)}.jsonl", cases)
    films = simulator.landscape.films
    shuffled = [films[int(place)] for place in rng.permutation(len(films))]
    write_text(folder / "entity2id.json", json.dumps({film.label: film.imdb_id for film in shuffled}))
    write_text(folder / "item_ids.json", json.dumps([film.imdb_id for film in shuffled]))
    catalogue = sorted([film.title, film.year] for film in films)
    write_text(folder / "reddit_v2_gt_catalog.json", json.dumps(catalogue, indent=0, ensure_ascii=False))


def _case(session: Session, name: str, wording: dict[Message, str], rng: np.random.Generator) -> dict[str, object]:
    *context, answer = session.messages
    lines = [f"{_PREFIX[message.speaker]}: {_typed(message, wording, rng)}" for message in context]
    seen = dict.fromkeys(film.title for message in context for film in message.references if isinstance(film, Film))
    truth = [{"name": film.title, "year": str(film.year)} for film in answer.references if isinstance(film, Film)]
    if rng.random() < 0.04:
        title, year = _UNKNOWN[int(rng.integers(len(_UNKNOWN)))]
        truth.append({"name": title, "year": year})
    return {"sample_id": name, "conversation": "\n".join(lines), "seen_titles": list(seen), "groundtruth": truth}


def _typed(message: Message, wording: dict[Message, str], rng: np.random.Generator) -> str:
    if message not in wording:
        pieces = []
        for part in message.parts:
            if isinstance(part, Film):
                draw = rng.random()
                pieces.append(part.label if draw < 0.35 else part.title.lower() if draw < 0.45 else part.title)
            else:
                pieces.append(part if isinstance(part, str) else part.name)
        text = "".join(pieces).strip()
        wording[message] = text.replace("&", "&amp;") if rng.random() < 0.5 else text
    return wording[message]
