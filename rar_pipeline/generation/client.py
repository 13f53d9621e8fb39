"""One call to an OpenAI-compatible endpoint: bounded, retried, counted, cached, and never leaking the key.

Retries with exponential backoff and jitter on what is transient (connection, timeout, 408, 409, 429, 5xx; `Retry-After` is honoured) are
openai's own.
The key is read from OPENAI_API_KEY when the client is made and is kept nowhere else; errors are told by class and HTTP status, since
messages of endpoints may repeat parts of a key or of a prompt.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from rar_pipeline.errors import RarError
from rar_pipeline.generation.cache import AnswerCache, content_key
from rar_pipeline.generation.questions import LanguageModelHandle

if TYPE_CHECKING:
    import httpx2

REACH_SECONDS = 20.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class BudgetSpentError(Exception):
    """The handle's call budget is used up."""


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered: text or JSON, tokens as the endpoint counted them, seconds of the call that was paid for."""

    raw: str
    prompt_tokens: int
    answer_tokens: int
    seconds: float = 0.0
    cached: bool = False


Part = Mapping[str, Any]
Send = Callable[[list[Part]], Awaitable[list[Reply]]]


def shown_url(url: str) -> str:
    """The address without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def told(error: BaseException) -> str:
    """Class and HTTP status of an error, without its message."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__


class Client:
    """An open connection to the endpoint of a handle; use as `async with`.

    `transport` replaces the network (tests). Raises RarError where the endpoint wants a key and OPENAI_API_KEY is not set.
    """

    def __init__(self, handle: LanguageModelHandle, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        import openai

        self.handle = handle
        self.cache = AnswerCache(handle.cache)
        self._gate = asyncio.Semaphore(handle.concurrency)
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        local = (urlsplit(handle.base_url).hostname or "") in _LOOPBACK
        key = os.environ.get("OPENAI_API_KEY", "") if handle.key_from_environment else ""
        if not key and not local:
            raise RarError(
                f"LLM endpoint {shown_url(handle.base_url)}: OPENAI_API_KEY is not set; export it (any word, where no key is needed)"
            )
        # a proxy of the environment must not stand between us and our own machine
        http = openai.DefaultAsyncHttpxClient(transport=transport, trust_env=not local and transport is None)
        self.openai = openai.AsyncOpenAI(
            base_url=handle.base_url,
            api_key=key or "none",
            timeout=handle.timeout,
            max_retries=handle.retries,
            http_client=http,
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cache.__exit__(kind, error, trace)
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
        except openai.APIError:
            # somebody answers; not every endpoint lists its models
            return

    def recall(self, kind: str, parts: Sequence[Part]) -> list[Reply] | None:
        """The cached replies to all `parts`, or None where one is missing."""
        replies = [self._kept(content_key(self.handle.model, kind, part)) for part in parts]
        return [reply for reply in replies if reply] if all(replies) else None

    def _kept(self, key: str) -> Reply | None:
        kept = self.cache.get(key)
        if kept is None:
            return None
        try:
            return Reply(
                str(kept["raw"]), int(kept["prompt_tokens"]), int(kept["answer_tokens"]), float(kept["seconds"]), cached=True
            )
        except (KeyError, TypeError, ValueError):
            return None

    async def ask(self, kind: str, parts: Sequence[Part], send: Send) -> list[Reply]:
        """One reply a part: from the cache, from a call that is already under way, or from `send`, which gets what is then missing.

        A part is a question's identity (prompt and parameters), or a candidate's share of it. `send` makes one call of the budget and returns
        one reply a part that it got; each is kept the moment it arrives, its seconds the call's by equal shares. Raises BudgetSpentError
        before a call that the budget does not cover, and openai's errors after the last retry.
        """
        keys = [content_key(self.handle.model, kind, part) for part in parts]
        async with self._gate:
            found = {key: reply for key in keys if (reply := self._kept(key))}
            waited = {key: self._under_way[key] for key in keys if key not in found and key in self._under_way}
            missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in found and key not in waited}
            if missing:
                found |= await self._send(kind, missing, send)
            for key, future in waited.items():
                found[key] = replace(await asyncio.shield(future), cached=True)
        return [found[key] for key in keys]

    async def _send(self, kind: str, missing: Mapping[str, Part], send: Send) -> dict[str, Reply]:
        if not self.handle.budget.take():
            raise BudgetSpentError
        futures = {key: asyncio.get_running_loop().create_future() for key in missing}
        self._under_way |= futures
        try:
            start = time.perf_counter()
            replies = await send(list(missing.values()))
            share = round((time.perf_counter() - start) / len(missing), 4)
            found = {key: replace(reply, seconds=share) for key, reply in zip(missing, replies, strict=True)}
            for key, reply in found.items():
                kept = asdict(reply)
                del kept["cached"]
                self.cache.put(key, self.handle.model, kind, kept)
                futures[key].set_result(reply)
        except Exception as error:
            for future in futures.values():
                if not future.done():
                    future.set_exception(error)
                    # nobody may be waiting: that is no fault to be reported
                    future.exception()
            raise
        finally:
            for key, future in futures.items():
                future.cancel()
                del self._under_way[key]
        return found

    async def chat(self, messages: Sequence[Mapping[str, str]], **parameters: object) -> dict[str, Any]:
        """One chat completion as a plain dict."""
        create: Any = self.openai.chat.completions.create
        return (await create(model=self.handle.model, messages=list(messages), **parameters)).model_dump()

    async def complete(self, prompts: Sequence[str], **parameters: object) -> dict[str, Any]:
        """One text completion of several prompts as a plain dict; choices in the order of the prompts."""
        create: Any = self.openai.completions.create
        answer = (await create(model=self.handle.model, prompt=list(prompts), **parameters)).model_dump(warnings=False)
        answer["choices"].sort(key=lambda choice: choice["index"])
        return answer


def compact(value: object) -> str:
    """JSON without spaces, as answers are kept."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
