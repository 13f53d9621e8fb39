"""How every request of this project behaves towards the server that answers it: named, spaced out, allowed, and patient.

A name with a contact, one rate a host, robots.txt, another try only where something passing went wrong and not before the server
wants one. Both ways of fetching go through here: fetch.py (one file) and harvest/client.py (one answer of an API).
"""

from __future__ import annotations

import email.utils
import logging
import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

import httpx
from protego import Protego
from pyrate_limiter import Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from rar_pipeline.errors import RarError
from rar_pipeline.publishers import MOST_A_SECOND

PROGRAM = "rar-pipeline"
PROJECT_AGENT = f"{PROGRAM}/0.1 (conversational recommendation research"
TRANSIENT = frozenset({429, 500, 502, 503, 504})
LONGEST_WAIT = 300.0  # seconds; a server that asks for more is left alone
ROBOTS_BYTES = 500 * 1024  # RFC 9309, 2.5: as much of a robots.txt as must be read
_DAY = 86_400.0  # seconds

# httpx logs whole addresses at INFO, with whatever keys they hold; httpcore at DEBUG where a server redirects to
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_logger = logging.getLogger(__name__)

Log = Callable[[str], None]
T = TypeVar("T")


class RefusedError(RarError):
    """The server answered, and trying again would not change the answer; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LaterError(RefusedError):
    """The server asks to be left alone for longer than a run waits."""


class DisallowedError(RarError):
    """The host's robots.txt asks programs to leave the address alone."""


class TransientError(Exception):
    """Worth another try, not before `after` seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class Manners:
    """How requests are made."""

    agent: str  # the user agent
    rate: float = 5.0  # most requests a second to one host; publishers.py names hosts that want fewer
    timeout: float = 30.0  # seconds without a byte
    attempts: int = 6
    backoff: float = 1.0  # seconds before the second attempt, doubled for each further one, with jitter


def user_agent(contact: str) -> str:
    """The name under which this project fetches, with an address or e-mail for whoever runs the server."""
    if not contact.isascii() or not contact.isprintable():
        raise RarError(f"RAR_CONTACT={contact!r}: not printable ASCII; give an e-mail or a web address")
    return f"{PROJECT_AGENT}; contact: {contact})" if contact else f"{PROJECT_AGENT})"


def shown(url: str) -> str:
    """The address as it may be shown: no user, no password, no fragment, values of the query starred out."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return "an address that cannot be read"
    query = "&".join(f"{name}=***" for name in parts.params)
    return f"{_origin(parts)}{parts.path}" + (f"?{query}" if query else "")


def polite_client(
    manners: Manners, *, robots: bool = True, follow_redirects: bool = False, max_redirects: int = 20
) -> httpx.Client:
    """An HTTP client that spaces its requests out, redirected ones too, and asks robots.txt first.

    `robots` is False for documented APIs. A robots.txt speaks to crawlers that wander through pages (RFC 9309, 1); an API is made
    for programs and has its own terms, which the harvesters keep: Wikipedia's robots.txt bars all of /api/ while its guidelines
    invite named, slow programs there. Raises DisallowedError for what robots.txt bars, RarError where it cannot be read.
    """

    def wait(request: httpx.Request) -> None:
        host, rate = request.url.host, min(manners.rate, MOST_A_SECOND.get(request.url.host, manners.rate))
        if robots:
            rules = _rules(request.url, manners)
            if not rules.can_fetch(str(request.url.copy_with(userinfo=b"")), PROGRAM):
                raise DisallowedError(f"{shown(str(request.url))}: robots.txt of {host} bars programs; name a mirror instead")
            rate = min(rate, 1 / (rules.crawl_delay(PROGRAM) or 1 / rate))
        _limiter(request.url.netloc, rate).try_acquire(host)

    return httpx.Client(
        headers={"User-Agent": manners.agent},
        timeout=manners.timeout,
        follow_redirects=follow_redirects,
        max_redirects=max_redirects,
        event_hooks={"request": [wait]},
    )


def persistently(attempt: Callable[[], T], url: str, manners: Manners, log: Log) -> T:
    """What `attempt` returns, tried again while it raises TransientError, later and later and never before the server wants.

    Raises RarError where all attempts failed or `url` is no address; every other error passes at once.
    """
    growing = wait_exponential_jitter(initial=manners.backoff, max=60.0, jitter=manners.backoff)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(growing(state), error.after if isinstance(error, TransientError) else 0.0)

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log(f"{shown(url)}: {error}; attempt {state.attempt_number + 1} of {manners.attempts} in {state.upcoming_sleep:.1f} s")

    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(manners.attempts),
        wait=pause,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except TransientError as error:
        raise RarError(f"{shown(url)}: {error}, {manners.attempts} times; run again later, what has come is kept") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise RarError(f"{shown(url)}: cannot be fetched ({type(error).__name__}); check the address") from None


def transient(error: httpx.RequestError) -> TransientError:
    """A failure of the network as one that is worth another try."""
    return TransientError(f"{type(error).__name__} ({error})")


def refuse(url: str, response: httpx.Response, accepted: Set[int]) -> None:
    """Raise for every status that is not accepted: TransientError, LaterError or, for good, RefusedError."""
    status = response.status_code
    if status in accepted:
        return
    if status in TRANSIENT:
        after = _retry_after(response.headers.get("Retry-After", ""))
        if after > LONGEST_WAIT:
            raise LaterError(f"{shown(url)}: HTTP {status}, and the server asks to wait {after:.0f} s; run again then", status)
        raise TransientError(f"HTTP {status}", after)
    raise RefusedError(f"{shown(url)}: HTTP {status} {response.reason_phrase}; check the address", status)


def _rules(url: httpx.URL, manners: Manners) -> Protego:
    origin = _origin(url)
    try:
        return _robots(origin, manners, int(time.time() // _DAY))  # RFC 9309, 2.4: not kept for more than a day
    except RarError as error:
        raise RarError(f"{shown(str(url))}: not asked for, since robots.txt there cannot be read ({error})") from None


@lru_cache(maxsize=256)
def _robots(origin: str, manners: Manners, day: int) -> Protego:
    """A host's rules. RFC 9309, 2.3.1: one that has none (4xx) allows all; one that cannot say (5xx, no answer) allows nothing."""
    url = f"{origin}/robots.txt"

    def attempt() -> bytes:
        content = b""
        try:
            with (
                polite_client(manners, robots=False, follow_redirects=True, max_redirects=5) as client,
                client.stream("GET", url) as response,
            ):
                if response.status_code >= 500 or response.status_code in TRANSIENT:
                    refuse(url, response, frozenset())
                for chunk in response.iter_bytes() if response.status_code == 200 else ():
                    content += chunk
                    if len(content) >= ROBOTS_BYTES:
                        break
        except httpx.TooManyRedirects:
            return b""
        except httpx.UnsupportedProtocol:
            raise
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transient(error) from None
        return content[:ROBOTS_BYTES]

    return Protego.parse(persistently(attempt, url, manners, _logger.warning).decode("utf-8", errors="replace"))


@lru_cache(maxsize=256)
def _limiter(host: bytes, rate: float) -> Limiter:
    """Lets one request through to a host every 1/rate seconds; shared by all that this process fetches there."""
    return Limiter(Rate(1, max(1, math.ceil(1000 / rate))), buffer_ms=0)


def _origin(url: httpx.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "")


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 where it says nothing."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
