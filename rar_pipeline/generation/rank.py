"""Questions in, answers out: one interface over the three modes, many questions at a time.

A failing call costs its question (`status` failed, with the class of the error), never the run; an endpoint that does not answer at all, or that
cannot do what the mode needs, is told once as a RarError before anything is asked. Every answer is on disk the moment it arrives, so a run that was
killed goes on where it stopped and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from rar_pipeline.errors import RarError
from rar_pipeline.generation import generate, label, likelihood, prompts
from rar_pipeline.generation.abilities import Abilities, probe
from rar_pipeline.generation.budget import BudgetSpentError
from rar_pipeline.generation.cache import Call
from rar_pipeline.generation.client import Client, Part, Reply
from rar_pipeline.generation.questions import MODES, Answer, LanguageModelHandle, Match, Mode, Question
from rar_pipeline.generation.retries import told

if TYPE_CHECKING:
    import httpx2

_SENDERS = {"likelihood": likelihood.send, "label": label.send, "generate": generate.send}
_TOGETHER = 50  # questions that are looked up in the cache at once


def rank_all(
    questions: Sequence[Question],
    model: LanguageModelHandle,
    match: Match,
    *,
    mode: Mode | None = None,
    answers: int = 20,
    shuffle: int | None = None,
    on_answer: Callable[[Answer], None] | None = None,
    on_abilities: Callable[[Abilities], None] | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> list[Answer]:
    """Answers to all questions, in their order.

    `match`: title and year to a movie (mode generate). `mode`: None takes the handle's. `answers`: titles to ask for in mode generate.
    `shuffle`: a seed that the candidates' order is drawn from, question by question; None shows them as given.
    `on_answer`: called with each answer as it comes, from the thread that works. `on_abilities`: called once with what the endpoint can do, before
    the first call; not at all where every answer was cached. `transport`: in place of the network.

    Works with and without an event loop running in the calling thread. Raises RarError for an unknown mode, questions that the mode cannot ask,
    an endpoint that does not answer or lacks what the mode needs, and a missing key.
    """
    shown = [shuffled(question, shuffle) for question in questions]

    async def work() -> list[Answer]:
        async with Client(model, transport) as client:
            return await rank(shown, client, match, mode=mode, answers=answers, on_answer=on_answer, on_abilities=on_abilities)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, work()).result()


def _ignore(_: object) -> None:
    return


def shuffled(question: Question, seed: int | None) -> Question:
    """The question as `rank_all` shows it: candidates in an order drawn from the seed and the question's id; None leaves them as they are."""
    if seed is None:
        return question
    order = list(question.candidates)
    random.Random(f"{seed}/{question.question_id}").shuffle(order)  # noqa: S311 - no secret
    return replace(question, candidates=tuple(order))


def _version(question: Question, mode: Mode) -> str:
    """The prompt file that a question is asked with."""
    return prompts.FILES[mode][-1 if mode == "generate" and not question.candidates else 0]


def _parts(question: Question, model: LanguageModelHandle, mode: Mode, answers: int) -> list[Part]:
    if mode == "likelihood":
        return likelihood.parts(question, model)
    if mode == "label":
        return label.parts(question, model)
    return generate.parts(question, model, answers)


async def rank(
    questions: Sequence[Question],
    client: Client,
    match: Match,
    *,
    mode: Mode | None = None,
    answers: int = 20,
    on_answer: Callable[[Answer], None] | None = None,
    on_abilities: Callable[[Abilities], None] | None = None,
) -> list[Answer]:
    """`rank_all` through a client that is open already, candidates in the order given."""
    chosen = mode or client.handle.mode
    if chosen not in MODES:
        raise RarError(f"LLM mode {chosen!r} is unknown; choose one of {', '.join(MODES)}")
    bare = next((q for q in questions if not q.candidates), None)
    if bare is not None and chosen != "generate":
        raise RarError(f"question {bare.question_id!r} has no candidates; mode {chosen} needs some, only generate does without")
    try:
        return await _rank(questions, client, chosen, match, answers, on_answer or _ignore, on_abilities or _ignore)
    except ExceptionGroup as errors:
        # the first that could not be put down to its question: nobody answers, or the disk is full
        raise errors.exceptions[0] from None


async def _rank(
    questions: Sequence[Question],
    client: Client,
    mode: Mode,
    match: Match,
    answers: int,
    on_answer: Callable[[Answer], None],
    on_abilities: Callable[[Abilities], None],
) -> list[Answer]:
    import openai

    model = client.handle
    done: dict[int, Answer] = {}

    def record(place: int, answer: Answer) -> None:
        done[place] = answer
        on_answer(answer)

    async def put(place: int, blank: Answer, parts: list[Part], abilities: Abilities) -> None:
        call = Call(mode, _version(questions[place], mode), blank.prompt_hash)
        try:
            replies = await client.ask(call, parts, lambda missing, call: _SENDERS[mode](client, missing, abilities, call))
        except BudgetSpentError as error:
            record(place, replace(blank, error=str(error)))
        except (openai.OpenAIError, TimeoutError, KeyError, TypeError, IndexError, ValueError) as error:
            record(place, replace(blank, error=told(error)))
        else:
            record(place, _read(questions[place], blank, replies, match))

    abilities: Abilities | None = None
    spent = ""
    async with asyncio.TaskGroup() as group:
        for start in range(0, len(questions), _TOGETHER):
            asked: list[tuple[int, Answer, list[Part], list[str]]] = []
            for place, question in enumerate(questions[start : start + _TOGETHER], start):
                blank = Answer(question.question_id, "failed", mode, model.model, "")
                try:
                    parts = _parts(question, model, mode, answers)
                except ValueError as error:
                    record(place, replace(blank, error=str(error)))
                    continue
                blank = replace(blank, prompt_hash=prompts.prompt_hash(parts))
                asked.append((place, blank, parts, client.keys(mode, parts)))
            kept = client.recall([key for *_, keys in asked for key in keys])
            for place, blank, parts, keys in asked:
                if all(key in kept for key in keys):
                    record(place, _read(questions[place], blank, [kept[key] for key in keys], match))
                    continue
                if abilities is None and not spent:
                    try:
                        abilities = await probe(client, mode)
                        on_abilities(abilities)
                    except BudgetSpentError as error:
                        spent = str(error)
                if abilities is None:
                    record(place, replace(blank, error=spent))
                else:
                    group.create_task(put(place, blank, parts, abilities))
            # calls go out while the next prompts are made
            await asyncio.sleep(0)
    return [done[place] for place in range(len(questions))]


def _read(question: Question, blank: Answer, replies: Sequence[Reply], match: Match) -> Answer:
    """The answer that the replies to a question's parts hold."""
    raw = replies[0].raw if len(replies) == 1 else f"[{','.join(reply.raw for reply in replies)}]"
    answer = replace(
        blank,
        raw_answer=raw,
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        answer_tokens=sum(reply.answer_tokens for reply in replies),
        seconds=sum(reply.seconds for reply in replies),
        cost=sum(reply.cost for reply in replies),
        cached=all(reply.cached for reply in replies),
    )
    if blank.mode == "generate":
        titles = generate.read(raw)
        if not titles:
            error = (
                "no titles in the answer"
                if raw.strip()
                else "an empty answer: for a model that thinks, raise RAR_LLM_THINKING_TOKENS"
            )
            return replace(answer, status="unparsed", error=error)
        grounded = generate.ground(titles, question, match)
        return replace(
            answer,
            status="answered",
            ranking=grounded.ranking,
            unmatched=grounded.unmatched,
            repeated=grounded.repeated,
            already_seen=grounded.already_seen,
            titles=grounded.titles,
        )
    try:
        scores = likelihood.scores(replies) if blank.mode == "likelihood" else label.scores(raw, len(question.candidates))
    except (ValueError, KeyError, TypeError) as error:
        return replace(answer, status="unparsed", error=told(error))
    if scores is None or len(scores) != len(question.candidates):
        return replace(answer, status="unparsed", error="no score for every candidate")
    ids = [candidate.movie_id for candidate in question.candidates]
    # ties by movie id, so that a run can be repeated
    best_first = sorted(zip(ids, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return replace(answer, status="answered", ranking=tuple(i for i, _ in best_first), scores=tuple(s for _, s in best_first))
