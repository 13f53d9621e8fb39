"""Data into prompts: templates from versioned files, text cut to budgets and stripped of everything that could act as markup.

Conversations, titles and plots are written by strangers. In a prompt they are data: they stand on one line each or inside a tagged block, and
`clean` takes from them what could end the line, close the block or be read as a chat model's special token (`<|im_end|>`, `</s>`): line
breaks, control and invisible characters, and angle brackets, which become ‹ and ›.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template

from rar_pipeline.generation.questions import Candidate

Messages = tuple[Mapping[str, str], ...]

_ANGLES = str.maketrans({"<": "‹", ">": "›", "＜": "‹", "＞": "›"})
_TURN = re.compile(r"(Seeker|Recommender):\s*(.*)")


def clean(text: str, limit: int) -> str:
    """`text` as one harmless line of at most `limit` characters; cut at a word where it is too long."""
    visible = (" " if unicodedata.category(c)[0] == "C" else c for c in text.translate(_ANGLES))
    plain = " ".join("".join(visible).split())
    return plain if len(plain) <= limit else plain[:limit].rsplit(" ", 1)[0] + "…"


def turns(context: str) -> list[tuple[str, str]]:
    """(speaker, text) of each line of a context; a line without a speaker goes on with the turn before it."""
    found: list[tuple[str, str]] = []
    for line in context.splitlines():
        match = _TURN.match(line)
        if match:
            found.append((match[1], match[2]))
        elif found and line.strip():
            found[-1] = (found[-1][0], f"{found[-1][1]} {line}")
    return found


def conversation(context: str, limit: int) -> str:
    """The last turns, one a line, cleaned, at most about `limit` characters; the earliest turns go first."""
    kept: list[str] = []
    for speaker, text in reversed(turns(context)):
        room = limit - sum(map(len, kept))
        if room < 80 and kept:
            break
        kept.append(f"{speaker}: {clean(text, max(room, 80))}")
    return "\n".join(reversed(kept))


def last_words(context: str, words: int) -> str:
    """The last `words` words that the seeker said (the recommender, where the seeker said nothing), cleaned."""
    said = turns(context)
    of_seeker = " ".join(text for speaker, text in said if speaker == "Seeker")
    return " ".join(clean(of_seeker or " ".join(text for _, text in said), 100_000).split()[-words:])


def name(candidate: Candidate) -> str:
    """`title (year)`, cleaned."""
    title = clean(candidate.title, 150)
    return f"{title} ({candidate.year})" if candidate.year is not None else title


def line(candidate: Candidate, limit: int) -> str:
    """`title (year) | facts`, cleaned, facts at most `limit` characters."""
    facts = clean(candidate.card, limit)
    return f"{name(candidate)} | {facts}" if facts else name(candidate)


@cache
def template(file: str) -> Template:
    """A prompt file of `generation/prompts/`; its version is part of its name, and a file that was used is never changed."""
    return Template((files("rar_pipeline.generation") / "prompts" / file).read_text(encoding="utf-8").rstrip("\n"))


def chat_messages(file: str, **data: object) -> Messages:
    """System and user message of a prompt file, which a line `---` parts, with `data` filled in."""
    system, user = template(file).template.split("\n---\n")
    return (
        {"role": "system", "content": Template(system).substitute(data)},
        {"role": "user", "content": Template(user).substitute(data)},
    )


def prompt_hash(parts: Sequence[Mapping[str, object]]) -> str:
    """SHA-256 of a question's final messages or prompts with their parameters, hexadecimal."""
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
