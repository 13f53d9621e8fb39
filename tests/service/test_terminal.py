"""`rar chat` through a pipe: what is typed, linked, asked back, recommended, rated, kept."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from rar_pipeline.service.lake import kept_in
from rar_pipeline.tables import CASES, CHAT

from .conftest import Films

PROJECT = Path(__file__).resolve().parents[2]
SAID = """\
I loved Heat (1995) and Casablanca. [red]Something clever[/red], please
/like 1
/dislike 2
/like 99
/why 1
I also loved Vertgio
/meant 1
/quit
this is not read any more
"""


def rar(films: Films, *arguments: str, said: str = "") -> str:
    command = [sys.executable, "-m", "rar_pipeline.cli", *arguments]
    done = subprocess.run(command, cwd=PROJECT, input=said, capture_output=True, text=True, env=films.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_conversation_in_the_terminal_ends_in_cases_that_can_be_learnt_from(films: Films) -> None:
    lines = rar(films, "chat", said=SAID).splitlines()
    assert lines[0].startswith("round_0 of redial, ")
    assert lines[1] == "linked: Heat (1995), Casablanca (1942)"
    first, second = (line.split(None, 1)[1] for line in lines[2:4])
    liked = next(line for line in lines if line.startswith("liked: ")).removeprefix("liked: ")
    disliked = next(line for line in lines if line.startswith("disliked: ")).removeprefix("disliked: ")
    assert first.startswith(liked)
    assert second.startswith(disliked)
    assert "which one? 1 to 10" in lines
    assert any(line.startswith(f"{liked}: ") for line in lines)
    assert any(line.startswith("“Vertgio”: did you mean 1 Vertigo (1958)") for line in lines)
    assert "linked: Vertigo (1958)" in lines
    after = lines[lines.index("linked: Vertigo (1958)") :]
    listed = [line.split(None, 1)[1] for line in after if line.split()[0].isdecimal()]
    assert len(listed) == 10
    assert not any(line.startswith((liked, disliked)) for line in listed)
    assert not any("not read" in line for line in lines)

    told = rar(films, "gather")
    assert told.startswith("1 conversations, ")
    cases = pl.read_parquet(films.settings.root / "conversations" / "cases" / f"dataset={CHAT}" / "data.parquet")
    (case,) = CASES.conform(cases).filter(pl.col("origin") == "dialogue").rows(named=True)
    assert len(case["targets"]) == 2
    assert len(case["disliked"]) == 1
    assert len(list((kept_in(films.settings) / "chat_dialogues").iterdir())) == 1
    shown = rar(films, "status")
    assert "1 rated conversations of the chat" in shown
    assert "champion of redial: round_0 in its own order" in shown
