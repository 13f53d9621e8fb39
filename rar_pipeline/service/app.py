"""The web service: thin. Everything that is not HTTP happens in champion.py, reply.py and feedback.py.

It is meant for loopback: no accounts, no keys in answers, no paths in errors. Requests of other sites are refused (the Host header must be ours,
bodies must be JSON, no CORS); the page loads nothing from elsewhere (Content-Security-Policy), and what people, data sets and LLMs wrote is shown as
text.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from rar_pipeline.corpus.cards import headline
from rar_pipeline.errors import RarError
from rar_pipeline.service import feedback as kept
from rar_pipeline.service import reply
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.talk import CHARACTERS, Card, Feedback, Mention, Movie, Recommendation, Talk

if TYPE_CHECKING:
    import httpx2
    from fastapi import FastAPI, Request, Response

    from rar_pipeline.generation.questions import LanguageModelHandle

BODY = 256 * 1024  # most bytes of a request: a conversation of the greatest length
PAGE = {"/": ("index.html", "text/html"), "/chat.css": ("chat.css", "text/css"), "/chat.js": ("chat.js", "text/javascript")}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Typed(BaseModel):
    """What stands in the box while somebody types."""

    text: Annotated[str, StringConstraints(max_length=CHARACTERS)]
    typing: Annotated[str, StringConstraints(max_length=100)] = Field("", description="the words before the cursor")


class Linked(BaseModel):
    """Titles in it, and movies that the last words (`completing`) may become."""

    mentions: list[Mention]
    completing: str
    completions: list[Movie]


class Health(BaseModel):
    """What serves."""

    status: Literal["ok"]
    dataset: str
    version: str
    movies: int
    llm: str = Field(description="name of the model that answers; empty: the retriever answers alone")
    keeps_feedback: bool


class Kept(BaseModel):
    """What became of a conversation: turns and mentions that were kept."""

    turns: int
    mentions: int


class Refused(BaseModel):
    """One line that says why."""

    detail: str


def create_app(
    champion: Champion,
    *,
    model: "LanguageModelHandle | None" = None,
    keep: Path | None = None,
    hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]"),
    transport: "httpx2.AsyncBaseTransport | None" = None,
) -> "FastAPI":
    """The service of a champion. `model`: the LLM that answers (None: nobody); `keep`: folder for feedback (None: refused); `hosts`: names that
    it answers to; `transport`: the LLM's, in place of the network.
    """
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import Response
    from fastapi.sse import EventSourceResponse, ServerSentEvent
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from rar_pipeline.generation.client import Client

    opened = AsyncExitStack()
    clients: list[Client] = []

    async def client() -> "Client":
        """The one client of this service, opened for the first who needs it, so that everybody shares its limits."""
        if not clients:
            assert model is not None
            clients.append(await opened.enter_async_context(Client(model, transport)))
        return clients[0]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with opened:
            yield

    app = FastAPI(
        lifespan=lifespan,
        title="RAR: talk to the recommender",
        summary="Recommendations of movies for a conversation, by the champion of the pipeline.",
        version=champion.version.fingerprint,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        max_body_size=BODY,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    refused: dict[int | str, dict[str, Any]] = {400: {"model": Refused, "description": "Asked for under another host's name"}}
    refused[413] = {"model": Refused, "description": "The body is too large"}

    unkept: dict[int | str, dict[str, Any]] = {403: {"model": Refused, "description": "This service keeps nothing"}}
    unkept[503] = {"model": Refused, "description": "It cannot be written"}

    @app.middleware("http")
    async def harmless(request: "Request", call: "Callable[[Request], Awaitable[Response]]") -> "Response":
        answer = await call(request)
        answer.headers.update(HEADERS)
        return answer

    def page(path: str, file: str, kind: str) -> None:
        body = (files("rar_pipeline.service") / "page" / file).read_bytes()
        app.get(path, include_in_schema=False)(lambda: Response(body, media_type=f"{kind}; charset=utf-8"))

    for path, (file, kind) in PAGE.items():
        page(path, file, kind)

    def pathless(text: str) -> str:
        """A line of ours without where the file of answers lies."""
        return text.replace(str(model.cache), model.cache.name) if model and model.cache else text

    @app.get("/api/health")
    def health() -> Health:
        """Whether it serves, and what."""
        return Health(
            status="ok",
            dataset=champion.version.dataset,
            version=champion.version.name,
            movies=len(champion.movies),
            llm=model.model if model else "",
            keeps_feedback=keep is not None,
        )

    @app.post("/api/link", responses=refused)
    def link(typed: Typed) -> Linked:
        """Titles in what is typed so far: linked, or with what may be meant."""
        completing, completions = champion.complete(typed.typing)
        return Linked(mentions=champion.link(typed.text), completing=completing, completions=completions)

    @app.post("/api/recommend", responses=refused)
    def recommend(talk: Talk) -> Recommendation:
        """The retriever's recommendations for a conversation."""
        return champion.recommend(talk)

    @app.post("/api/answer", response_class=EventSourceResponse, responses=refused)
    async def answer(talk: Talk) -> AsyncIterator[ServerSentEvent]:
        """Events: `candidates` (a Recommendation) at once; where an LLM answers, `words` as they come, then `ranking` or `failed`; `done`."""
        found = await run_in_threadpool(champion.recommend, talk)
        yield ServerSentEvent(event="candidates", data=found.model_dump())
        if model is not None:
            try:
                async with aclosing(reply.answer(champion, talk, found, await client(), keep=keep is not None)) as events:
                    async for event in events:
                        told = ranked(champion, found, event) if event.kind == "ranking" else {"text": pathless(event.text)}
                        yield ServerSentEvent(event=event.kind, data=told)
            except RarError as error:  # no key, or the file of answers is damaged
                yield ServerSentEvent(event="failed", data={"text": pathless(str(error))})
        yield ServerSentEvent(event="done", data={})

    @app.post("/api/feedback", responses=refused | unkept)
    def feedback(given: Feedback) -> Kept:
        """Keep a conversation with what the seeker thought of the recommendations, for the next training; without any opinion, forget it."""
        if keep is None:
            raise HTTPException(403, "this service keeps nothing")
        try:
            if not given.reactions:
                kept.forget(keep, given.conversation_id)
                return Kept(turns=0, mentions=0)
            dialogues, mentions = tables_of(champion, given)
            kept.keep(keep, dialogues, mentions)
        except OSError as error:  # a full or a read-only disk
            raise HTTPException(503, f"it cannot be kept: {error.strerror}") from None
        return Kept(turns=len(dialogues), mentions=len(mentions))

    return app


def ranked(champion: Champion, found: Recommendation, event: reply.Event) -> dict[str, Any]:
    """The LLM's movies as cards: those of the retriever with its reasons, others with what they are."""
    cards = {card.movie_id: card for card in found.candidates}
    shown = [
        cards.get(movie) or Card(**champion.movie(movie).model_dump(), why=[])
        for movie in event.ranking
        if movie in champion.catalogue.index
    ]
    return {"movies": [card.model_dump() for card in shown], "unmatched": event.unmatched}


def tables_of(champion: Champion, given: Feedback) -> Any:  # noqa: ANN401  (a pair of frames, which only feedback.py looks into)
    """DIALOGUES and MENTIONS of a conversation with its reactions, titles in the seeker's words linked as for recommending."""
    named = []
    for said in given.turns:
        found, _ = champion.mentioned([said], given.ignored)
        named.append(found)

    def name(movie_id: str) -> str | None:
        return headline(champion.movie(movie_id).model_dump()) if movie_id in champion.catalogue.index else None

    return kept.tables(given, named, name)
