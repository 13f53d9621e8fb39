"""The embedded model behind HTTP: as much of OpenAI's interface as the pipeline asks for, on loopback, in a process of its own.

GET /health and /v1/models, POST /v1/completions (with `echo` and `logprobs`: how likely given texts are) and /v1/chat/completions (also as a
stream). One call at a time has the model; a stream that nobody reads any more gives it up after the next token. Alternatives (`top_logprobs`) are
told of written tokens only. The header `X-Echo-Characters: n` says that of each echoed prompt only the last n characters are to be scored, which
saves a fifth of the time; other tokens then have no log-probability.
`python -m rar_pipeline.generation.server` is started by `embedded` and ends with its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from rar_pipeline.generation import adapter as adapters
from rar_pipeline.generation.network import Network, Text, Token, Written
from rar_pipeline.generation.weights import unpacked

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_CHAT_TOKENS = 1024  # of an answer, where the request says nothing


class BadRequestError(Exception):
    """What the caller did wrong, and in which parameter."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class _Asked(BaseModel):
    """What both kinds of request share. What is None or one value only is not offered, and refused where it is asked for."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None

    @property
    def stops(self) -> list[str]:
        return [word for word in ([self.stop] if isinstance(self.stop, str) else self.stop or []) if word]


class CompletionRequest(_Asked):
    """OpenAI's old text completion."""

    prompt: str | Annotated[list[str], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    stream: Literal[False] | None = None
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str


class StreamOptions(BaseModel):
    """What a stream is to tell beside the words."""

    include_usage: bool = False


class ChatRequest(_Asked):
    """A chat completion, whole or as a stream (then without log-probabilities)."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: None = None
    tools: None = None


def complete(network: Network, name: str, asked: CompletionRequest, scored: int | None = None) -> dict[str, Any]:
    """The answer to a text completion; `scored`: characters at the end of each prompt whose tokens are scored (None: all)."""
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    most = 16 if asked.max_tokens is None else asked.max_tokens
    texts = [_fitting(network, network.text(prompt), most, "prompt") for prompt in prompts]
    read: list[Any] = [([], None)] * len(texts)
    if asked.echo and asked.logprobs is not None:
        starts = [0 if scored is None else _start(text, len(p) - scored) for p, text in zip(prompts, texts, strict=True)]
        read = network.read(texts, starts)
    choices, tokens = [], 0
    for index, (prompt, text, (given, logits)) in enumerate(zip(prompts, texts, read, strict=True)):
        written = network.write(text, most, **_how(asked), top=asked.logprobs or 0, logits=logits)
        tokens += len(written.tokens)
        shown = prompt if asked.echo else ""
        logprobs = None
        if asked.logprobs is not None:
            logprobs = _told(prompt, text, given, written) if asked.echo else _told("", Text([], []), [], written)
        choices.append({"index": index, "text": shown + written.text, "finish_reason": written.reason, "logprobs": logprobs})
    return _answer("text_completion", name, choices, sum(len(text.ids) for text in texts), tokens)


def _start(text: Text, character: int) -> int:
    """Place of the token that holds `character`: the one before the first that begins behind it."""
    return max(sum(offset <= character for offset in text.offsets) - 1, 0)


def _told(prompt: str, text: Text, given: list[float | None], written: Written) -> dict[str, Any]:
    """The old completions' lists, prompt first; offsets in characters."""
    ends = [*text.offsets[1:], len(prompt)]
    pieces = [prompt[start:end] for start, end in zip(text.offsets, ends, strict=False)]
    words = [token.text for token in written.tokens]
    return {
        "tokens": pieces + words,
        "token_logprobs": given + [token.logprob for token in written.tokens],
        "top_logprobs": [None] * len(pieces) + [dict(token.top) for token in written.tokens],
        "text_offset": text.offsets + list(accumulate(map(len, words[:-1]), initial=len(prompt)))[: len(words)],
    }


def chat(network: Network, name: str, asked: ChatRequest) -> dict[str, Any]:
    """The answer to a chat completion."""
    text, most = _talk(network, asked)
    written = network.write(text, most, **_how(asked), top=(asked.top_logprobs or 0) if asked.logprobs else 0)
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": written.text},
        "finish_reason": written.reason,
        "logprobs": {"content": [_chat_token(token) for token in written.tokens]} if asked.logprobs else None,
    }
    return _answer("chat.completion", name, [choice], len(text.ids), len(written.tokens))


def chat_stream(network: Network, name: str, asked: ChatRequest) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat completion, a token or more each. What is wrong with the request is told before the first."""
    if asked.logprobs:
        raise BadRequestError("log-probabilities are not streamed", "logprobs")
    text, most = _talk(network, asked)
    counted = asked.stream_options is not None and asked.stream_options.include_usage

    def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        answer = _answer("chat.completion.chunk", name, [choice], 0, 0)
        return answer | {"usage": None}

    def chunks() -> Iterator[dict[str, Any]]:
        written, told = Written(), ""
        yield chunk({"role": "assistant", "content": ""})
        for written in network.writing(text, most, **_how(asked)):
            shown = _settled(written.text, asked.stops)
            if written.reason != "stop" and len(shown) > len(told):
                yield chunk({"content": shown[len(told) :]})
                told = shown
        rest = written.text[len(told) :]
        yield chunk({"content": rest} if rest else {}, written.reason)
        if counted:
            yield _answer("chat.completion.chunk", name, [], len(text.ids), len(written.tokens))

    return chunks()


def _settled(text: str, stops: list[str]) -> str:
    """What of a text cannot change any more: without a letter of which bytes are missing, and without what may become a stop word."""
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    held = (size for word in stops for size in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:size]))
    return text[: len(text) - max(held, default=0)]


def _talk(network: Network, asked: ChatRequest) -> tuple[Text, int]:
    """The messages as the model reads them, and how many tokens it may write."""
    try:
        text = network.chat([message.model_dump() for message in asked.messages])
    except ValueError as error:
        raise BadRequestError(f"the model's chat template does not take these messages: {error}", "messages") from None
    most = asked.max_completion_tokens or asked.max_tokens or max(min(_CHAT_TOKENS, network.context - len(text.ids)), 1)
    return _fitting(network, text, most, "messages"), most


def _how(asked: _Asked) -> dict[str, Any]:
    return {"temperature": asked.temperature, "seed": asked.seed, "stop": asked.stops}


def _chat_token(token: Token) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return one(token.text, token.logprob) | {"top_logprobs": [one(*pair) for pair in token.top]}


def _fitting(network: Network, text: Text, most: int, parameter: str) -> Text:
    if not text.ids:
        raise BadRequestError("an empty text has nothing to go on from", parameter)
    if len(text.ids) + most > network.context:
        raise BadRequestError(f"{len(text.ids)} tokens and {most} to be written are more than {network.context}", parameter)
    return text


def _answer(kind: str, name: str, choices: list[dict[str, Any]], sent: int, written: int) -> dict[str, Any]:
    usage = {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
    return {"id": kind, "object": kind, "created": int(time.time()), "model": name, "choices": choices, "usage": usage}


def application(network: Network, name: str) -> Starlette:
    """The HTTP application for `network`, which it calls `name`."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    alone = asyncio.Lock()

    async def working(work: Callable[[], dict[str, Any]]) -> Response:
        async with alone:
            return JSONResponse(await run_in_threadpool(work))

    async def events(chunks: Iterator[dict[str, Any]]) -> AsyncIterator[str]:
        async with alone:
            while chunk := await run_in_threadpool(next, chunks, None):
                yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"

    async def completions(request: Request) -> Response:
        asked = CompletionRequest.model_validate_json(await request.body())
        header = request.headers.get("x-echo-characters", "")
        scored = int(header) if header.isdecimal() else None
        return await working(partial(complete, network, name, asked, scored))

    async def chats(request: Request) -> Response:
        asked = ChatRequest.model_validate_json(await request.body())
        if asked.stream:
            async with alone:
                chunks = await run_in_threadpool(chat_stream, network, name, asked)
            return StreamingResponse(events(chunks), media_type="text/event-stream")
        return await working(partial(chat, network, name, asked))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "embedded"}]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def refuse(_: Request, error: Exception) -> Response:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            parameter = str(first["loc"][0]) if first["loc"] else None
            message = f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
        else:
            message, parameter = str(error), getattr(error, "parameter", None)
        told = {"message": message, "type": "invalid_request_error", "param": parameter, "code": None}
        return JSONResponse({"error": told}, status_code=400)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chats, methods=["POST"]),
        ],
        exception_handlers={ValidationError: refuse, BadRequestError: refuse},
    )


def _end_with(parent: int) -> None:
    """End this process as soon as the parent closes our standard input or is gone."""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1024):
            break
    # no orderly shutdown: an answer under way has nobody who reads it, and native threads must not delay the end
    os._exit(0)


def serve(weights: Path, store: Path, threads: int, parent: int, adapter: Path | None = None) -> None:
    """Serve until the parent ends. Prints the address, once the model is loaded, as the only line on standard output."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # libraries may print: keep the real standard output for the one line that the parent waits for
    report = os.dup(1)
    os.dup2(2, 1)

    import uvicorn

    name = weights.name if weights.is_dir() else weights.stem
    if adapter:
        name = adapters.read(adapter).model_name(name)
    app = application(Network(unpacked(weights, store), threads, adapter), name)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        os.write(report, f"http://127.0.0.1:{listening.getsockname()[1]}\n".encode())
        os.close(report)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listening])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve one model on a free loopback port until standard input ends.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    for option in ("--threads", "--parent"):
        parser.add_argument(option, type=int, required=True)
    arguments = parser.parse_args()
    serve(arguments.weights, arguments.store, arguments.threads, arguments.parent, arguments.adapter)
