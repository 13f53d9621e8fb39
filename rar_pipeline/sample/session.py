"""What a simulated conversation is made of, neutral of any data set: messages whose films are references, and opinions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rar_pipeline.sample.films import Film

Speaker = Literal["seeker", "recommender"]
Answer = Literal[0, 1, 2]  # no, yes, did not say


@dataclass(frozen=True)
class Unlisted:
    """Something that is named like a film but is in no corpus: a person, a franchise, a title that nobody knows."""

    name: str


Reference = Film | Unlisted
Part = str | Film | Unlisted


@dataclass(frozen=True)
class Opinion:
    """ReDial's three questions about a mentioned film: 0 no, 1 yes, 2 did not say."""

    suggested: Answer
    seen: Answer
    liked: Answer


@dataclass(frozen=True)
class Message:
    """What one person writes in one go; films stand in it as references."""

    speaker: Speaker
    parts: tuple[Part, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The films (and what is named like one) of the message, in order."""
        return tuple(part for part in self.parts if not isinstance(part, str))


@dataclass
class Session:
    """A conversation: its messages, and what the seeker thinks of each reference."""

    messages: list[Message] = field(default_factory=list)
    opinions: dict[Reference, Opinion] = field(default_factory=dict)

    @property
    def mentioned(self) -> tuple[Reference, ...]:
        """References in order of first mention."""
        return tuple(dict.fromkeys(reference for message in self.messages for reference in message.references))

    @property
    def films(self) -> list[Film]:
        """Films that somebody has an opinion of, in the order in which they came up."""
        return [reference for reference in self.opinions if isinstance(reference, Film)]


def compose(template: str, references: Sequence[Reference] = (), **words: str) -> tuple[Part, ...]:
    """A template of phrases.py with its holes filled: `{film}` and `{films}` by references, the others by words."""
    parts: list[Part] = []
    for piece in re.split(r"(\{films?\})", fill(template, **words)):
        if not piece.startswith("{film"):
            parts += [piece] if piece else []
            continue
        for place, reference in enumerate(references):
            joint = "" if place == 0 else " and " if place == len(references) - 1 else ", "
            parts += [joint, reference] if joint else [reference]
    return tuple(parts)


def fill(template: str, **words: str) -> str:
    """The template with words in its holes; `a {genre}` becomes `an animated movie` where a vowel follows."""
    for name, word in words.items():
        article = "an" if word[:1].lower() in "aeiou" else "a"
        template = template.replace(f" a {{{name}}}", f" {article} {{{name}}}").replace(f"{{{name}}}", word)
    return template
