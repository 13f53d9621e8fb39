"""Data into prompts: templates from versioned files, text cut to budgets and stripped of everything that could act as markup.

Conversations, titles and plots are written by strangers. In a prompt they are data: they stand on one line each or inside a tagged block, and
`clean` takes from them what could end the line, close the block or be read as a chat model's special token (`<|im_end|>`, `</s>`,
`[/INST]`): line breaks, control and invisible characters; angle brackets become ‹ and ›, the brackets of special tokens round ones. A budget counts
bytes of UTF-8: characters of English, and never fewer than tokens, whatever the text is made of.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from string import Template

from rar_pipeline.generation.questions import Candidate, Mode

Messages = tuple[Mapping[str, str], ...]

FILES: dict[Mode, tuple[str, ...]] = {
    "generate": ("generate.v1.txt", "generate_alone.v1.txt"),
    "label": ("label.v1.txt",),
    "likelihood": ("likelihood.v1.txt",),
}

_ANGLES = str.maketrans({"<": "‹", ">": "›", "＜": "‹", "＞": "›"})
# of Mistral, Llama 2 and their kin, which tokenizers know wherever they stand
_SPECIAL = re.compile(
    r"\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|THINK|IMG|SYS))\]", re.IGNORECASE
)
_TURN = re.compile(r"(Seeker|Recommender):\s*(.*)", re.DOTALL)
_MARK = "…"


def clean(text: str, limit: int) -> str:
    """`text` as one harmless line of at most `limit` bytes, cut at a word where it is too long; the mark of a cut comes on top."""
    text = text.translate(_ANGLES)
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)
    plain = _SPECIAL.sub(r"(\1)", " ".join(text.split()))
    if plain.isascii() and len(plain) <= limit:
        return plain
    encoded = plain.encode()
    if len(encoded) <= limit:
        return plain
    return encoded[:limit].decode(errors="ignore").rsplit(" ", 1)[0] + _MARK


def turns(context: str) -> list[tuple[str, str]]:
    """(speaker, text) of each line of a context; a line without a speaker goes on with the turn before it."""
    found: list[tuple[str, str]] = []
    # the line feed alone: a stranger may write other line ends and a speaker's name behind them
    for line in context.split("\n"):
        match = _TURN.match(line)
        if match:
            found.append((match[1], match[2]))
        elif found and line.strip():
            found[-1] = (found[-1][0], f"{found[-1][1]} {line}")
    return found


def conversation(context: str, limit: int) -> str:
    """The last turns, one a line, cleaned, at most about `limit` bytes; the earliest turns go first."""
    kept: list[str] = []
    room = limit
    for speaker, text in reversed(turns(context)):
        if room < 80 and kept:
            break
        kept.append(f"{speaker}: {clean(text, max(room, 80))}")
        room -= len(kept[-1].encode())
    return "\n".join(reversed(kept))


def last_words(context: str, words: int) -> str:
    """The last `words` words that the seeker said (the recommender, where the seeker said nothing), cleaned."""
    said = turns(context)
    of_seeker = " ".join(text for speaker, text in said if speaker == "Seeker")
    return " ".join(clean(of_seeker or " ".join(text for _, text in said), 100_000).split()[-words:])


@lru_cache(maxsize=1 << 16)
def shown_title(candidate: Candidate) -> str:
    """The title, cleaned, without the bar that parts a candidate's facts."""
    return clean(candidate.title.replace("|", "¦"), 150)


def name(candidate: Candidate) -> str:
    """`title (year)`, cleaned."""
    title = shown_title(candidate)
    return f"{title} ({candidate.year})" if candidate.year is not None else title


@lru_cache(maxsize=1 << 16)
def line(candidate: Candidate, limit: int) -> str:
    """`title (year) | facts`, cleaned, facts at most `limit` bytes."""
    facts = clean(candidate.card, limit)
    return f"{name(candidate)} | {facts}" if facts else name(candidate)


@cache
def _read(file: str) -> str:
    return (files("rar_pipeline.generation") / "prompts" / file).read_text(encoding="utf-8")


@cache
def template(file: str) -> Template:
    """A prompt file of `generation/prompts/`; its version is part of its name, and a file that was used is never changed."""
    return Template(_read(file).rstrip("\n"))


def prompt_versions(mode: Mode | None = None) -> dict[str, str]:
    """The prompt files that a mode uses (None: all modes) with the SHA-256 of each, hexadecimal."""
    used = [file for known, files_of_mode in FILES.items() if mode in (None, known) for file in files_of_mode]
    return {file: hashlib.sha256(_read(file).encode()).hexdigest() for file in sorted(used)}


def prompts_hash(mode: Mode | None = None) -> str:
    """One hash of `prompt_versions`: other words in a prompt, another hash."""
    return hashlib.sha256(json.dumps(prompt_versions(mode)).encode()).hexdigest()


@cache
def _messages(file: str) -> tuple[Template, Template]:
    system, user = template(file).template.split("\n---\n")
    return Template(system), Template(user)


def chat_messages(file: str, **data: object) -> Messages:
    """System and user message of a prompt file, which a line `---` parts, with `data` filled in."""
    system, user = _messages(file)
    return ({"role": "system", "content": system.substitute(data)}, {"role": "user", "content": user.substitute(data)})


def prompt_hash(parts: Sequence[Mapping[str, object]]) -> str:
    """SHA-256 of a question's final messages or prompts with their parameters, hexadecimal."""
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
