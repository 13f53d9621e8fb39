"""Run the web service, on loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rar_pipeline.errors import RarError
from rar_pipeline.settings import Settings

if TYPE_CHECKING:
    from rar_pipeline.generation.questions import LanguageModelHandle

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextmanager
def language_model(settings: Settings) -> Iterator[LanguageModelHandle]:
    """The LLM that the settings name; the embedded one runs as long as the block."""
    from rar_pipeline.resources import LanguageModel, resources

    model = resources(settings)["language_model"]
    assert isinstance(model, LanguageModel)
    with model.open() as handle:
        yield handle


@contextmanager
def answering(settings: Settings, llm: bool) -> Iterator[LanguageModelHandle | None]:
    """The LLM, or None where it is not to answer."""
    if not llm:
        yield None
        return
    with language_model(settings) as handle:
        yield handle


def serve(
    settings: Settings,
    dataset: str,
    version: str | None,
    *,
    host: str,
    port: int,
    llm: bool | None,
    keep: bool,
    say: Callable[[str], None],
) -> None:
    """Serve until it is interrupted. `llm` None: as the champion's record says, and always where an endpoint is set.

    Raises RarError where there is no champion, or the port is taken.
    """
    import socket

    import uvicorn

    from rar_pipeline.service.app import create_app
    from rar_pipeline.service.lake import kept_in, open_champion

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:  # before the champion is loaded, which takes a while
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise RarError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another with --port") from None
        bound = listening.getsockname()[1]
        say(f"loading the retriever of {dataset} from {settings.root} ...")
        champion, chosen = open_champion(settings, dataset, version)
        use = llm if llm is not None else chosen or bool(settings.llm_base_url)
        with answering(settings, use) as model:
            hosts = ("127.0.0.1", "localhost", "[::1]") if host in LOOPBACK else ("*",)
            app = create_app(champion, model=model, keep=kept_in(settings) if keep else None, hosts=hosts)
            shown = f"[{host}]" if ":" in host else host
            say(
                f"{champion.version.name} of {champion.version.dataset}, {len(champion.movies):,} movies, "
                + (f"answers by {model.model}" if model else "the retriever answers alone")
                + ("" if keep else "; feedback is not kept")
            )
            if host not in LOOPBACK:
                say(f"warning: everybody who reaches {host} can use it and leave feedback; there are no accounts")
            say(f"http://{shown}:{bound}  (Ctrl-C ends it; the API: http://{shown}:{bound}/openapi.json)")
            config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
            uvicorn.Server(config).run(sockets=[listening])
