"""Mode likelihood: how probable are the seeker's own words, given that the film is the one wanted?

score(film) = mean over tokens of log P(token of the seeker's last words | prompt with the film's facts, tokens before). This is the
unsupervised passage re-ranker UPR (Sachan et al., EMNLP 2022) with a conversation as the question. The words are the same for all
candidates, so their prior cancels and no correction is needed.

A question is one request: as many prompts as candidates, the same words behind each, echoed with their log-probabilities. The score of a
film does not depend on the other candidates, so each is kept by itself: sets of one conversation that share films pay for those once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rar_pipeline.generation import prompts
from rar_pipeline.generation.abilities import Abilities
from rar_pipeline.generation.cache import Call
from rar_pipeline.generation.client import Client, Part, Reply, compact
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Question

(PROMPT,) = prompts.FILES["likelihood"]


def parts(question: Question, handle: LanguageModelHandle) -> list[Part]:
    """A prompt and the words to be scored, one a candidate. Raises ValueError where nobody has said anything."""
    words = prompts.last_words(question.context, handle.words)
    if not words:
        raise ValueError("the conversation holds no words to score")
    template = prompts.template(PROMPT)
    return [
        {"prompt": template.substitute(film=prompts.line(_plot_early(c), handle.card_characters)), "words": words}
        for c in question.candidates
    ]


def _plot_early(candidate: Candidate) -> Candidate:
    """The last piece of the card, its plot, right behind the first: requests are about plots, and a long card loses its end."""
    first, *people, last = candidate.card.split(" | ") if " | " in candidate.card else (candidate.card, "")
    return replace(candidate, card=" | ".join(piece for piece in (first, last, *people) if piece))


async def send(client: Client, missing: list[Part], abilities: Abilities, call: Call) -> list[Reply]:
    """Score the words behind every prompt; `raw` is a JSON list of the log-probabilities of their tokens, in nats."""
    words = missing[0]["words"]
    answer = await client.complete(
        call,
        [part["prompt"] + words for part in missing],
        max_tokens=1,
        logprobs=1,
        temperature=0,
        echo=True,
        # a header, since servers ignore those that they do not know: ours then scores the words alone
        headers={"X-Echo-Characters": str(len(words))},
    )
    return [_reply(len(part["prompt"]), len(words), choice) for part, choice in zip(missing, answer["choices"], strict=True)]


def _reply(begin: int, length: int, choice: dict[str, Any]) -> Reply:
    """The tokens that hold a character of the words. A first one that holds the prompt's last too is the same for all candidates."""
    found = choice["logprobs"]
    offsets = found["text_offset"]
    ends = [*offsets[1:], begin + length + 1]
    places = zip(found["token_logprobs"], offsets, ends, strict=True)
    inside = [logprob for logprob, start, end in places if end > begin and start < begin + length]
    return Reply(compact([round(logprob, 4) for logprob in inside]), len(offsets) - 1, 1)


def scores(replies: Sequence[Reply]) -> list[float]:
    """Mean log-probability in nats of the words behind each prompt. Raises ValueError where a reply does not hold them."""
    try:
        return [sum(row) / len(row) for row in (json.loads(reply.raw) for reply in replies)]
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError("no log-probabilities in the answer") from error
