"""The chat in a terminal, or in a pipe: a message a line, what begins with a slash is a command."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rar_pipeline.corpus.cards import headline
from rar_pipeline.errors import RarError
from rar_pipeline.service.talk import (
    CHARACTERS,
    MOVIES,
    TURNS,
    Card,
    Feedback,
    Movie,
    Named,
    Opinion,
    Reaction,
    Recommendation,
    Said,
    Talk,
)
from rar_pipeline.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from rar_pipeline.generation.questions import LanguageModelHandle
    from rar_pipeline.service.champion import Champion

Shown = TypeVar("Shown", bound=Movie)
OPINIONS: dict[str, Opinion] = {"/like": "liked", "/dislike": "disliked", "/seen": "seen", "/watch": "accepted"}
HELP = """\
Say what you feel like watching, and name movies that you loved. Commands:
  /like 2   /dislike 3   /seen 1   /watch 4   what you think of a movie of the last list; several numbers may follow
  /meant 1                                    a title asked back (did you mean): take that one
  /why 2                                      all that speaks for a movie
  /new      /help      /quit                  begin anew; this text; leave (so does the end of the input)"""


@dataclass
class Session:
    """A conversation under way."""

    champion: Champion
    console: Console
    movies: int
    keep: Path | None
    model: LanguageModelHandle | None = None
    turns: list[Said] = field(default_factory=list)
    reactions: dict[str, Reaction] = field(default_factory=dict)
    shown: list[Card] = field(default_factory=list)
    asked: list[Movie] = field(default_factory=list)  # movies that "did you mean" offers
    name: str = field(default_factory=lambda: str(uuid.uuid4()))

    def hear(self, line: str) -> bool:
        """Take one line; False where it was the last one."""
        command, *rest = line.split()
        if not command.startswith("/"):
            self.say(line[:CHARACTERS])
        elif command in ("/quit", "/exit"):
            return False
        elif command in OPINIONS:
            self.react(OPINIONS[command], self.numbered(rest, self.shown))
        elif command == "/meant":
            for movie in self.numbered(rest, self.asked)[:1]:
                self.say(f"I meant {_name(movie)}.", [Named(text=_name(movie)[:200], movie_id=movie.movie_id)])
        elif command == "/why":
            for card in self.numbered(rest, self.shown):
                self.print(f"{_name(card)}: {'; '.join(reason.text for reason in card.why) or 'the language model named it'}")
                self.print(card.plot, "dim")
        elif command == "/new":
            self.turns, self.reactions, self.shown, self.asked, self.name = [], {}, [], [], str(uuid.uuid4())
            self.print("A new conversation.")
        else:
            self.print(HELP)
        return True

    def say(self, text: str, movies: Sequence[Named] = ()) -> None:
        """A turn of the seeker, and the answer to it."""
        if len(self.turns) > TURNS - 2:
            self.print("This conversation is as long as it can be: /new begins another.")
            return
        self.turns.append(Said(speaker="seeker", text=text, movies=list(movies)))
        talk = Talk(
            turns=self.turns, liked=self.held("liked"), disliked=self.held("disliked"), seen=self.held("seen"), movies=self.movies
        )
        found = self.champion.recommend(talk)
        linked = [_name(mention.movie) for mention in found.mentions if mention.movie]
        if linked:
            self.print(f"linked: {', '.join(linked)}", "green")
        self.asked = []
        for mention in found.mentions:
            if not mention.movie:
                start = len(self.asked) + 1
                self.asked += mention.choices
                offered = "  ".join(f"{place} {_name(movie)}" for place, movie in enumerate(mention.choices, start))
                self.print(f"“{mention.text}”: did you mean {offered} ? (/meant {start})", "yellow")
        self.shown = found.candidates
        self.show()
        said = found.said
        if self.model is not None:
            try:
                said = asyncio.run(self.written(talk, found, self.model)) or said
            except RarError as error:
                self.print(f"The language model had no say: {error}", "red")
        else:
            self.print(said)
        named = [Named(text=_name(card)[:200], movie_id=card.movie_id) for card in self.shown[:3]]
        self.turns.append(Said(speaker="recommender", text=said[:CHARACTERS], movies=named))

    async def written(self, talk: Talk, found: Recommendation, model: LanguageModelHandle) -> str:
        """The LLM's words as they come, then its order. Raises RarError where it has no say."""
        from rar_pipeline.generation.client import Client
        from rar_pipeline.service.reply import answer

        whole = ""
        async with (
            Client(model) as client,
            aclosing(answer(self.champion, talk, found, client, keep=self.keep is not None)) as events,
        ):
            async for event in events:
                if event.kind == "words":
                    whole += event.text
                    self.console.out(_shown(event.text), end="")
                elif event.kind == "failed":
                    raise RarError(event.text)
                else:
                    if whole:
                        self.print("")
                    cards = {card.movie_id: card for card in found.candidates}
                    first = [
                        cards.get(movie) or Card(**self.champion.movie(movie).model_dump(), why=[]) for movie in event.ranking
                    ]
                    self.shown = [*first, *(card for card in found.candidates if card.movie_id not in event.ranking)][:MOVIES]
                    self.print(
                        "In the language model's order:"
                        + (f" ({event.unmatched} unknown titles left out)" if event.unmatched else "")
                    )
                    self.show()
        return whole

    def show(self) -> None:
        """The last list."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(justify="right")
        for column in ("title", "genres", "why"):
            table.add_column(column, overflow="fold")
        for place, card in enumerate(self.shown, 1):
            why = "; ".join(reason.text for reason in card.why[:2]) or "named by the language model"
            table.add_row(
                str(place),
                Text(_shown(_name(card)), style="bold"),
                Text(_shown(", ".join(card.genres)), style="dim"),
                Text(_shown(why)),
            )
        self.console.print(table)

    def react(self, opinion: Opinion, cards: Sequence[Movie]) -> None:
        """Note what the seeker thinks of movies of the last list, and keep the conversation."""
        for card in cards:
            self.reactions[card.movie_id] = Reaction(turn=len(self.turns) - 1, movie_id=card.movie_id, opinion=opinion)
            self.print(f"{opinion}: {_name(card)}", "green")
        if cards and self.keep is not None:
            from rar_pipeline.service.app import tables_of
            from rar_pipeline.service.feedback import keep

            given = Feedback(conversation_id=self.name, turns=self.turns, reactions=list(self.reactions.values()))
            keep(self.keep, *tables_of(self.champion, given))

    def held(self, opinion: Opinion) -> list[str]:
        """Movies of which the seeker has said so."""
        return [movie for movie, reaction in self.reactions.items() if reaction.opinion == opinion]

    def numbered(self, words: Sequence[str], movies: Sequence[Shown]) -> list[Shown]:
        """Movies by their numbers; what is no number of the list is told."""
        good = [word for word in words if word.isdecimal() and 0 < int(word) <= len(movies)]
        if len(good) < len(words) or not words:
            self.print(f"which one? 1 to {len(movies)}" if movies else "there is no list yet", "yellow")
        return [movies[int(word) - 1] for word in good]

    def print(self, text: str, style: str | None = None) -> None:
        """A line as text, never as markup."""
        self.console.print(_shown(text), style=style, markup=False)


def chat(settings: Settings, dataset: str, version: str | None, llm: bool | None) -> None:
    """Talk until the input ends. Raises RarError where there is nobody to talk to."""
    from rich.console import Console

    from rar_pipeline.service.lake import kept_in, open_champion
    from rar_pipeline.service.serve import answering

    typed = sys.stdin.isatty()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    if typed:
        console.print(f"loading the retriever of {dataset} ...", style="dim")
    champion, chosen = open_champion(settings, dataset, version)
    with answering(settings, llm if llm is not None else chosen or bool(settings.llm_base_url)) as model:
        keep = kept_in(settings) if settings.chat_keep else None
        session = Session(champion, console, settings.chat_movies, keep, model)
        session.print(
            f"{champion.version.name} of {champion.version.dataset}, {len(champion.movies):,} movies. /help says what can be said."
        )
        if typed:
            import readline  # noqa: F401  (arrows and history in the prompt)
        while True:
            try:
                text = input("> ") if typed else sys.stdin.readline()
            except EOFError:
                break
            if not typed and not text:
                break
            if text.strip() and not session.hear(text.strip()):
                break


def _name(movie: Movie) -> str:
    return headline(movie.model_dump())


def _shown(text: str) -> str:
    """Text without what a terminal would take for commands."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
