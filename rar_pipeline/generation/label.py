"""Mode label: candidates bear letters, and one forward pass orders them by the log-probability of their letter.

This is the verbalizer of LlamaRec (Yue et al., 2023). A letter that is not among the top log-probabilities gets less than the least of
those, so that such candidates share the last places, in the order of their movie ids.
"""

from __future__ import annotations

import json
import math
import string

from rar_pipeline.generation import prompts
from rar_pipeline.generation.abilities import Abilities
from rar_pipeline.generation.cache import Call
from rar_pipeline.generation.client import Client, Part, Reply, compact
from rar_pipeline.generation.questions import LanguageModelHandle, Question

(PROMPT,) = prompts.FILES["label"]
LABELS = string.ascii_uppercase + string.ascii_lowercase


def parts(question: Question, handle: LanguageModelHandle) -> list[Part]:
    """The chat messages, as the one part. Raises ValueError where there are more candidates than labels (52)."""
    if len(question.candidates) > len(LABELS):
        raise ValueError(f"{len(question.candidates)} candidates, but only {len(LABELS)} labels")
    lines = zip(LABELS, question.candidates, strict=False)
    messages = prompts.chat_messages(
        PROMPT,
        conversation=prompts.conversation(question.context, handle.context_characters),
        candidates="\n".join(f"{letter}. {prompts.line(candidate, handle.card_characters)}" for letter, candidate in lines),
    )
    return [{"messages": list(messages), "max_tokens": 1}]


async def send(client: Client, missing: list[Part], abilities: Abilities, call: Call) -> list[Reply]:
    """Ask for one token; `raw` is a JSON list of the top tokens with their log-probabilities in nats."""
    limit = "max_tokens" if "max_tokens" in abilities.chat else "max_completion_tokens"
    parameters = abilities.chat | {limit: 1, "logprobs": True, "top_logprobs": abilities.top_logprobs}
    answer = await client.chat(call, missing[0]["messages"], **parameters)
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    usage = answer["usage"] or {}
    pairs = [[item["token"], round(item["logprob"], 4)] for item in top]
    return [Reply(compact(pairs), usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))]


def scores(raw: str, candidates: int) -> list[float] | None:
    """Log-probability in nats of each candidate's letter; None where no letter is among the top tokens."""
    top = json.loads(raw)
    found: dict[str, float] = {}
    for token, logprob in top:
        # "B", " B" and "B." say the same
        letter = token.strip().rstrip(".):")
        found[letter] = math.log(math.exp(found[letter]) + math.exp(logprob)) if letter in found else logprob
    letters = LABELS[:candidates]
    if not any(letter in found for letter in letters):
        return None
    floor = min(logprob for _, logprob in top) - 1.0
    return [found.get(letter, floor) for letter in letters]
