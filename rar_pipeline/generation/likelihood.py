"""Mode likelihood: how probable are the seeker's own words, given that the film is the one wanted?

score(film) = mean over tokens of log P(token of the seeker's last words | prompt with the film's facts, tokens before). This is the
unsupervised passage re-ranker UPR (Sachan et al., EMNLP 2022) with a conversation as the question. The words are the same for all
candidates, so their prior cancels and no correction is needed.

A question is one request: as many prompts as candidates, the same forced words behind each. The score of a film does not depend on the other
candidates, so each is kept by itself: sets of one conversation that share films pay for those once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rar_pipeline.generation import prompts
from rar_pipeline.generation.abilities import Abilities, token_grammar
from rar_pipeline.generation.client import Client, Part, Reply, compact
from rar_pipeline.generation.questions import LanguageModelHandle, Question

PROMPT = "likelihood.v1.txt"


def parts(question: Question, handle: LanguageModelHandle) -> list[Part]:
    """A prompt and the words to be scored, one a candidate. Raises ValueError where nobody has said anything."""
    words = prompts.last_words(question.context, handle.words)
    if not words:
        raise ValueError("the conversation holds no words to score")
    template = prompts.template(PROMPT)
    return [
        {"prompt": template.substitute(film=prompts.line(c, handle.card_characters)), "words": words} for c in question.candidates
    ]


async def send(client: Client, missing: list[Part], abilities: Abilities) -> list[Reply]:
    """Score the words behind every prompt; `raw` is a JSON list of the log-probabilities of their tokens, in nats."""
    texts = [part["prompt"] for part in missing]
    words = missing[0]["words"]
    return await (_echo if abilities.forcing == "echo" else _grammar)(client, texts, words)


async def _grammar(client: Client, texts: list[str], words: str) -> list[Reply]:
    tokens = await client.tokenize(words)
    answer = await client.complete(
        texts,
        max_tokens=len(tokens),
        logprobs=1,
        temperature=0,
        # a warm prompt cache changes the shape of the batch, and with it the log-probabilities
        extra_body={"grammar": token_grammar(tokens), "cache_prompt": False},
    )
    contents = [choice["logprobs"]["content"] for choice in answer["choices"]]
    if len(contents) != len(texts) or any([token["id"] for token in content] != tokens for content in contents):
        raise ValueError("the server did not follow the token grammar")
    # llama.cpp reports the usage of one prompt, whichever it was; the prompts are of about one length
    sent = answer["usage"]["prompt_tokens"]
    return [Reply(_raw(token["logprob"] for token in content), sent, len(tokens)) for content in contents]


async def _echo(client: Client, texts: list[str], words: str) -> list[Reply]:
    answer = await client.complete([text + words for text in texts], max_tokens=1, logprobs=1, temperature=0, echo=True)
    replies = []
    for text, choice in zip(texts, answer["choices"], strict=True):
        found = choice["logprobs"]
        places = list(zip(found["token_logprobs"], found["text_offset"], strict=True))
        inside = [p for p, at in places if len(text) <= at < len(text) + len(words)]
        replies.append(Reply(_raw(inside), len(places) - 1, 1))
    return replies


def _raw(logprobs: Iterable[float]) -> str:
    return compact([round(logprob, 4) for logprob in logprobs])


def scores(replies: Sequence[Reply]) -> list[float]:
    """Mean log-probability in nats of the words behind each prompt. Raises ValueError where a reply does not hold them."""
    try:
        return [sum(row) / len(row) for row in (json.loads(reply.raw) for reply in replies)]
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError("no log-probabilities in the answer") from error
