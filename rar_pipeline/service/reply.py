"""The LLM's part of an answer: words as they come, then the movies that it chose, each of them one of the corpus.

Where the LLM writes (mode generate) its words are streamed, read and matched as in `generation.generate`; a title that the corpus does not know is
counted and no card. In the other modes it only re-orders the candidates. Pace, budget, retries and record are the client's (`generation.client`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.resources import files
from string import Template
from typing import Literal, NamedTuple

from rar_pipeline.errors import RarError
from rar_pipeline.generation import generate, prompts
from rar_pipeline.generation.abilities import probe
from rar_pipeline.generation.budget import BudgetSpentError
from rar_pipeline.generation.cache import Call
from rar_pipeline.generation.client import Client
from rar_pipeline.generation.questions import LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank
from rar_pipeline.generation.redaction import shown_url
from rar_pipeline.generation.retries import told
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.talk import Recommendation, Talk, context

PROMPT = "chat.v1.txt"
CHOSEN = 5  # movies that the LLM is asked to name
TOKENS = 400  # of its answer; thoughts come on top


class Event(NamedTuple):
    """`words`: a piece of the answer. `ranking`: movie_ids, best first, and how many titles were left out. `failed`: one line that says why."""

    kind: Literal["words", "ranking", "failed"]
    text: str = ""
    ranking: tuple[str, ...] = ()
    unmatched: int = 0


async def answer(
    champion: Champion, talk: Talk, found: Recommendation, client: Client, *, keep: bool = True
) -> AsyncGenerator[Event]:
    """The LLM's answer to a conversation and the retriever's candidates; ends with a ranking, or with what failed.

    `keep` False puts the call on record without its words. To be closed by whoever stops reading (`contextlib.aclosing`).
    """
    import openai

    question = question_of(champion, talk, found)
    try:
        if client.handle.mode != "generate":
            yield await _ranked(champion, found, question, client)
            return
        said = ""
        async with aclosing(_words(client, question, keep)) as words:
            async for piece in words:
                said += piece
                yield Event("words", piece)
        grounded = generate.ground(generate.read(said), question, champion.linker.match_generated)
        shown = tuple(movie for movie in grounded.ranking if movie in champion.catalogue.index)
        yield Event("ranking", ranking=champion.ordered(found, shown), unmatched=grounded.unmatched)
    except RarError as error:
        yield Event("failed", str(error))
    except BudgetSpentError as error:
        yield Event("failed", str(error))
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
    system, user = (files("rar_pipeline.service") / PROMPT).read_text(encoding="utf-8").rstrip("\n").split("\n---\n")
    lines = [f"{place}. {prompts.line(one, model.card_characters)}" for place, one in enumerate(question.candidates, 1)]
    talk = prompts.conversation(question.context, model.context_characters)
    filled = Template(user).substitute(conversation=talk, candidates="\n".join(lines), answers=CHOSEN)
    return [{"role": "system", "content": system}, {"role": "user", "content": filled}]


async def _words(client: Client, question: Question, keep: bool) -> AsyncGenerator[str]:
    model = client.handle
    abilities = await probe(client, "generate")
    limit = "max_tokens" if "max_tokens" in abilities.chat else "max_completion_tokens"
    parameters = {name: value for name, value in abilities.chat.items() if name != "response_format"}
    parameters[limit] = TOKENS + model.thinking_tokens
    part = {"messages": messages(question, model), "max_tokens": parameters[limit]}
    call = Call("chat", PROMPT, prompts.prompt_hash([part]))
    async with aclosing(client.stream(call, part, keep=keep, **parameters)) as words:
        async for piece in words:
            yield piece


async def _ranked(champion: Champion, found: Recommendation, question: Question, client: Client) -> Event:
    (one,) = await rank([question], client, champion.linker.match_generated)
    if one.status != "answered":
        return Event("failed", f"{shown_url(client.handle.base_url)}: {one.error or one.status}")
    return Event("ranking", ranking=champion.ordered(found, one.ranking), unmatched=one.unmatched)
