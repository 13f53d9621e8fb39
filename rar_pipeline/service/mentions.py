"""Titles in free text. Precision first, as in the linker: what may be a title, and may be just words, is asked back ("did you mean").

Believed are titles that somebody picked, that carry a year, stand in quotation marks, or are written as titles are (capitals); in lower case only
behind a word such as "loved", or when they are long. One common word alone ("it", "her") is never believed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import chain
from typing import NamedTuple

from rar_pipeline.corpus.link import Link, Linker
from rar_pipeline.corpus.normalise import normalise_title
from rar_pipeline.service.titles import Titles

LONGEST = 8  # words of a title that carries neither year nor quotation marks
CHOICES = 5
# votes from which words are taken for a title: written in capitals one word, in lower case, in lower case without a hint, and one word in lower case
CAPITAL, LOWER, UNHINTED, ONE_WORD = 10_000, 10_000, 50_000, 200_000
# likeness of a misspelt title, and how many runs of words are looked at: each takes milliseconds
SPELT_LEAST, SPELT_MOST = 85.0, 6

_TOKEN = re.compile(r"\S+")
_EDGE = "\"“”'‘’.,;:!?()[]…"
_YEAR = re.compile(r"\s*\(((?:18|19|20)\d\d)\)")
_QUOTED = re.compile(r"[\"“]([^\"“”]{1,100})[\"”]")
_SENTENCE = re.compile(r"[.!?;]$")
_LISTED = re.compile(r"^\s*(?:$|[.,;!?]|(?:and|or)\b)")
_small = "a an and as at by de for from in la le of on or the to vs with"
_hints = "like liked likes love loved loves enjoyed enjoy seen saw watched watch hated movie film than recommend"
_words = (
    "first second best good time night day year people story action adventure animation anime biography classic comedy crime documentary drama "
    "family fantasy history horror music musical mystery romance romantic sport superhero thriller war western monday tuesday wednesday thursday "
    "friday saturday sunday january february march april may june july august september october november december christmas halloween english french "
    "german italian japanese korean spanish american british netflix disney marvel pixar hollywood bollywood oscar hi hello hey thanks please yes no "
    "ok okay sure great cool nice movie film anything something everything nothing maybe"
)
_SMALL, _HINTS, _WORDS = (frozenset(words.split()) for words in (_small, _hints, _words))


class Found(NamedTuple):
    """A title in a text: where it stands, the movie or None, why, and movies that may be meant where it is None."""

    start: int
    end: int
    text: str
    movie_id: str | None
    reason: str
    choices: tuple[str, ...] = ()


class _Span(NamedTuple):
    start: int
    end: int
    first: int  # number of its first word


def find(text: str, linker: Linker, titles: Titles, picked: Collection[tuple[str, str]] = ()) -> list[Found]:
    """Titles of a text in their order, none of them overlapping. `picked`: (words, movie_id) that the person chose themselves."""
    found: list[Found] = []
    for one in chain(
        *(_picked(text, *pair) for pair in picked), *(rule(text, linker, titles) for rule in (_dated, _quoted, _plain))
    ):
        if all(one.end <= other.start or one.start >= other.end for other in found):
            found.append(one)
    return sorted(found)


def _picked(text: str, words: str, movie_id: str) -> Iterator[Found]:
    for place in re.finditer(re.escape(words), text, re.IGNORECASE):
        yield Found(place.start(), place.end(), place.group(), movie_id, "picked")


def _dated(text: str, linker: Linker, titles: Titles) -> Iterator[Found]:
    """Titles with a year in brackets behind: the longest run of words before it that is a title of that year."""
    for year in _YEAR.finditer(text):
        spans = [span for span in _spans(text[: year.start()], 12) if not text[span.end : year.start()].strip(_EDGE)]
        exact = next((span for span in spans if titles.exact(normalise_title(text[span.start : span.end]))), None)
        span = exact or next((span for span in spans if _capital(text[span.start : span.end])), None)
        if span is not None:
            whole = text[span.start : year.end()]
            link = linker.link(whole)
            choices = () if link.movie_id else tuple(titles.suggest(text[span.start : span.end], CHOICES))
            if link.movie_id or choices:
                yield Found(span.start, year.end(), whole, link.movie_id, link.reason, choices)


def _quoted(text: str, linker: Linker, titles: Titles) -> Iterator[Found]:
    for quote in _QUOTED.finditer(text):
        link = linker.link(quote[1])
        choices = () if link.movie_id else tuple(titles.suggest(quote[1], CHOICES))
        if link.movie_id or choices:
            yield Found(quote.start(1), quote.end(1), quote[1], link.movie_id, link.reason, choices)


def _plain(text: str, linker: Linker, titles: Titles) -> Iterator[Found]:
    """Runs of words that are titles, the longest first; then what is written as a title and is none, with what is spelt like it."""
    words = [match.group().strip(_EDGE).casefold() for match in _TOKEN.finditer(text)]
    shouted = text.isupper()
    taken: list[_Span] = []
    spans = sorted(_spans(text, LONGEST), key=lambda span: (-(span.end - span.start), span.start))
    for span in spans:
        if any(span.start < other.end and other.start < span.end for other in taken):
            continue
        said = text[span.start : span.end]
        movies = titles.exact(normalise_title(said))
        if not movies:
            continue
        one = _judged(text, span, said, words, linker.link(said), movies, titles, shouted)
        if one is not None:
            taken.append(span)
            yield one
    looked = 0
    for span in spans:
        if looked == SPELT_MOST or any(span.start < other.end and other.start < span.end for other in taken):
            continue
        said = text[span.start : span.end]
        key = normalise_title(said)
        if len(key) < 6 or not _hinted(words, span) or key in _WORDS or said.count(" ") > 2:
            continue
        looked += 1
        if choices := titles.spelt_like(key, CHOICES, SPELT_LEAST):
            taken.append(span)
            yield Found(span.start, span.end, said, None, "spelt much like a title", tuple(choices))


def _judged(
    text: str, span: _Span, said: str, words: list[str], link: Link, movies: list[str], titles: Titles, shouted: bool
) -> Found | None:
    """Whether words that are a title are meant as one: a link, a question, or nothing."""
    count, single = len(said.split()), said.casefold() in _WORDS or len(said) < 2
    votes = titles.votes(link.movie_id or movies[0])
    before = text[: span.start].rstrip()
    opens = not before or bool(_SENTENCE.search(before))
    hinted = _hinted(words, span)
    if count == 1:
        # alone in its sentence or in a list, or with a capital inside a sentence
        stands = _capital(said) and not shouted and (not opens or bool(_LISTED.match(text[span.end :])))
        believed = (stands and votes >= CAPITAL) or (hinted and len(said) > 5 and votes >= ONE_WORD)
        believed, asked = believed and not single, hinted and len(said) > 4 and votes >= UNHINTED and not single
    else:
        capital = _capital(said) and not shouted
        believed = capital or (votes >= LOWER and (hinted or count > 3 or shouted))
        asked = votes >= UNHINTED
    if not believed and not asked:
        return None
    if believed and link.movie_id:
        return Found(span.start, span.end, said, link.movie_id, link.reason)
    reason = link.reason if believed else "may be a title"
    return Found(span.start, span.end, said, None, reason, tuple(movies[:CHOICES]))


def _hinted(words: list[str], span: _Span) -> bool:
    """Behind a word such as "loved", or behind "and" where such a word stands a little earlier."""
    before = words[max(span.first - LONGEST, 0) : span.first]
    return bool(before) and (before[-1] in _HINTS or (before[-1] in ("and", "or") and not _HINTS.isdisjoint(before)))


def _spans(text: str, longest: int) -> list[_Span]:
    """Runs of at most `longest` words inside one sentence, punctuation at their ends left out; the longest first for each beginning."""
    tokens = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        lead, tail = len(word) - len(word.lstrip(_EDGE)), len(word) - len(word.rstrip(_EDGE))
        if lead < len(word):
            tokens.append((match.start() + lead, match.end() - tail, bool(_SENTENCE.search(word)) and len(word) > 3))
        else:
            tokens.append((match.start(), match.start(), False))
    found = []
    for first, (start, _, _) in enumerate(tokens):
        ends = []
        for _, end, closes in tokens[first : first + longest]:
            ends.append(end)
            if closes:
                break
        found += [_Span(start, end, first) for end in reversed(ends) if end > start]
    return found


def _capital(said: str) -> bool:
    """Written as titles are: the first word and every word that is not small begin with a capital or a digit."""
    words = said.split()
    return bool(words) and all(
        not word[0].isalpha() or word[0].isupper() or (place and word.casefold() in _SMALL) for place, word in enumerate(words)
    )
