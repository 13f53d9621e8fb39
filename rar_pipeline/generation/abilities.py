"""What an endpoint can do, asked once before the first question and told in one line.

likelihood needs the log-probabilities of given text: `echo` of OpenAI's old completions. label needs the top log-probabilities of a chat
answer's first token. generate needs nothing; structured output is used where it is taken.
An echo is believed only if it gives a token the log-probability that it had when it was generated: some servers are off by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rar_pipeline.errors import RarError
from rar_pipeline.generation.client import Client
from rar_pipeline.generation.questions import Mode
from rar_pipeline.generation.redaction import shown_url
from rar_pipeline.generation.retries import told

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"recommendations": {"type": "array", "items": {"type": "string"}}},
    "required": ["recommendations"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "recommendations", "strict": True, "schema": SCHEMA}}
_PROBE = "The capital of France is"


@dataclass(frozen=True)
class Abilities:
    """`echo`: log-probabilities of given text. `top_logprobs`: how many are given. `chat`: parameters that its chat takes, with values."""

    echo: bool = False
    top_logprobs: int = 0
    chat: dict[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """One line for people."""
        parts = ["likelihood through echo"] if self.echo else []
        parts += [f"top {self.top_logprobs} log-probabilities"] if self.top_logprobs else []
        if not parts:
            parts = ["structured output" if "response_format" in self.chat else "plain text, no structured output"]
            parts += [] if "temperature" in self.chat else ["its own temperature"]
        return ", ".join(parts)


async def probe(client: Client, mode: Mode) -> Abilities:
    """What `mode` needs to know of the endpoint; asked once for a handle.

    Raises RarError where nobody answers or the mode is not possible there, BudgetSpentError where the budget does not cover the asking.
    """
    known = client.handle.known
    if mode not in known:
        await client.reach()
        known[mode] = await _asked(client, mode)
    return known[mode]


async def _asked(client: Client, mode: Mode) -> Abilities:
    if mode == "likelihood":
        await _need_echo(client)
        return Abilities(echo=True)
    wanted: dict[str, Any] = {"temperature": 0, "max_completion_tokens": 16 + client.handle.thinking_tokens}
    if mode == "generate":
        wanted["response_format"] = RESPONSE_FORMAT
    if client.handle.reasoning_effort:
        wanted["reasoning_effort"] = client.handle.reasoning_effort
    chat = await _accepted(client, wanted)
    return Abilities(top_logprobs=await _top_logprobs(client, chat), chat=chat) if mode == "label" else Abilities(chat=chat)


def _impossible(client: Client, mode: Mode, wants: str, instead: str) -> RarError:
    place = f"LLM endpoint {shown_url(client.handle.base_url)}, model {client.handle.model!r}"
    return RarError(f"{place}: mode {mode} needs {wants}, which it does not give; set RAR_LLM_MODE={instead}")


async def _need_echo(client: Client) -> None:
    import openai

    try:
        works = await _echo_works(client)
    except (openai.APIError, TimeoutError, KeyError, TypeError, IndexError, ValueError):
        works = False
    if not works:
        raise _impossible(client, "likelihood", "true log-probabilities of given text (completions with echo)", "generate")


async def _echo_works(client: Client) -> bool:
    score: dict[str, Any] = {"max_tokens": 1, "logprobs": 1, "temperature": 0}
    free = (await client.probed(lambda call: client.complete(call, [_PROBE], **score)))["choices"][0]
    expected = free["logprobs"]["token_logprobs"][0]
    text = _PROBE + free["text"]
    echoed = (await client.probed(lambda call: client.complete(call, [text], echo=True, **score)))["choices"][0]["logprobs"]
    inside = [p for p, at in zip(echoed["token_logprobs"], echoed["text_offset"], strict=True) if len(_PROBE) <= at < len(text)]
    return len(inside) == 1 and abs(inside[0] - expected) < 0.3


async def _accepted(client: Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """`wanted` without the parameters that the chat endpoint refuses, found out by asking for a word."""
    import openai

    parameters = dict(wanted)
    while True:
        try:
            await _chat(client, parameters)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if "output limit" in str(error):
                # a model that thinks did not come to an end: nothing was refused
                return parameters
            refused = _refused(error, parameters)
            if refused is None:
                raise RarError(
                    f"LLM endpoint {shown_url(client.handle.base_url)} refuses a plain chat ({told(error)}); check RAR_LLM_MODEL"
                ) from None
            del parameters[refused]
            if refused == "max_completion_tokens":
                parameters["max_tokens"] = wanted[refused]
        except openai.NotFoundError as error:
            place = f"LLM endpoint {shown_url(client.handle.base_url)}"
            raise RarError(
                f"{place} has no model {client.handle.model!r} or no chat ({told(error)}); check RAR_LLM_MODEL"
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise RarError(
                f"LLM endpoint {shown_url(client.handle.base_url)} refuses the key ({told(error)}); check OPENAI_API_KEY"
            ) from None
        except (openai.APIError, TimeoutError, ValueError):
            # a passing failure says nothing of abilities; the questions will meet it again and be counted
            return parameters
        else:
            return parameters


async def _chat(client: Client, parameters: dict[str, Any]) -> dict[str, Any]:
    return await client.probed(lambda call: client.chat(call, [{"role": "user", "content": "Say yes."}], **parameters))


def _refused(error: Exception, parameters: dict[str, Any]) -> str | None:
    """The parameter that the endpoint's refusal names; where it names none, the most unusual one that is left."""
    message = str(error)
    for parameter in parameters:
        if parameter in message or (parameter == "response_format" and "json_schema" in message):
            return parameter
    return next(
        (p for p in ("reasoning_effort", "response_format", "max_completion_tokens", "temperature") if p in parameters), None
    )


async def _top_logprobs(client: Client, chat: dict[str, Any]) -> int:
    import openai

    for count in (100, 20, 5):
        try:
            answer = await _chat(client, chat | {"logprobs": True, "top_logprobs": count})
            return len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
        except (openai.APIStatusError, KeyError, TypeError, IndexError, ValueError):
            continue
    raise _impossible(client, "label", "top log-probabilities of chat answers", "generate")
