"""Calls to an OpenAI-compatible endpoint: bounded, paced, retried, paid from a budget, cached, on record, and never leaking the key.

`ask` is for questions, whose answers come whole, `stream` for people, who read along; both go through one attempt's accounting (`_paid`).
`retries` says what is tried again, `pace` how fast, `budget` for how much, `cache` what is known already. The key is read from OPENAI_API_KEY
when the client is made and is kept nowhere else; errors are told by class and HTTP status, since messages of endpoints may repeat parts of
a key or of a prompt.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from rar_pipeline.errors import RarError
from rar_pipeline.generation.budget import Amount, BudgetSpentError
from rar_pipeline.generation.cache import AnswerCache, Call, content_key
from rar_pipeline.generation.pace import pace_of
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.generation.redaction import Hidden, hide, secrets_of, shown_url
from rar_pipeline.generation.retries import asked_wait, is_transient, pause, told

if TYPE_CHECKING:
    import ssl

    import httpx2

REACH_SECONDS = 20.0
UNBOUNDED = 4096  # tokens of an answer that are reckoned with where an endpoint takes no limit
BYTES_A_TOKEN = 4  # of a streamed answer that nobody counted
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered: text or JSON, tokens as the endpoint counted them, seconds and money of the call that was paid for."""

    raw: str
    prompt_tokens: int
    answer_tokens: int
    seconds: float = 0.0
    cost: float = 0.0
    cached: bool = False


Part = Mapping[str, Any]
Counted = Callable[[int, int], None]  # takes an attempt's prompt tokens and answer tokens
Send = Callable[[list[Part], Call], Awaitable[list[Reply]]]


def on_record(cache: Path, base_url: str, model: str) -> Amount:
    """What was spent on a model of an endpoint by all runs that keep their answers in `cache`."""
    with AnswerCache(cache) as answers:
        return answers.spent(shown_url(base_url), model)


class Client:
    """An open connection to the endpoint of a handle; use as `async with`.

    `transport` replaces the network (tests). Raises RarError where the endpoint wants a key and OPENAI_API_KEY is not set.
    """

    def __init__(self, handle: LanguageModelHandle, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        import httpx2
        import openai

        self.handle = handle
        self.cache = AnswerCache(handle.cache)
        self.pace = pace_of(handle.base_url, handle.model, handle.requests_per_minute, handle.tokens_per_minute)
        self._gate = asyncio.Semaphore(handle.concurrency)
        self._settled = asyncio.Condition()
        self._turn = asyncio.Lock()
        self._unkept: list[tuple[Call, dict[str, Any]]] = []
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        local = (urlsplit(handle.base_url).hostname or "") in _LOOPBACK
        key = os.environ.get("OPENAI_API_KEY", "") if handle.key_from_environment else ""
        if not key and not local:
            raise RarError(
                f"LLM endpoint {shown_url(handle.base_url)}: OPENAI_API_KEY is not set; export it (any word, where no key is needed)"
            )
        # a proxy of the environment must not stand between us and our own machine
        trusting = not local and transport is None
        limits = httpx2.Limits(max_connections=handle.concurrency, max_keepalive_connections=handle.concurrency)
        http = openai.DefaultAsyncHttpxClient(
            transport=transport, trust_env=trusting, verify=_certificates(trusting), limits=limits
        )
        # attempts are ours: each is paced and paid for by itself
        self.openai = openai.AsyncOpenAI(
            base_url=handle.base_url, api_key=key or "none", timeout=handle.timeout, max_retries=0, http_client=http
        )
        self._secrets = secrets_of(handle.base_url, key)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cache.close()
        await self.openai.close()

    async def reach(self) -> None:
        """Make sure that somebody answers. Raises RarError naming the address and what to do."""
        import openai

        url = shown_url(self.handle.base_url)
        try:
            await self.openai.with_options(timeout=REACH_SECONDS, max_retries=min(self.handle.retries, 1)).models.list()
        except openai.APIConnectionError as error:
            raise RarError(f"LLM endpoint {url} does not answer ({told(error)}); start it, or check RAR_LLM_BASE_URL") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise RarError(f"LLM endpoint {url} refuses the key ({told(error)}); check OPENAI_API_KEY") from None
        except (openai.APIError, ValueError):
            # somebody answers; not every endpoint lists its models
            return

    def recall(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies that are kept, by content key."""
        return {key: reply for key, kept in self.cache.get_all(keys).items() if (reply := _reply(kept))}

    def keys(self, kind: str, parts: Sequence[Part]) -> list[str]:
        """The content key of each part."""
        return [content_key(self.handle.model, kind, part) for part in parts]

    async def ask(self, call: Call, parts: Sequence[Part], send: Send) -> list[Reply]:
        """One reply a part: from the cache, from a call that is already under way, or from `send`, which gets what is then missing.

        A part is a question's identity (prompt and parameters), or a candidate's share of it. `send` makes one call and returns one reply a
        part that it got; they are kept the moment they arrive, seconds and cost the call's by equal shares. Raises BudgetSpentError before a
        call that the budget does not cover, and openai's errors or TimeoutError after the last attempt.
        """
        keys = self.keys(call.kind, parts)
        async with self._gate:
            found = self.recall(keys)
            waited = {key: self._under_way[key] for key in keys if key not in found and key in self._under_way}
            missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in found and key not in waited}
            if missing:
                found |= await self._send(call, missing, send)
            for key, future in waited.items():
                found[key] = replace(await asyncio.shield(future), cached=True)
        return [found[key] for key in keys]

    async def _send(self, call: Call, missing: Mapping[str, Part], send: Send) -> dict[str, Reply]:
        futures = {key: asyncio.get_running_loop().create_future() for key in missing}
        self._under_way |= futures
        found: dict[str, Reply] = {}
        try:
            replies = await send(list(missing.values()), call)
            seconds, cost = round(call.seconds / len(missing), 4), call.cost / len(missing)
            found = {key: replace(reply, seconds=seconds, cost=cost) for key, reply in zip(missing, replies, strict=True)}
            call.status = "answered"
        except Exception as error:
            call.error = told(error)
            for future in futures.values():
                future.set_exception(error)
                # nobody may be waiting: that is no fault to be reported
                future.exception()
            raise
        finally:
            self._record(call, found)
            for key, future in futures.items():
                if key in found:
                    future.set_result(found[key])
                future.cancel()
                del self._under_way[key]
        return found

    async def stream(self, call: Call, part: Part, *, keep: bool = True, **parameters: object) -> AsyncGenerator[str]:
        """The words of one chat completion as they come: from the cache, or from a call that is paced, paid for and on record as all are.

        `part`: `messages`, and what else makes up the question's identity. Tried again is only what fails before its first word. Tokens are those
        that the endpoint tells at the end; where it tells none, or the stream was cut short, they are reckoned from what came. Whoever stops reading
        should close the stream (`contextlib.aclosing`): the call is then `cancelled`. Its words so far are kept for people to read and answer no
        later question. `keep` False puts the call on record without its words, and looks up none. Raises as `ask`.
        """
        (key,) = self.keys(call.kind, [part])
        if keep and (kept := self.recall([key]).get(key)):
            for piece in re.findall(r"\s*\S+|\s+$", kept.raw):
                yield piece
            return
        pieces: list[str] = []
        words: AsyncGenerator[str]
        shown: str | None

        async def begun() -> tuple[AsyncGenerator[str], str | None]:
            words = self._words(part["messages"], parameters, call)
            return words, await anext(words, None)

        async with self._gate:
            try:
                words, shown = await self._retrying()(begun)
                async with aclosing(words):
                    while shown is not None:
                        pieces.append(shown)
                        yield shown
                        shown = await anext(words, None)
                call.status = "answered"
            except (asyncio.CancelledError, GeneratorExit):
                call.status = "cancelled"
                raise
            except Exception as error:
                call.error = told(error)
                raise
            finally:
                name = (
                    key if call.status == "answered" else content_key(self.handle.model, "cut short", {"call": uuid.uuid4().hex})
                )
                reply = Reply("".join(pieces), call.prompt_tokens, call.answer_tokens, round(call.seconds, 4), call.cost)
                try:
                    self._record(call, {name: reply} if keep and pieces else {})
                except RarError:
                    if call.status != "cancelled":  # nobody is there to be told: the next request is, before it is made
                        raise

    def _record(self, call: Call, found: Mapping[str, Reply]) -> None:
        """On disk: the call, where a request was sent at all, and its replies. What could not be written is written before the next request."""
        if call.attempts:
            kept = {
                key: {name: value for name, value in asdict(reply).items() if name != "cached"} for key, reply in found.items()
            }
            self._unkept.append((call, kept))
            self._keep()

    def _keep(self) -> None:
        while self._unkept:
            self.cache.record(shown_url(self.handle.base_url), self.handle.model, *self._unkept[0])
            del self._unkept[0]

    async def probed(self, send: Callable[[Call], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """What `send` gets: a call that asks what an endpoint can do is paid for and on record like any other."""
        call = Call("probe")
        try:
            answer = await send(call)
            call.status = "answered"
        except Exception as error:
            call.error = told(error)
            raise
        finally:
            self._record(call, {})
        return answer

    async def chat(self, call: Call, messages: Sequence[Mapping[str, str]], **parameters: object) -> dict[str, Any]:
        """One chat completion as a plain dict."""
        call.parameters = parameters
        return await self._post("/chat/completions", {"messages": list(messages), **parameters}, call)

    async def complete(
        self, call: Call, prompts: Sequence[str], headers: Mapping[str, str] | None = None, **parameters: object
    ) -> dict[str, Any]:
        """One text completion of several prompts as a plain dict; choices in the order of the prompts."""
        call.parameters = parameters
        answer = await self._post("/completions", {"prompt": list(prompts), **parameters}, call, headers, len(prompts))
        answer["choices"].sort(key=lambda choice: choice["index"])
        return answer

    async def _post(
        self, path: str, body: Mapping[str, Any], call: Call, headers: Mapping[str, str] | None = None, answers: int = 1
    ) -> dict[str, Any]:
        """The endpoint's answer, after as many attempts as the handle allows. `answers`: how many are written for one request."""
        content, longest = self._body(body)
        return await self._retrying()(self._attempt, path, content, longest * answers, call, dict(headers or {}))

    def _body(self, body: Mapping[str, Any]) -> tuple[bytes, int]:
        """What is sent, and the most tokens that are answered."""
        content = json.dumps({"model": self.handle.model, **body}, ensure_ascii=False, separators=(",", ":")).encode()
        return content, int(body.get("max_completion_tokens") or body.get("max_tokens") or UNBOUNDED)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(self.handle.retries + 1),
            wait=pause(),
            reraise=True,
        )

    async def _attempt(self, path: str, content: bytes, longest: int, call: Call, headers: dict[str, str]) -> dict[str, Any]:
        import httpx2

        async with self._paid(call, len(content), longest) as (expected, counted):
            start = time.perf_counter()
            async with asyncio.timeout(self.handle.timeout):
                response = await self.openai.post(path, cast_to=httpx2.Response, content=content, options=_json(headers))
            call.seconds = time.perf_counter() - start
            answer = json.loads(hide(response.text, self._secrets))
            if not isinstance(answer, dict):
                raise ValueError("the endpoint's answer is no JSON object")
            counted(*_usage(answer, expected))
        return answer

    async def _words(self, messages: Sequence[Part], parameters: Mapping[str, object], call: Call) -> AsyncGenerator[str]:
        """One attempt at a stream. Raises APIConnectionError where it ends before the answer does."""
        import openai

        refused = self.handle.refused
        asked = {"stream": True} | ({} if "stream_options" in refused else {"stream_options": {"include_usage": True}})
        call.parameters = {**parameters, **asked}
        content, longest = self._body({"messages": list(messages), **call.parameters})
        hidden, ended = Hidden(self._secrets), False
        usage: Mapping[str, Any] = {}
        chunks = size = 0
        try:
            async with self._paid(call, len(content), longest) as (expected, counted):
                start = time.perf_counter()
                try:
                    async with asyncio.timeout(self.handle.timeout) as limit:
                        stream: openai.AsyncStream[Any] = await self.openai.post(
                            "/chat/completions",
                            cast_to=object,
                            content=content,
                            options=_json(),
                            stream=True,
                            stream_cls=openai.AsyncStream[Any],
                        )
                    async with stream:
                        while True:
                            async with asyncio.timeout_at(limit.when()):
                                chunk = await anext(stream, None)
                            if chunk is None:
                                break
                            usage = chunk.get("usage") or usage
                            for choice in chunk.get("choices") or ():
                                ended |= bool(choice.get("finish_reason"))
                                if piece := (choice.get("delta") or {}).get("content"):
                                    chunks, size = chunks + 1, size + len(piece.encode())
                                    if shown := hidden.more(piece):
                                        yield shown
                    if rest := hidden.rest():
                        yield rest
                    if not ended:
                        raise openai.APIConnectionError(message="the stream ended early", request=stream.response.request)
                finally:
                    call.seconds = time.perf_counter() - start
                    if usage or ended or chunks:
                        # a chunk is a token or more
                        reckoned = min(max(chunks, size // BYTES_A_TOKEN), longest)
                        counted(*_usage({"usage": usage}, (expected[0], reckoned)))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if "stream_options" in refused or "stream_options" not in str(error):
                raise
            refused.add("stream_options")
            async with aclosing(self._words(messages, parameters, call)) as again:
                async for piece in again:
                    yield piece

    @asynccontextmanager
    async def _paid(self, call: Call, prompt_bytes: int, longest: int) -> AsyncIterator[tuple[tuple[int, int], Counted]]:
        """One attempt: let out by budget and pace, and counted as expected until it is said what it came to.

        Gives (prompt tokens, answer tokens) as expected, and what is to be told how many there were. Refused, it is a call without tokens.
        """
        import openai

        self._keep()
        most = await self._reserve(prompt_bytes, longest)
        expected = self.pace.expected(prompt_bytes, longest)
        spent = Amount()

        def counted(prompt_tokens: int, answer_tokens: int) -> None:
            nonlocal spent
            call.prompt_tokens, call.answer_tokens = prompt_tokens, answer_tokens
            spent = self._amount(prompt_tokens, answer_tokens)
            self.pace.counted(sum(expected), prompt_bytes, prompt_tokens, answer_tokens)

        try:
            async with self._turn:
                await self.pace.admit(sum(expected))
            call.attempts += 1
            # what is broken off from here on may have been answered and billed all the same
            spent = self._amount(*expected)
            yield expected, counted
        except openai.APIStatusError as error:
            spent = Amount(calls=1)
            self.pace.returned(sum(expected))
            if error.status_code == 429 and is_transient(error):
                self.pace.pause(asked_wait(error))
            raise
        finally:
            call.cost += spent.cost
            call.tokens += spent.tokens
            self.handle.budget.settle(most, spent)
            async with self._settled:
                self._settled.notify_all()

    def _amount(self, prompt_tokens: int, answer_tokens: int) -> Amount:
        handle = self.handle
        cost = (prompt_tokens * handle.prompt_price + answer_tokens * handle.answer_price) / 1_000_000
        return Amount(1, prompt_tokens + answer_tokens, cost)

    async def _reserve(self, prompt_bytes: int, answer_tokens: int) -> Amount:
        """Hold back the most that an attempt can cost, waiting for calls in flight where it may fit once they are settled."""
        budget, most = self.handle.budget, self._amount(prompt_bytes, answer_tokens)
        while (verdict := budget.reserve(most)) != "held":
            if verdict == "never":
                raise BudgetSpentError(f"the budget does not cover another call: {budget.told()}")
            async with self._settled:
                try:
                    # calls of other threads settle without a word to us
                    await asyncio.wait_for(self._settled.wait(), 0.5)
                except TimeoutError:
                    continue
        return most


@lru_cache(maxsize=2)
def _certificates(trust_env: bool) -> ssl.SSLContext:
    """Read once: it takes as long as many calls."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=trust_env)


def _json(headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - openai's own type is private
    return {"headers": {"Content-Type": "application/json", **(headers or {})}}


def _reply(kept: Mapping[str, Any]) -> Reply | None:
    """A reply as it was kept, or None where the row does not hold one."""
    try:
        return Reply(
            str(kept["raw"]),
            int(kept["prompt_tokens"]),
            int(kept["answer_tokens"]),
            float(kept["seconds"]),
            float(kept.get("cost", 0.0)),
            cached=True,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _usage(answer: Mapping[str, Any], expected: tuple[int, int]) -> tuple[int, int]:
    """(prompt tokens, answer tokens) as the endpoint counted them, thoughts included; as expected where it does not say."""
    usage = answer.get("usage") or {}
    prompt, written = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    if not prompt:
        return expected
    # some endpoints count thoughts in the total alone
    return prompt, max(written, int(usage.get("total_tokens") or 0) - prompt)


def compact(value: object) -> str:
    """JSON without spaces, as answers are kept."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
