"""`rar`: the pipeline from the command line. It wraps what can be typed by hand: `rar run` types Dagster's commands, the rest reads the lake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from rar_pipeline.errors import RarError

if TYPE_CHECKING:
    from rar_pipeline.settings import Settings

P = ParamSpec("P")

app = typer.Typer(
    help="Recommend movies in conversation: make the data, train, evaluate, and talk to what came out.\n\n"
    "Begin with [bold]rar run[/] (everything on the bundled sample world, some minutes), then [bold]rar chat[/]. "
    "Every setting is an environment variable RAR_...; see rar_pipeline/settings.py.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAKE, LOOK, TALK = "Make", "Look", "Talk"
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="redial, inspired, reddit, or a data set of your own.")]
Version = Annotated[str | None, typer.Option("--version", "-v", help="A version, for example round_0. Default: the champion.")]
Llm = Annotated[
    bool | None,
    typer.Option("--llm/--no-llm", help="Let the LLM answer. Default: where it was shown to help, or RAR_LLM_BASE_URL is set."),
]


def told(command: Callable[P, int | None]) -> Callable[P, None]:
    """A command whose mistakes of a user end in one line and status 2; Ctrl-C in status 130."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = command(*args, **kwargs)
        except RarError as error:
            typer.echo(f"error: {error}", err=True)
            status = 2
        except KeyboardInterrupt:
            status = 130
        if status:
            raise typer.Exit(status)

    return run


def settings() -> Settings:
    """The settings of the environment, with what the command line said of it."""
    from rar_pipeline.settings import load_settings

    return load_settings()


@app.callback()
def world(
    sources: Annotated[
        str | None, typer.Option(help="sample, upstream, or a folder or address with raw files (RAR_SOURCES).")
    ] = None,
    lake: Annotated[Path | None, typer.Option(help="Folder of all tables and models (RAR_LAKE).")] = None,
) -> None:
    """Which world, in which lake: kept in the environment, so that Dagster's processes read the same."""
    for name, value in (("RAR_SOURCES", sources), ("RAR_LAKE", lake)):
        if value is not None:
            os.environ[name] = str(value)


@app.command(rich_help_panel=MAKE)
@told
def run(
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Only this data set; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print Dagster's commands and stop.")] = False,
) -> int:
    """Make everything: corpus, conversations, retrievers, preference rounds, evaluation. Goes on where it stopped."""
    from rar_pipeline.run import main

    return main([*(part for name in dataset or () for part in ("--dataset", name)), *(["--dry-run"] if dry_run else [])])


@app.command(rich_help_panel=MAKE)
@told
def dev(port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000) -> int:
    """Dagster's UI and daemon on loopback: the same as dagster dev -m rar_pipeline.definitions."""
    settings()  # a wrong setting is told in one line
    os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
    command = [sys.executable, "-m", "dagster", "dev", "-m", "rar_pipeline.definitions", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command).returncode  # noqa: S603 - our own words and a number


@app.command(
    rich_help_panel=MAKE, add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
@told
def evaluate(context: typer.Context) -> int:
    """The champion on held-out test files that were never in the lake (rar evaluate --help)."""
    from rar_pipeline.evaluate import main

    return main(context.args)


@app.command(rich_help_panel=LOOK)
@told
def status() -> None:
    """What the lake holds: tables with rows and age, versions, champions."""
    from rar_pipeline.service.overview import show_status

    show_status(settings())


@app.command(rich_help_panel=LOOK)
@told
def versions(dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only this data set.")] = None) -> None:
    """Every trained version with its parent and validation figures; the champion is marked."""
    from rar_pipeline.service.overview import show_versions

    show_versions(settings(), dataset)


@app.command(rich_help_panel=LOOK)
@told
def compare(
    challenger: Annotated[str, typer.Argument(help="A system, for example round_1 or round_1+llm.")],
    other: Annotated[str, typer.Argument(help="The system that it is compared with.")],
    dataset: Dataset = "redial",
) -> None:
    """Two systems on the same validation cases: difference of N@10 with its 95 % interval, as the gate of the champion sees it."""
    from rar_pipeline.service.overview import show_comparison

    show_comparison(settings(), dataset, challenger, other)


@app.command(rich_help_panel=TALK)
@told
def chat(dataset: Dataset = "redial", version: Version = None, llm: Llm = None) -> None:
    """Talk to the champion in the terminal, or pipe what you say into it, a message a line."""
    from rar_pipeline.service.terminal import chat as talk

    talk(settings(), dataset, version, llm)


@app.command(rich_help_panel=TALK)
@told
def serve(
    dataset: Dataset = "redial",
    version: Version = None,
    llm: Llm = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: loopback.")] = None,
    port: Annotated[int | None, typer.Option(help="Port. Default: 8000.")] = None,
    keep: Annotated[
        bool | None, typer.Option("--keep/--no-keep", help="Keep conversations in which somebody rates a movie.")
    ] = None,
) -> None:
    """The chat page and its API, on loopback: a browser, a keyboard or a screen reader is all it needs."""
    from rar_pipeline.service.serve import serve as start

    now = settings()
    start(
        now,
        dataset,
        version,
        host=host or now.serve_host,
        port=now.serve_port if port is None else port,
        llm=llm,
        keep=now.chat_keep if keep is None else keep,
        say=lambda line: typer.echo(line, err=True),
    )


@app.command(rich_help_panel=TALK)
@told
def gather() -> None:
    """Make the tables of the data set chat out of the conversations that people rated, for the next training."""
    from rar_pipeline.service.lake import gather_feedback

    typer.echo(gather_feedback(settings()))


def main() -> None:
    """The entry of `rar` and of `python -m rar_pipeline.cli`."""
    app(prog_name="rar")


if __name__ == "__main__":
    main()
