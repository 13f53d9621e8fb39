"""The LLM's part of an answer: words as they come, then the movies that it chose, each of them one of the corpus.

Where the LLM writes (mode generate) its words are streamed, read and matched as in `generation.generate`; a title that the corpus does not know is
counted and no card. In the other modes it only re-orders the candidates. Streamed answers are not kept: no conversation is had twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rar_pipeline.errors import RarError
from rar_pipeline.generation import generate, prompts
from rar_pipeline.generation.abilities import probe
from rar_pipeline.generation.budget import BudgetSpentError
from rar_pipeline.generation.client import Client, shown_url
from rar_pipeline.generation.questions import LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all
from rar_pipeline.generation.retries import told
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.talk import Recommendation, Talk, context

if TYPE_CHECKING:
    import httpx2

CHOSEN = 5  # movies that the LLM is asked to name
TOKENS = 400


class Event(NamedTuple):
    """`words`: a piece of the answer. `ranking`: movie_ids, best first, and how many titles were left out. `failed`: one line that says why."""

    kind: Literal["words", "ranking", "failed"]
    text: str = ""
    ranking: tuple[str, ...] = ()
    unmatched: int = 0


async def answer(
    champion: Champion,
    talk: Talk,
    found: Recommendation,
    model: LanguageModelHandle,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncIterator[Event]:
    """The LLM's answer to a conversation and the retriever's candidates; ends with a ranking, or with what failed."""
    import openai

    question = question_of(champion, talk, found)
    try:
        if model.mode != "generate":
            yield await asyncio.to_thread(_ranked, champion, question, model, transport)
            return
        pieces: list[str] = []
        async with Client(model, transport) as client:
            async for piece in _words(client, messages(question, model)):
                pieces.append(piece)
                yield Event("words", piece)
        titles = generate.read("".join(pieces))
        grounded = generate.ground(titles, question, champion.linker.match_generated)
        shown = tuple(movie for movie in grounded.ranking if movie in champion.catalogue.index)
        yield Event("ranking", ranking=shown, unmatched=grounded.unmatched)
    except RarError as error:
        yield Event("failed", str(error))
    except BudgetSpentError:
        yield Event("failed", "the budget of the language model is spent")
    except (openai.OpenAIError, KeyError, TypeError, IndexError, ValueError, OSError) as error:
        yield Event("failed", f"the LLM did not answer ({told(error)})")


def question_of(champion: Champion, talk: Talk, found: Recommendation) -> Question:
    """The conversation and the retriever's candidates as the LLM is asked; what was named, liked, disliked or seen is not to be named again."""
    named, _ = champion.mentioned(talk.turns, talk.ignored)
    seen = dict.fromkeys([*named, *talk.liked, *talk.disliked, *talk.seen])
    shown = tuple(champion.candidate(card.movie_id) for card in found.candidates)
    return Question("chat", context(talk.turns), shown, tuple(seen))


def messages(question: Question, model: LanguageModelHandle) -> list[dict[str, str]]:
    """System and user message."""
    system, user = (files("rar_pipeline.service") / "chat.v1.txt").read_text(encoding="utf-8").rstrip("\n").split("\n---\n")
    lines = [f"{place}. {prompts.line(one, model.card_characters)}" for place, one in enumerate(question.candidates, 1)]
    talk = prompts.conversation(question.context, model.context_characters)
    filled = Template(user).substitute(conversation=talk, candidates="\n".join(lines), answers=CHOSEN)
    return [{"role": "system", "content": system}, {"role": "user", "content": filled}]


async def _words(client: Client, asked: Sequence[dict[str, str]]) -> AsyncIterator[str]:
    abilities = await probe(client, "generate")
    if not client.handle.budget.take():
        raise BudgetSpentError
    limit = "max_tokens" if "max_tokens" in abilities.chat else "max_completion_tokens"
    parameters: dict[str, Any] = {name: value for name, value in abilities.chat.items() if name != "response_format"}
    create: Any = client.openai.chat.completions.create
    stream = await create(model=client.handle.model, messages=list(asked), stream=True, **(parameters | {limit: TOKENS}))
    async with stream:
        async for chunk in stream:
            if chunk.choices and (piece := chunk.choices[0].delta.content):
                yield piece


def _ranked(
    champion: Champion, question: Question, model: LanguageModelHandle, transport: httpx2.AsyncBaseTransport | None
) -> Event:
    (one,) = rank_all([question], model, champion.linker.match_generated, transport=transport)
    if one.status != "answered":
        return Event("failed", f"{shown_url(model.base_url)}: {one.error or one.status}")
    return Event("ranking", ranking=one.ranking, unmatched=one.unmatched)
