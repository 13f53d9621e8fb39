"""What the docs tell people to type exists and is taken: targets, modules, subcommands, options, assets, settings; and every link leads somewhere.

The work itself is not run: each command's arguments are given to the very parser that would read them.
"""

import argparse
import ast
import contextlib
import functools
import importlib
import importlib.metadata
import io
import re
import shlex
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import dagster as dg
import pytest
import yaml

from rar_pipeline.definitions import build_defs
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS

PROJECT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("benchmarks/*.md"), *PROJECT.glob("examples/*/*.md")]
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")  # a command may go on in the next line
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"\bRAR_[A-Z0-9_]*[A-Z0-9]\b")
ASSIGNED = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
INSIDE = re.compile(r"(?:rar_pipeline|tests|sql|docs|benchmarks|examples|scripts)/(?:\w[\w./-]*)?")

NO_SETTINGS = {"RAR_X": "stands for any", "RAR_TEST_MIRROR": "read by the tests alone"}
OURS = {"make", "python", "python3", "pytest", "rar", "dagster"}
OUTSIDE = {"find", "duckdb", "sqlite3", "vllm", "git", "cp", "juicefs", "redis-server"}  # of other people: not checked
SCRIPTS = {point.name for point in importlib.metadata.entry_points(group="console_scripts")}


class Command(NamedTuple):
    """A command as a page has it: variables set before it, program, arguments."""

    text: str
    variables: dict[str, str]
    program: str
    arguments: list[str]

    @property
    def is_pattern(self) -> bool:
        """Whether something has to be filled in before it can be typed."""
        return any(mark in self.text for mark in ("...", "<", ">", "|", "[", "FOLDER", "FILE", " N", "VALUE"))


def parsed(text: str) -> Command | None:
    """The command that a line holds; None where it is none."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return None
    if words[:1] == ["export"]:
        return Command(text, dict(word.split("=", 1) for word in words[1:]), "export", [])
    variables: dict[str, str] = {}
    while words and (found := ASSIGNED.fullmatch(words[0])) and len(words) > 1:
        variables[found[1]] = found[2]
        words = words[1:]
    return Command(text, variables, words[0].removeprefix(".venv/bin/"), words[1:]) if words else None


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block."""
    yield from FENCED.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[Command]:
    """All commands of a page's blocks and of its running text."""
    found: list[Command | None] = []
    for language, body in blocks(page):
        if language not in ("", "sh", "bash", "console"):
            continue
        lines = re.sub(r"\\\n\s*|\n\s+(?=[\[-])", " ", body).splitlines()
        here = [parsed(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if language or any(
            command and command.program in OURS | OUTSIDE | SCRIPTS | {"export"} for command in here
        ):  # else a listing
            found += here
            assert all(here), f"{page.name}: a line that no shell can read in\n{body}"
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    said = (parsed(text) for text in INLINE.findall(prose) if " " in text)
    found += [command for command in said if command and command.program in OURS]
    return [command for command in found if command]


@functools.cache
def makefile() -> tuple[set[str], set[str]]:
    """Targets and variables of the Makefile."""
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    return targets, set(re.findall(r"\$\(([A-Z]+)\)", text)) | set(re.findall(r"^ifdef ([A-Z]+)", text, re.MULTILINE))


class Reached(Exception):  # noqa: N818 - no error: the parser of a command
    pass


@functools.cache
def parser_of(module: str) -> argparse.ArgumentParser | None:
    """The parser of `python -m module`, taken from its `main` before any work; None where it takes no options."""
    loaded = importlib.import_module(module)
    if not hasattr(loaded, "main"):
        return None

    def reach(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Reached(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", reach):
        try:
            loaded.main([])
        except Reached as reached:
            return reached.args[0]
    raise AssertionError(f"{module}: main does something before it reads its arguments")


def check_module(command: Command, module: str, arguments: list[str]) -> None:
    if module == "rar_pipeline.cli":
        return check_rar(command, arguments)
    parser = parser_of(module)
    if parser is None:
        assert not arguments or arguments[0] == ">", f"{module} takes no options"
        return None
    known = parser._option_string_actions
    options = [word.strip("[]").split("=")[0] for word in arguments if re.match(r"\[?--?[a-z]", word)]
    assert set(options) <= set(known), f"{module} has no {set(options) - set(known)}"
    if not command.is_pattern and not set(options) & {"-h", "--help"}:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                parser.parse_args(arguments)
            except SystemExit:
                raise AssertionError(said.getvalue().splitlines()[-1]) from None
    return None


def check_clicked(group: object, arguments: list[str], name: str) -> None:
    """Reads arguments as a group of click commands would, and runs none."""
    options = [word for word in arguments if word.startswith("-") and word not in ("-h", "--help")]
    if not options:  # a command is named, or its help
        for word in arguments:
            if not word.startswith("-") and hasattr(group, "commands"):
                group = group.commands[word]
        return
    context = group.make_context(name, list(arguments), resilient_parsing=False)  # type: ignore[attr-defined]
    while hasattr(context.command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        assert rest, f"{context.command_path}: a subcommand is missing"
        found, child, rest = context.command.resolve_command(context, rest)
        context = child.make_context(found, rest, parent=context)


def check_rar(command: Command, arguments: list[str]) -> None:
    import typer.main

    from rar_pipeline.cli import app

    if "evaluate" in arguments and "--help" not in arguments:
        return check_module(command, "rar_pipeline.evaluate", arguments[arguments.index("evaluate") + 1 :])
    return check_clicked(typer.main.get_command(app), arguments, "rar")


def check_dagster(arguments: list[str]) -> None:
    from dagster._cli import create_dagster_cli

    check_clicked(create_dagster_cli(), arguments, "dagster")
    if "-m" in arguments:
        assert arguments[arguments.index("-m") + 1] == "rar_pipeline.definitions"
    if "--select" in arguments:
        partition = arguments[arguments.index("--partition") + 1] if "--partition" in arguments else None
        check_selection(arguments[arguments.index("--select") + 1], partition)
    for option in {"-j", "--job"} & set(arguments):
        assert definitions().resolve_job_def(arguments[arguments.index(option) + 1])


@functools.cache
def definitions() -> dg.Definitions:
    return build_defs(settings=Settings(_env_file=None))


def check_selection(selection: str, partition: str | None) -> None:
    graph = definitions().resolve_asset_graph()
    keys = dg.AssetSelection.from_coercible(selection.split(",")).resolve(graph)
    assert keys, f"{selection!r} selects nothing"
    parted = {key for key in keys if graph.get(key).partitions_def}
    assert bool(parted) == bool(partition), f"{selection!r}: {'no partition is named' if parted else 'nothing has partitions'}"
    assert partition is None or partition in DATASETS or partition.startswith("<"), f"no data set {partition!r}"


def check(command: Command) -> None:
    """Raises where a command names what is not there."""
    arguments = command.arguments
    if command.program == "make":
        targets, variables = makefile()
        named = [word for word in arguments if "=" not in word]
        assert set(named) <= targets, f"no target {set(named) - targets}"
        given = {word.split("=")[0].strip("[") for word in arguments if "=" in word}
        assert given <= variables, f"the Makefile knows no {given - variables}"
    elif command.program in ("python", "python3") and arguments[:1] == ["-m"]:
        check_module(command, arguments[1], arguments[2:])
    elif command.program in ("python", "python3"):
        assert (PROJECT / arguments[0]).is_file() or arguments[0].startswith("-"), f"no file {arguments[0]}"
    elif command.program == "pytest":
        missing = [word for word in arguments if word.startswith("tests") and not (PROJECT / word).exists()]
        assert not missing, f"no file {missing}"
    elif command.program == "rar":
        check_rar(command, arguments)
    elif command.program == "dagster":
        check_dagster(arguments)
    elif command.program != "export":
        assert command.program in OUTSIDE | SCRIPTS, (
            f"{command.program}: neither installed with the project nor known to this test"
        )


@every_page
def test_every_command_of_a_page_exists_and_takes_its_arguments(page: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            check(command)
        except Exception as error:
            wrong.append(f"{command.text}\n    {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


@every_page
def test_every_setting_of_a_page_exists_and_takes_the_value_given(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {f"RAR_{name.upper()}" for name in Settings.model_fields}
    named = set(SETTING.findall(page.read_text(encoding="utf-8"))) - set(NO_SETTINGS)
    beginnings = {name for name in named - fields if any(field.startswith(f"{name}_") for field in fields)}  # RAR_EXPERIMENT_...
    assert named <= fields | beginnings, f"no setting {sorted(named - fields)}"
    given = [command.variables for command in commands(page)]
    given += [
        dict([text.split("=", 1)])
        for text in INLINE.findall(page.read_text(encoding="utf-8"))
        if re.match(r"RAR_[A-Z_]+=\S+$", text)
    ]
    monkeypatch.chdir(page.parent)  # where no .env lies
    for variables in given:
        for name, value in variables.items():
            if name.startswith("RAR_") and not set(value) & set("<>|$") and "..." not in value:
                monkeypatch.setenv(name, value.strip("'"))
                Settings()
                monkeypatch.delenv(name)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    found: Counter[str] = Counter()
    names = set()
    for head in heads:
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head)).lower().replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@every_page
def test_every_link_and_every_path_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = []
    for target in LINK.findall(FENCED.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    wrong += [path for path in INLINE.findall(FENCED.sub("", text)) if INSIDE.fullmatch(path) and not (PROJECT / path).exists()]
    assert not wrong, f"nothing at {wrong}"


@every_page
def test_python_of_a_page_compiles_and_imports_what_is_there(page: Path) -> None:
    for language, body in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rar_pipeline"):
                module = importlib.import_module(node.module)
                assert all(
                    hasattr(module, name.name) or importlib.import_module(f"{node.module}.{name.name}") for name in node.names
                )


@every_page
def test_yaml_of_a_page_is_a_part_of_dagsters_own_configuration(page: Path) -> None:
    from dagster._config import validate_config
    from dagster._core.instance.config import dagster_instance_config_schema

    for language, body in blocks(page):
        if language == "yaml":
            checked = validate_config(dagster_instance_config_schema(), yaml.safe_load(body))
            assert checked.success, [error.message for error in checked.errors or ()]


def test_queries_of_the_llms_page_fit_the_file_of_answers(tmp_path: Path) -> None:
    from rar_pipeline.generation.cache import AnswerCache

    path = tmp_path / "answers.sqlite"
    with AnswerCache(path) as cache:
        cache.get("made")
    page = PROJECT / "docs" / "llm.md"
    queries = [command.arguments[-1] for command in commands(page) if command.program == "sqlite3"]
    assert len(queries) >= 3
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for query in queries:
            connection.execute(query).fetchall()


def test_pages_that_the_code_names_are_there() -> None:
    files = [
        path
        for folder in ("rar_pipeline", "benchmarks", "sql")
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in (".py", ".sql", ".html")
    ]
    named = {(page, path.name) for path in files for page in re.findall(r"\bdocs/[\w-]+\.md", path.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert not {(page, by) for page, by in named if not (PROJECT / page).is_file()}


def test_every_page_is_in_the_index() -> None:
    index = PROJECT / "docs" / "README.md"
    linked = {target.split("#")[0] for target in LINK.findall(index.read_text(encoding="utf-8"))}
    assert {page.name for page in PROJECT.glob("docs/*.md")} - {index.name} <= linked


def test_every_setting_says_what_it_is_and_no_two_pages_have_a_table_of_it() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    rows: dict[str, set[str]] = {}
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if re.match(r"\| *`RAR_", line):
                for name in SETTING.findall(line.split("|")[1]):
                    rows.setdefault(name, set()).add(page.name)
    assert rows
    assert {name: pages for name, pages in rows.items() if len(pages) > 1} == {}


def test_this_test_would_notice() -> None:
    """Each kind of mistake, once."""
    for text in (
        "make nothing",
        "make run SUORCES=x",
        "python -m rar_pipeline.run --no-such-option",
        "python -m rar_pipeline.evaluate --dataset music --test x",
        "python -m rar_pipeline.nothing",
        "rar sing",
        "rar chat --tenor",
        "dagster asset materialise -m rar_pipeline.definitions",
        "dagster asset materialize -m rar_pipeline.definitions --select moovies",
        "dagster asset materialize -m rar_pipeline.definitions --select champion",
        "dagster asset materialize -m rar_pipeline.definitions --select movies --partition redial",
        "pytest tests/test_nothing.py",
        "frobnicate --all",
    ):
        command = parsed(text)
        assert command
        with pytest.raises(Exception):  # noqa: B017 - click, dagster and argparse each have their own
            check(command)
    assert "rar_pipeline.cli" in sys.modules
