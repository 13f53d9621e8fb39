"""Raw answers of an LLM, asked elsewhere, as ranked lists of the names of `entity2id.json`, so that published answers can be scored again.

One JSON object a line: `index` (a line of `test.jsonl`, from 0), `prompt`, `resp` in the shape of a chat completion. The rules are those of He et al.
(CIKM 2023): a title stands for the name with the least edit distance to it, however far that is, and keeps its place where nothing is meant by it;
a second reading drops titles that are more than two edits from every name, as the authors do in their filtered results.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from rar_pipeline.conversations.cikm23 import CikmTest, Row, comparable
from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines
from rar_pipeline.generation import generate

CLOSE = 2  # edits up to which a title means a name

_NUMBER = re.compile(r"^[*_\s]*(?:#|\()?\d{1,3}\s*[.):、]\s*|^\s*[-*•–]\s+")
_FIRST = re.compile(r"(?<!\d)1[.):]")
_COMMENT = re.compile(r"\s+[-–—|]\s+.*$")
_AROUND = ' \t"“”«».,;'
_ROWS = 256  # titles compared with all names at once: 256 x 30,000 distances of two bytes are 15 MB


@dataclass(frozen=True)
class Reply:
    """One line of the file: the row that it is about, what was asked, and the answer's text (None: the call had failed)."""

    index: int
    prompt: str
    content: str | None


@dataclass(frozen=True)
class NamedLists:
    """Names as each answer ranks them, by the row's place among those that count, what was named before left out.

    `nearest`: every title as its nearest name; `close`: only titles that are close to a name. `counts`: what was met with on the way.
    """

    nearest: Mapping[int, list[str]]
    close: Mapping[int, list[str]]
    counts: Mapping[str, int]


def read_answers(path: Path) -> list[Reply]:
    """The answers of a file. Raises RarError naming the line that is malformed, or answers a row twice."""
    replies: dict[int, Reply] = {}
    for number, record in json_lines(path):
        if not isinstance(record, dict) or not isinstance(record.get("index"), int) or "resp" not in record:
            raise RarError(f"{path}, line {number}: expected a JSON object with `index` (a number), `prompt` and `resp`")
        if record["index"] in replies:
            raise RarError(f"{path}, line {number}: index {record['index']} was answered before")
        content = None
        if not isinstance(record["resp"], str):  # the authors note a failed call as text
            try:
                content = str(record["resp"]["choices"][0]["message"]["content"] or "")
            except (KeyError, IndexError, TypeError):
                raise RarError(f"{path}, line {number}: `resp` has no choices[0].message.content") from None
        replies[record["index"]] = Reply(record["index"], str(record.get("prompt") or ""), content)
    if not replies:
        raise RarError(f"{path}, line 1: no answer there")
    return list(replies.values())


def titles_of(content: str) -> list[str]:
    """Titles of an answer as they were written, in order: the numbered list, else JSON, else what commas and line ends separate."""
    start = _FIRST.search(content)
    listed = [line for line in content[start.start() :].splitlines() if _NUMBER.match(line)] if start else []
    if not listed:
        listed = [title for title, _ in generate.read(content)] or re.split(r"[,\n]", content)
    titles = (_NUMBER.sub("", line).replace("*", "").replace("`", "").strip(_AROUND) for line in listed)
    return [title for title in titles if comparable(title)]


def align(replies: Sequence[Reply], rows: Sequence[Row]) -> dict[int, Reply]:
    """Answers by the place of their row. `index` counts the lines of the file or the rows that count: whichever the prompts bear out."""
    lines = {row.line: place for place, row in enumerate(rows)}
    by_line = {lines[reply.index]: reply for reply in replies if reply.index in lines}
    by_place = {reply.index: reply for reply in replies if 0 <= reply.index < len(rows)}
    return max(by_line, by_place, key=lambda aligned: (borne_out(aligned, rows), len(aligned)))


def borne_out(aligned: Mapping[int, Reply], rows: Sequence[Row]) -> float:
    """Share of prompts that hold the last thing said in their row's context; 0 where no answer has a prompt."""
    asked = [(reply.prompt, rows[place].turns[-1].text) for place, reply in aligned.items() if reply.prompt and rows[place].turns]
    return sum(" ".join(said.split()) in " ".join(prompt.split()) for prompt, said in asked) / max(len(asked), 1)


def nearest_names(titles: Collection[str], names: Collection[str]) -> dict[str, tuple[str, int]]:
    """For each title the name with the least edit distance (case apart), and that distance; the earlier of `names` among equals."""
    by_key: dict[str, str] = {}
    for name in names:
        by_key.setdefault(name.casefold(), name)
    keys = list(by_key)
    found = {title: (by_key[title.casefold()], 0) for title in titles if title.casefold() in by_key}
    rest = sorted(set(titles) - found.keys())
    for start in range(0, len(rest), _ROWS):
        part = rest[start : start + _ROWS]
        distances = process.cdist([title.casefold() for title in part], keys, scorer=Levenshtein.distance, dtype=np.uint16)
        for title, place, distance in zip(part, distances.argmin(axis=1), distances.min(axis=1), strict=True):
            found[title] = (by_key[keys[int(place)]], int(distance))
    return found


def named_lists(replies: Mapping[int, Reply], test: CikmTest) -> NamedLists:
    """The lists of all answers. A name that an answer repeats keeps its first place and, as a miss, its later ones."""
    ordered = sorted(test.entities, key=lambda number: (number not in test.items, test.entities[number].name, number))
    written = {place: titles_of(reply.content or "") for place, reply in replies.items()}
    forms = {
        title: (comparable(title).strip(_AROUND), comparable(_COMMENT.sub("", title)).strip(_AROUND))
        for listed in written.values()
        for title in listed
    }
    names = nearest_names({form for pair in forms.values() for form in pair}, [test.entities[number].name for number in ordered])
    # "Title - what makes it good": without the comment only where the whole is no name
    meant = {
        title: names[short] if names[whole][1] > CLOSE >= names[short][1] else names[whole]
        for title, (whole, short) in forms.items()
    }
    counts = {
        "answers": len(replies),
        "failed calls": sum(reply.content is None for reply in replies.values()),
        "answers without a list": sum(reply.content is not None and not written[place] for place, reply in replies.items()),
        "rows without an answer": len(test.rows) - len(replies),
        "titles": 0,
        "unmatched": 0,
        "named before": 0,
        "repeated": 0,
    }
    nearest: dict[int, list[str]] = {}
    close: dict[int, list[str]] = {}
    for place, listed in sorted(written.items()):
        seen = {test.entities[number].name for number in test.rows[place].seen}
        pairs = [meant[title] for title in listed]
        counts["titles"] += len(pairs)
        counts["unmatched"] += sum(distance > CLOSE for _, distance in pairs)
        counts["named before"] += sum(distance <= CLOSE and name in seen for name, distance in pairs)
        matched = [name for name, distance in pairs if distance <= CLOSE and name not in seen]
        counts["repeated"] += len(matched) - len(set(matched))
        nearest[place] = _marked(name for name, _ in pairs if name not in seen)
        close[place] = _marked(matched)
    return NamedLists(nearest, close, counts)


def _marked(names: Iterable[str]) -> list[str]:
    """The list with later occurrences of a name made names of nothing."""
    found: list[str] = []
    met: set[str] = set()
    for place, name in enumerate(names):
        found.append(f"\0repeated {place}" if name in met else name)
        met.add(name)
    return found
