"""`python -m benchmarks.llm_client_grounding`: how fast written titles are matched to the corpus, and how many of the embedded model's are.

Titles are drawn from the lake's movies: as they stand, with two letters swapped, without the year, and made of two titles (no such movie). With
`--generate N` the embedded model answers N validation cases of ReDial with round 0's candidates in the prompt, in mode generate.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.report import Row, command_line, show
from rar_pipeline.corpus.link import Linker
from rar_pipeline.errors import RarError
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, MOVIES, TITLES

Written = list[tuple[str, int | None]]


def forms(movies: pl.DataFrame, count: int, seed: int = 0) -> dict[str, Written]:
    """Titles as LLMs may write them, by form."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    found = (
        movies.filter(pl.col("year").is_not_null()).sort("movie_id").sample(min(count, len(movies) // 2), seed=seed, shuffle=True)
    )
    exact: Written = list(found.select("title", "year").iter_rows())

    def slipped(title: str) -> str:
        at = draw.randrange(max(len(title) - 1, 1))
        return title[:at] + title[at : at + 2][::-1] + title[at + 2 :]

    return {
        "as it stands": exact,
        "two letters swapped": [(slipped(title), year) for title, year in exact],
        "without the year": [(title, None) for title, _ in exact],
        "no such movie": [
            (f"{title} {other}", year) for (title, year), (other, _) in zip(exact, exact[1:] + exact[:1], strict=True)
        ],
    }


def speed(linker: Linker, written: dict[str, Written], runs: int) -> list[Row]:
    """Microseconds a title, by form."""
    rows = []
    for form, titles in written.items():
        taken = []
        for _ in range(runs):
            start = time.process_time()
            matched = sum(linker.ground(*title).movie_id is not None for title in titles)
            taken.append((time.process_time() - start) / len(titles) * 1e6)
        work = f"{len(titles)} titles, {matched} matched; processor time, the making of the linker left out"
        rows.append(Row.of(form, median(taken), None, 0.0, runs, unit="us a title", goal="-", against="nothing", work=work))
    return rows


def generated(lake: Lake, linker: Linker, settings: Settings, count: int) -> str:
    """What became of the titles that the embedded model wrote, in words."""
    from rar_pipeline.defs.retriever import encoder, read_catalogue
    from rar_pipeline.generation.candidates import candidates_of
    from rar_pipeline.generation.embedded import EmbeddedServer
    from rar_pipeline.generation.questions import LanguageModelHandle, Question
    from rar_pipeline.generation.rank import rank_all
    from rar_pipeline.retriever.examples import build_queries
    from rar_pipeline.retriever.search import build_index, search
    from rar_pipeline.retriever.version import load

    cases = lake.read(CASES, "redial").filter((pl.col("split") == "validation") & (pl.col("origin") == "dialogue"))
    cases = cases.sort("case_id").sample(count, seed=0)
    catalogue, movies = read_catalogue(lake), lake.read(MOVIES)
    retriever, version = load(lake.folder("retriever", "round_0", "redial"))
    window = {"turns": settings.context_turns, "max_history": settings.max_history}
    queries = build_queries(cases, catalogue, encoder(settings, lambda _: None), **window)
    rows, _ = search(build_index(retriever, catalogue, version.known), queries, settings.candidates)
    questions = []
    for case, found in zip(cases.iter_rows(named=True), rows, strict=True):
        movie_ids = [catalogue.movie_ids[row] for row in found]
        known = candidates_of(movies, movie_ids)
        shown = tuple(known[movie_id] for movie_id in movie_ids)
        questions.append(Question(case["case_id"], case["context"], shown, tuple(case["history"])))
    with EmbeddedServer(store=settings.lake / "models") as server:
        model = LanguageModelHandle(
            server.base_url, server.model, "generate", key_from_environment=False, concurrency=1, timeout=900
        )
        answers = rank_all(questions, model, linker.ground)
    titles = [title for answer in answers for title in answer.titles]
    fates, reasons = Counter(title.fate for title in titles), Counter(title.reason for title in titles)
    statuses = Counter(answer.status for answer in answers)
    return f"{len(answers)} answers {dict(statuses)}, {len(titles)} titles {dict(fates)}; reasons {dict(reasons.most_common())}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("How fast written titles are matched to the corpus, and what becomes of the embedded model's.")
    parser.add_argument("--lake", type=Path, default=Path("lake/mirror"), help="a world's tables")
    parser.add_argument("--titles", type=int, default=5000, help="titles of each form")
    parser.add_argument("--generate", type=int, default=0, help="cases that the embedded model answers")
    options = parser.parse_args(arguments)
    lake = Lake(root=str(options.lake))
    try:
        linker = Linker(lake.read(TITLES))
        show(speed(linker, forms(lake.read(MOVIES), options.titles), options.runs), as_json=options.json)
        if options.generate:
            print(generated(lake, linker, Settings(), options.generate))
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
