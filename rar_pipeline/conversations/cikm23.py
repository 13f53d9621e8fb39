"""The test files of He et al. ("Large Language Models as Zero-Shot Conversational Recommenders", CIKM 2023), and which of it counts.

`test.jsonl` has one turn a line: `context` (what was said before), `resp`, `rec` (ids of what the turn recommends), `prev_entity` (ids of what was
named before), `is_user`, `dialog_id`, `turn_id`; the context may stand in `input` instead, as `User:` and `System:` lines. `entity2id.json` gives
names their ids: DBpedia addresses or `Title (year)`, people and genres among them; `item_ids.json` says which ids are movies.

What counts, as in the authors' evaluation: recommenders' turns that recommend something; a target is new where its name without brackets is not
among those of `prev_entity`. Where that field is missing, what was named before is what earlier turns of the dialogue recommended and what
can be found in the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rar_pipeline.conversations.reading import Turn, clean, merge_turns
from rar_pipeline.corpus.normalise import normalise_title, split_year
from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines, text_lines

TEST, ENTITIES, ITEMS = "test.jsonl", "entity2id.json", "item_ids.json"
LONGEST = 12  # words of a title that is looked for in a text

_ADDRESS = re.compile(r"^<?https?://[^/]+/resource/(.+?)>?$")
_IMDB_ID = re.compile(r"tt\d{7,}")
_BRACKETS = re.compile(r"\([^()]*\)")
_YEAR = re.compile(r"\((\d{4})\)")
_SPOKEN = re.compile(r"(?:^|\n)\s*(User|Seeker|System|Recommender):[ \t]*", re.IGNORECASE)


@dataclass(frozen=True)
class Entity:
    """What an id stands for. `name` is what the protocol compares: no brackets, blanks for dashes; `title`, `year`, `imdb_id` are for the corpus."""

    name: str
    title: str
    year: int | None = None
    imdb_id: str | None = None


@dataclass(frozen=True)
class Row:
    """A turn that counts. `line`: its place among all lines of the file, from 0. `targets`, `seen`: ids; what was named before in order."""

    line: int
    dialogue_id: str
    turns: tuple[Turn, ...]
    targets: tuple[str, ...]
    seen: tuple[str, ...]


@dataclass(frozen=True)
class CikmTest:
    """The turns that count, what ids mean, which of them are items, and how many lines do not count, by reason."""

    rows: tuple[Row, ...]
    entities: Mapping[str, Entity]
    items: frozenset[str]
    dropped: Mapping[str, int]

    def fresh(self, row: Row) -> list[str]:
        """New targets of a turn, in order. What is given twice counts twice, as it does for the authors."""
        named = {self.entities[number].name for number in row.seen}
        return [target for target in row.targets if self.entities[target].name not in named]


def read(test: Path, entities: Path, items: Path) -> CikmTest:
    """The three files. Raises RarError naming file and line where one is missing or malformed."""
    numbers = {str(name): str(number) for name, number in _json(entities, dict).items()}
    known = {number: entity(name, number) for name, number in numbers.items()}
    listed = frozenset(str(number) for number in _json(items, list)) & known.keys()
    if not listed:
        raise RarError(f"{items}: none of its ids stands in {entities.name}; the two files do not belong together")
    mentions = _Mentions({number: known[number] for number in listed})
    earlier: defaultdict[str, list[str]] = defaultdict(list)
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    said: set[str] = set()
    for line, (number, record) in enumerate(json_lines(test)):
        where = f"{test}, line {number}"
        if not isinstance(record, dict) or "rec" not in record or not ("context" in record or "input" in record):
            raise RarError(f"{where}: expected a JSON object with `context` and `rec`")
        targets = _ids(record["rec"], numbers, known, f"{where}: rec")
        dialogue_id = str(record.get("dialog_id", f"line {number}"))
        turns = _turns(record, where)
        said |= {turn.text for turn in turns} | {str(record.get("resp") or "")}
        if record.get("is_user"):
            dropped["turn of the user"] += 1
        elif not targets:
            dropped["turn that recommends nothing"] += 1
        else:
            if "prev_entity" in record:
                seen = _ids(record["prev_entity"], numbers, known, f"{where}: prev_entity")
            else:
                seen = [*earlier[dialogue_id], *(found for turn in turns for found in mentions.find(turn.text))]
            rows.append(Row(line, dialogue_id, turns, tuple(targets), tuple(dict.fromkeys(seen))))
        earlier[dialogue_id] += targets
    if not rows:
        raise RarError(f"{test}: no turn of a recommender recommends anything; expected the test.jsonl of the CIKM'23 data")
    return CikmTest(tuple(rows), known | mentions.dated(said), listed, dropped)


def entity(name: str, number: str = "") -> Entity:
    """The entity of a name of `entity2id.json`; DBpedia's `_(2017_film)` gives the year, other words in brackets nothing."""
    address = _ADDRESS.match(name)
    text = clean(unquote(address[1]).replace("_", " ") if address else name)
    title, year = split_year(text)
    title = clean(_BRACKETS.sub("", title)) if address else title
    imdb_id = number if _IMDB_ID.fullmatch(number) else None
    return Entity(comparable(text) or text, title or text, year, imdb_id)


def comparable(title: str) -> str:
    """A title as names are compared: without brackets, blanks for dashes, the case kept."""
    return clean(_BRACKETS.sub("", title).replace("_", " ").replace("-", " "))


class _Mentions:
    """Finds items in what was said: `Title (year)` whatever the title, a bare title where it has two words or more."""

    def __init__(self, items: Mapping[str, Entity]) -> None:
        self._items = items
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)
        for number, item in items.items():
            self._by_key[normalise_title(item.title)].append(number)

    def find(self, text: str) -> list[str]:
        """Ids of the items that a text names, in order."""
        found: list[str] = []
        words = text.split()
        start = 0
        while start < len(words):
            for stop in range(min(start + LONGEST, len(words)), start, -1):
                if chosen := self._meant(" ".join(words[start:stop])):
                    found.append(chosen)
                    start = stop - 1
                    break
            start += 1
        return found

    def _meant(self, words: str) -> str | None:
        title, year = split_year(words.rstrip(".,;:!?"))
        key = normalise_title(title)
        candidates = self._by_key.get(key, ())
        if year is None:
            return candidates[0] if candidates and " " in key else None
        near = sorted(candidates, key=lambda number: self._items[number].year != year)
        return near[0] if near and self._items[near[0]].year in (year, None) else None

    def dated(self, texts: Iterable[str]) -> dict[str, Entity]:
        """Items without a year that the dialogues write with one, each with the year that they write most often."""
        years: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for text in sorted(texts):
            for written in _YEAR.finditer(text):
                words = text[: written.start()].split()
                keys = (normalise_title(" ".join(words[-count:])) for count in range(min(LONGEST, len(words)), 0, -1))
                if key := next((key for key in keys if key in self._by_key), None):
                    years[key][int(written[1])] += 1
        return {
            number: replace(self._items[number], year=years[key].most_common(1)[0][0])
            for key in years
            for number in self._by_key[key]
            if self._items[number].year is None
        }


def _json(path: Path, kind: type) -> Any:  # noqa: ANN401 - what a JSON file holds
    try:
        value = json.loads("\n".join(text_lines(path)))
    except json.JSONDecodeError as error:
        raise RarError(f"{path}, line {error.lineno}: no JSON ({error.msg})") from None
    if not isinstance(value, kind):
        raise RarError(f"{path}, line 1: expected a JSON {'object' if kind is dict else 'list'}")
    return value


def _ids(value: object, numbers: Mapping[str, str], known: Collection[str], where: str) -> list[str]:
    """Ids of a field; it may hold names in place of ids, and one in place of a list."""
    found = []
    for given in value if isinstance(value, list) else [] if value is None else [value]:
        number = str(given) if str(given) in known else numbers.get(str(given))
        if number is None:
            raise RarError(f"{where}: {given!r} is not in {ENTITIES}")
        found.append(number)
    return found


def _turns(record: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    """The context as turns. In a list speakers alternate, and the last to speak before a recommender is the seeker."""
    context = record.get("context", record.get("input"))
    if isinstance(context, str):
        parts = _SPOKEN.split(context)
        pairs = list(zip(parts[1::2], parts[2::2], strict=True)) or [("user", context)]
        spoken = [("seeker" if who.lower() in ("user", "seeker") else "recommender", text) for who, text in pairs]
    elif isinstance(context, list) and all(isinstance(text, str) for text in context):
        last = "recommender" if record.get("is_user") else "seeker"
        other = "seeker" if record.get("is_user") else "recommender"
        spoken = [(last if (len(context) - place) % 2 else other, text) for place, text in enumerate(context)]
    else:
        raise RarError(f"{where}: `context` is {type(context).__name__}; expected a list of turns, or text")
    return tuple(merge_turns(Turn(who, clean(text)) for who, text in spoken if text.strip()))
