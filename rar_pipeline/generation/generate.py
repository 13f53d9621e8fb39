"""Mode generate: the model writes titles; they are read tolerantly and matched to movies, and what does not match is counted.

This is the paper's mode, for capable models. Structured output (a JSON schema) is used where the endpoint takes it; the reader takes
whatever comes: JSON, JSON in a code fence, numbered or bulleted lines, with quotes, emphasis and comments behind the year.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from rar_pipeline.generation import prompts
from rar_pipeline.generation.abilities import Abilities
from rar_pipeline.generation.cache import Call
from rar_pipeline.generation.client import Client, Part, Reply
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Match, Question, Title

PROMPT, PROMPT_ALONE = prompts.FILES["generate"]
TOKENS_PER_TITLE = 24

_MARKER = re.compile(r"^\s*(?:[-*•–]\s+|\(?\d{1,3}\s*[.):]\s*|#\d{1,3}\s+)")
_NUMBERED = re.compile(r"^\s*[*_]*\(?\d{1,3}\s*[.):]")
_TITLE_YEAR = re.compile(r"^(?P<title>.+?)\s*[\[(](?P<year>(?:18|19|20)\d\d)\b[^)\]]{0,20}[\])]")
_QUOTED = re.compile(r"""^["“«'‘](?P<title>.+?)["”»'’](?:\s|$|,|:)""")
_THOUGHTS = re.compile(r"^\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_COMMENT = re.compile(r"\s+[-–—|]\s+.*$")


@dataclass(frozen=True)
class Grounded:
    """Generated titles as movies: `ranking` of movie_ids, every title with its fate, and how many were dropped for which reason."""

    ranking: tuple[str, ...]
    titles: tuple[Title, ...]
    unmatched: int
    repeated: int
    already_seen: int


def parts(question: Question, handle: LanguageModelHandle, answers: int) -> list[Part]:
    """The chat messages and the length that the answer may have, as the one part."""
    context = prompts.conversation(question.context, handle.context_characters)
    if question.candidates:
        lines = (f"{i}. {prompts.line(c, handle.card_characters)}" for i, c in enumerate(question.candidates, 1))
        messages = prompts.chat_messages(PROMPT, conversation=context, candidates="\n".join(lines), answers=answers)
    else:
        messages = prompts.chat_messages(PROMPT_ALONE, conversation=context, answers=answers)
    part: dict[str, Any] = {"messages": list(messages), "max_tokens": answers * TOKENS_PER_TITLE + 32 + handle.thinking_tokens}
    return [part | ({"reasoning_effort": handle.reasoning_effort} if handle.reasoning_effort else {})]


async def send(client: Client, missing: list[Part], abilities: Abilities, call: Call) -> list[Reply]:
    """Ask for the list; `raw` is the text as it came."""
    limit = "max_tokens" if "max_tokens" in abilities.chat else "max_completion_tokens"
    parameters = abilities.chat | {limit: missing[0]["max_tokens"]}
    answer = await client.chat(call, missing[0]["messages"], **parameters)
    usage = answer["usage"] or {}
    content = answer["choices"][0]["message"]["content"] or ""
    return [Reply(content, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))]


def read(raw: str) -> list[tuple[str, int | None]]:
    """(title, year or None) of every entry, in order; empty where nothing looks like a list of titles. Thoughts before the answer do not count."""
    raw = _THOUGHTS.sub("", raw)
    entries = _from_json(raw)
    if entries is None:
        lines = [line for line in raw.splitlines() if line.strip() and not line.strip().startswith("```")]
        listed = [line for line in lines if _MARKER.match(line) or _NUMBERED.match(line)]
        # a line in the middle of a list that is not marked is commentary; without any marks, lines with a year are titles
        entries = listed or [line for line in lines if _TITLE_YEAR.match(line.strip(' "*_'))]
    found = [_title_and_year(entry) for entry in entries]
    return [(title, year) for title, year in found if title]


def _from_json(raw: str) -> list[Any] | None:
    """The list of a JSON answer, also of one that was cut off; None where the answer is no JSON."""
    start = min((at for at in (raw.find("{"), raw.find("[")) if at >= 0), default=-1)
    if start < 0 or (
        raw[:start].strip().strip("`") not in ("", "json") and not raw[:start].rstrip().endswith(("```", "```json", ":"))
    ):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(raw[start:])
    except ValueError:
        # cut off: what is complete counts
        return re.findall(r'"((?:[^"\\]|\\.)*\(\d{4}\))"', raw[start:]) or None
    if isinstance(value, dict):
        value = next((v for v in value.values() if isinstance(v, list)), None)
    return value if isinstance(value, list) else None


def _title_and_year(entry: object) -> tuple[str, int | None]:
    """Title and year of one entry: an object with title and year, or a line."""
    if isinstance(entry, dict):
        year = re.search(r"(?:18|19|20)\d\d", str(entry.get("year", "")))
        title, inside = _title_and_year(str(entry.get("title") or entry.get("name") or ""))
        return title, int(year[0]) if year else inside
    if not isinstance(entry, str):
        return "", None
    text = _MARKER.sub("", entry.replace("**", "").replace("__", "")).strip(" *_`\t,")
    with_year = _TITLE_YEAR.match(text)
    if with_year:
        return _bare(with_year["title"]), int(with_year["year"])
    quoted = _QUOTED.match(text)
    return _bare(quoted["title"] if quoted else _COMMENT.sub("", text)), None


def _bare(title: str) -> str:
    """A title without the quotes and emphasis around it."""
    return title.strip().strip('"“”«»*_`').strip().strip("'‘’").strip()


def ground(titles: list[tuple[str, int | None]], question: Question, match: Match) -> Grounded:
    """Movies of the titles: a candidate of that name and year first, then what `match` says; no movie_id is unmatched.

    A movie that was named before, or that the conversation already mentions, is dropped; all three are counted.
    """
    own = _own_titles(question.candidates)
    told: list[Title] = []
    ranking: dict[str, None] = {}
    for title, year in titles:
        movie_id, reason = own.get((title.casefold(), year)), "a candidate's title"
        if movie_id is None:
            found = match(title, year)
            movie_id, reason = (
                (found.movie_id, found.reason) if isinstance(found, tuple) else (found, "matched" if found else "no match")
            )
        fate: Literal["ranked", "unmatched", "repeated", "already_seen"] = (
            "unmatched"
            if movie_id is None
            else "already_seen"
            if movie_id in question.seen
            else "repeated"
            if movie_id in ranking
            else "ranked"
        )
        if fate == "ranked" and movie_id is not None:
            ranking[movie_id] = None
        told.append(Title(title, year, fate, movie_id, reason))
    fates = Counter(title.fate for title in told)
    return Grounded(tuple(ranking), tuple(told), fates["unmatched"], fates["repeated"], fates["already_seen"])


def _own_titles(candidates: tuple[Candidate, ...]) -> dict[tuple[str, int | None], str]:
    """Candidates by title as the prompt showed it, with the year and without; the first of a name wins."""
    own: dict[tuple[str, int | None], str] = {}
    for candidate in candidates:
        title = prompts.shown_title(candidate).casefold()
        own.setdefault((title, candidate.year), candidate.movie_id)
        own.setdefault((title, None), candidate.movie_id)
    return own
