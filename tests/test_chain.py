"""The whole chain in process on a cut-down sample world, with the embedded LLM: what it leaves, twice, and what bad input gets."""

import gzip
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from benchmarks import retriever_quality
from rar_pipeline.definitions import build_defs
from rar_pipeline.errors import RarError
from rar_pipeline.evaluate import evaluate
from rar_pipeline.files import content_hash, sha256_of
from rar_pipeline.metadata import escaped
from rar_pipeline.resources import Lake
from rar_pipeline.retriever.version import read_record
from rar_pipeline.settings import Settings
from rar_pipeline.tables import (
    CASES,
    CONFLICTS,
    DIALOGUES,
    FEEDBACK,
    ITEM_EMBEDDINGS,
    JUDGE_CHECK,
    LEADERBOARD,
    MENTIONS,
    METRICS,
    MOVIES,
    PREFERENCES,
    RAW_FILES,
    RECOMMENDATIONS,
    SOURCE_MOVIES,
    TITLES,
    Table,
)

from .judge_endpoint import Judge, served
from .small_world import free_port, materialise, small_encoder, small_settings, small_world

DATASET = "redial"
KEPT: tuple[tuple[Table, str | None, str | None, str], ...] = (
    (RAW_FILES, "imdb", None, "raw/imdb"),
    (RAW_FILES, DATASET, None, "raw/redial"),
    (SOURCE_MOVIES, "imdb", None, "source_movies/imdb"),
    (MOVIES, None, None, "movies"),
    (CONFLICTS, None, None, "conflicts"),
    (TITLES, None, None, "title_index"),
    (ITEM_EMBEDDINGS, None, None, "item_embeddings"),
    (DIALOGUES, DATASET, None, "dialogues"),
    (MENTIONS, DATASET, None, "mentions"),
    (CASES, DATASET, None, "cases"),
    (JUDGE_CHECK, DATASET, None, "judge_check"),
    (FEEDBACK, DATASET, "round_1_feedback", "round_1/feedback"),
    (PREFERENCES, DATASET, "round_1_preferences", "round_1/preferences"),
    (RECOMMENDATIONS, DATASET, None, "recommendations"),
    (METRICS, DATASET, None, "metrics"),
    (LEADERBOARD, None, None, "leaderboard"),
)


@dataclass(frozen=True)
class Run:
    """One run of the chain, and the lake's files and the number of the LLM's answers after it."""

    result: dg.ExecuteInProcessResult
    seconds: float
    files: dict[str, str]  # path in the world's folder -> SHA-256
    answers: int

    def metadata(self, key: str) -> dict[str, object]:
        (event,) = self.result.asset_materializations_for_node(key.replace("/", "__"))
        return {name: value.value for name, value in event.metadata.items()}


@dataclass(frozen=True)
class Chain:
    """Two runs over the same sources and the same lake."""

    settings: Settings
    lake: Lake
    first: Run
    second: Run


def run_everything(settings: Settings) -> Run:
    started = time.perf_counter()
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(settings=settings).resolve_job_def("everything")
        result = job.execute_in_process(instance=instance, partition_key=DATASET)
    seconds = time.perf_counter() - started
    files = {
        str(path.relative_to(settings.root)): sha256_of(path)
        for path in sorted(settings.root.rglob("*"))
        if path.suffix in (".parquet", ".safetensors")
    }
    with closing(sqlite3.connect(settings.lake / "answers" / "answers.sqlite")) as kept:
        (answers,) = kept.execute("select count(*) from answers").fetchone()
    return Run(result, seconds, files, answers)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files of the cut-down sample world; not to be changed."""
    return small_world(tmp_path_factory.mktemp("sources") / "world")


@pytest.fixture(scope="module")
def chain(world: Path, tmp_path_factory: pytest.TempPathFactory, models: Path) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    lake = folder / "lake"
    lake.mkdir()
    (lake / "models").symlink_to(models)
    settings = small_settings(world, lake, encoder=str(small_encoder(folder / "encoder")))
    first = run_everything(settings)
    second = run_everything(settings)
    print(f"chain: {first.seconds:.0f} s, again {second.seconds:.0f} s")
    return Chain(settings, Lake(root=str(settings.root)), first, second)


@pytest.mark.parametrize(("table", "part", "name", "key"), KEPT, ids=[key for *_, key in KEPT])
def test_every_table_is_in_the_lake_conforms_and_is_described(
    chain: Chain, table: Table, part: str | None, name: str | None, key: str
) -> None:
    frame = chain.lake.read(table, part, name)  # conforms, or raises
    if not len(frame):  # so small a world may hold no contradiction, and no validation case whose target is proposed
        assert table in (CONFLICTS, JUDGE_CHECK)
        return
    shown = chain.first.metadata(key)
    rows = shown["dagster/partition_row_count" if part else "dagster/row_count"]
    assert rows == len(frame)
    assert [column.name for column in shown["dagster/column_schema"].columns] == list(table.schema)
    assert str(shown["preview"]).startswith("| " + " | ".join(escaped(column) for column in table.schema))
    assert shown["content_hash"] == content_hash(frame)


def test_every_check_of_every_table_holds_and_every_asset_was_made(chain: Chain) -> None:
    for run in (chain.first, chain.second):
        assert run.result.success
        evaluations = run.result.get_asset_check_evaluations()
        assert len(evaluations) >= 15
        assert all(evaluation.passed for evaluation in evaluations if evaluation.severity is dg.AssetCheckSeverity.ERROR)
        made = {event.asset_key for event in run.result.get_asset_materialization_events()}
        specs = build_defs(settings=chain.settings).resolve_all_asset_specs()
        assert made == {spec.key for spec in specs if spec.group_name != "experiments"}


def test_no_list_holds_a_movie_that_the_conversation_named_before(chain: Chain) -> None:
    history = chain.lake.read(CASES, DATASET).select("case_id", "history")
    lists = chain.lake.read(RECOMMENDATIONS, DATASET).join(history, on="case_id")
    assert lists["history"].list.len().sum() > 0
    assert lists.select(pl.col("ranking").list.set_intersection("history").list.len().sum()).item() == 0


def test_every_system_answers_the_same_cases_and_the_llm_those_that_the_settings_pay_for(chain: Chain) -> None:
    cases = chain.lake.read(CASES, DATASET).filter(pl.col("split") != "train")
    lists = chain.lake.read(RECOMMENDATIONS, DATASET)
    for split, asked in cases.group_by("split"):
        found = lists.filter(pl.col("split") == split[0])
        sizes = dict(found.group_by("system").len().iter_rows())
        further = [f"round_1_{objective}" for objective in chain.settings.further_objectives]
        retrievers = ("round_0", "round_1", *further)
        assert {system: count for system, count in sizes.items() if "+llm" not in system} == dict.fromkeys(
            ("popularity", "bm25", "dense", "ease", *retrievers), len(asked)
        )
        assert {system.split("+llm")[0] for system in sizes if "+llm" in system} == set(retrievers)
        assert {count for system, count in sizes.items() if "+llm" in system} == {chain.settings.judged_cases}


def test_the_judge_ranked_what_the_retriever_proposed_and_preferences_follow_its_rewards(chain: Chain) -> None:
    feedback = chain.lake.read(FEEDBACK, DATASET, "round_1_feedback")
    assert feedback["case_id"].n_unique() == chain.settings.feedback_contexts
    answered = feedback.filter(pl.col("status") == "answered")
    assert len(answered) > 0
    assert answered.select((pl.col("ranking").list.sort() == pl.col("candidates").list.sort()).all()).item()
    assert set(answered["mode"]) == {"likelihood"}
    pairs = chain.lake.read(PREFERENCES, DATASET, "round_1_preferences")
    assert (pairs["winner_reward"] > pairs["loser_reward"]).all()
    train = chain.lake.read(CASES, DATASET).filter(pl.col("split") == "train")
    assert set(feedback["case_id"]) <= set(train["case_id"])


class Page(HTMLParser):
    """Tags that are open, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "img", "input", "hr", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_report_is_a_whole_page_and_says_the_same_as_its_json(chain: Chain) -> None:
    folder = chain.lake.folder("evaluation", "report")
    page = Page()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    told = " ".join(page.text)
    assert all(word in told for word in ("ReDial", "popularity", "round_1+llm"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["results"] == json.loads(json.dumps(chain.lake.read(LEADERBOARD).to_dicts()))
    assert report["run"] == {"world": "world", "preset": "small", "seed": 0}
    assert Path(str(chain.first.metadata("report")["path"])) == folder / "report.html"


def test_the_champion_is_a_version_of_the_lake(chain: Chain) -> None:
    champion = json.loads((chain.lake.folder("evaluation", "champion", DATASET) / "champion.json").read_text())
    weights = chain.lake.folder("retriever", champion["version"], DATASET) / "retriever.safetensors"
    assert champion["weights_sha256"] == sha256_of(weights)


def test_the_champion_meets_test_files_outside_the_lake_as_it_met_them_inside_and_the_lake_stays_as_it_is(
    chain: Chain, world: Path, tmp_path: Path
) -> None:
    before = {path: sha256_of(path) for path in chain.settings.root.rglob("*.parquet")}
    pages = []
    for name in ("first", "second"):
        report, folder = evaluate(chain.settings, DATASET, world / DATASET, out=tmp_path / name)
        pages.append([(folder / file).read_bytes() for file in ("report.json", "report.html")])
    assert pages[0] == pages[1]
    assert before == {path: sha256_of(path) for path in chain.settings.root.rglob("*.parquet")}

    found = {(row["system"], row["metric"]): (row["value"], row["cases"]) for row in report["results"]}
    served = json.loads((chain.lake.folder("evaluation", "champion", DATASET) / "champion.json").read_text())["version"]
    board = chain.lake.read(LEADERBOARD).filter(split="test", protocol="fresh_turns", scope="all", metric="R@10")
    expected = {row["system"]: (row["value"], row["cases"]) for row in board.iter_rows(named=True)}
    assert found["ease", "R@10"] == pytest.approx(expected["ease"])
    assert found["champion", "R@10"] == pytest.approx(expected[served])
    assert not report["warnings"]

    judged, _ = evaluate(chain.settings, DATASET, world / DATASET, llm=True, judged=2, out=tmp_path / "judged")
    sizes = {(row["scope"], row["system"]): row["cases"] for row in judged["results"]}
    assert sizes["all", "champion+llm"] == sizes["judged", "ease"] == 2 < sizes["all", "ease"]

    taught = tmp_path / "taught"
    taught.mkdir()
    shutil.copy(world / DATASET / "train_data.jsonl.gz", taught / "test_data.jsonl.gz")
    with pytest.raises(RarError, match="nothing is held out"):
        evaluate(chain.settings, DATASET, taught, out=tmp_path / "third")


def test_the_database_shows_the_lakes_tables_each_with_its_meaning(chain: Chain) -> None:
    with closing(duckdb.connect(str(chain.settings.root / "rar.duckdb"), read_only=True)) as con:
        views = dict(con.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
        assert {"movies", "title_index", "mentions", "cases", "recommendations", "metrics", "leaderboard"} <= set(views)
        assert all(views.values())
        assert not con.sql(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        ).fetchall()
        for table in (MOVIES, LEADERBOARD):
            rows = con.sql(f"SELECT count(*) FROM {table.name}").fetchall()[0][0]
            assert rows == len(chain.lake.read(table))
        assert con.sql("SELECT DISTINCT dataset FROM cases").fetchall() == [(DATASET,)]


def test_a_second_run_trains_nothing_embeds_nothing_asks_nothing_and_leaves_the_same_bytes(chain: Chain) -> None:
    versions = ("round_0/retriever", "round_1/retriever")
    assert [chain.first.metadata(key)["trained_now"] for key in versions] == [True, True]
    assert [chain.second.metadata(key)["trained_now"] for key in versions] == [False, False]
    assert chain.first.metadata("item_embeddings")["embedded_when_made"] == len(chain.lake.read(MOVIES))
    for key in ("source_movies/imdb", "movies", "title_index", "item_embeddings", "dialogues", "mentions", "cases"):
        assert [run.metadata(key)["made_now"] for run in (chain.first, chain.second)] == [True, False]
    assert chain.second.answers == chain.first.answers > 0
    assert chain.second.files == chain.first.files


def test_nothing_half_written_is_left(chain: Chain) -> None:
    assert [path for path in chain.settings.lake.rglob(".*") if path.suffix in (".part", ".old")] == []


# bad input


def test_the_retriever_is_held_against_what_needs_no_network(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("encoder", "hidden", "epochs", "pretraining_epochs"):
        monkeypatch.setenv(f"RAR_{name}".upper(), str(getattr(chain.settings, name)))
    lake = ["--lake", str(chain.lake.root), "--dataset", DATASET]
    assert retriever_quality.main([*lake, "--split", "test", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    found = {row["system"]: row["value"] for row in rows if (row["protocol"], row["metric"]) == ("fresh_turns", "R@10")}
    assert set(found) == {"popularity", "ease", "linear blend", "round_0"}
    shown = chain.lake.read(METRICS, DATASET).filter(
        (pl.col("split") == "test") & (pl.col("protocol") == "fresh_turns") & (pl.col("metric") == "R@10")
    )
    for system in ("popularity", "ease", "round_0"):
        of = shown.filter(pl.col("system") == system)
        assert found[system] == pytest.approx(of["value"].sum() / of["weight"].sum()), "as the pipeline's own evaluation"
    assert retriever_quality.main([*lake, "--only", "--set", "use_turns=false", "--set", "neighbours=0"]) == 0
    assert "round_0 use_turns=false neighbours=0" in capsys.readouterr().out


@pytest.fixture
def mirror_to_break(world: Path, tmp_path: Path) -> Path:
    """A copy of the world by links: replace a file, never write into it."""
    return Path(shutil.copytree(world, tmp_path / "mirror", copy_function=os.link))


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """(step, what a person is told) of the only step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(event.step_key), str(data.user_failure_data.description)


def parquet(settings: Settings) -> set[str]:
    assert not list(settings.lake.rglob("*.part"))
    return {str(path.parent.relative_to(settings.root)) for path in settings.root.rglob("*.parquet")}


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def wrong_record(content: bytes) -> bytes:
    lines = gzip.decompress(content).splitlines()
    record = json.loads(lines[4]) | {"messages": 3}
    return gzip.compress(b"\n".join([*lines[:4], json.dumps(record).encode(), *lines[5:]]))


CONVERSATIONS = ("raw/redial", "raw/inspired", "raw/reddit", "dialogues")
FOUND = {f"sources/raw_files/dataset={name}" for name in ("redial", "inspired", "reddit")}


@pytest.mark.parametrize(
    ("file", "damage", "keys", "step", "says", "written"),
    [
        (
            "imdb/title.basics.tsv.gz",
            None,
            ("raw/imdb", "source_movies/imdb"),
            "raw__imdb",
            ("title.basics.tsv", "missing"),
            set(),
        ),
        (
            "imdb/title.basics.tsv.gz",
            half,
            ("raw/imdb", "source_movies/imdb"),
            "source_movies__imdb",
            ("title.basics.tsv.gz",),
            {"sources/raw_files/dataset=imdb"},
        ),
        ("redial/train_data.jsonl.gz", half, CONVERSATIONS, "dialogues", ("train_data.jsonl.gz: damaged", "fetch"), FOUND),
        ("redial/train_data.jsonl.gz", wrong_record, CONVERSATIONS, "dialogues", ("train_data.jsonl.gz, line 5",), FOUND),
    ],
    ids=["missing", "movies cut off", "dialogues cut off", "wrong type in a row"],
)
def test_a_bad_file_ends_the_step_with_one_line_that_names_it_and_leaves_no_table(
    mirror_to_break: Path,
    tmp_path: Path,
    file: str,
    damage: Callable[[bytes], bytes] | None,
    keys: tuple[str, ...],
    step: str,
    says: tuple[str, ...],
    written: set[str],
) -> None:
    path = mirror_to_break / file
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    settings = small_settings(mirror_to_break, tmp_path / "lake")
    result = materialise(settings, *keys)
    assert not result.success
    failed, said = failure(result)
    assert failed == step
    assert "\n" not in said
    assert all(word in said for word in says), said
    assert parquet(settings) == written


def test_lines_that_are_no_json_are_left_out_and_counted(mirror_to_break: Path, tmp_path: Path) -> None:
    path = mirror_to_break / "redial" / "train_data.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.unlink()
    path.write_bytes(gzip.compress(b"\n".join([*lines, b'{"messages": [', b"[]"])))
    result = materialise(small_settings(mirror_to_break, tmp_path / "lake"), *CONVERSATIONS)
    assert result.success
    (event,) = result.asset_materializations_for_node("dialogues")
    assert event.metadata["dropped/redial/train_data.jsonl: malformed line"].value == 2


def test_a_table_that_breaks_an_expectation_blocks_what_lies_downstream(
    chain: Chain, mirror_to_break: Path, tmp_path: Path
) -> None:
    """Names that nobody knows: no mention can be linked, so no case is made of them."""
    for split in ("train", "test"):
        path = mirror_to_break / "redial" / f"{split}_data.jsonl.gz"
        records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for record in records:
            record["movieMentions"] = {number: f"zzqx {number}" for number in record["movieMentions"] or {}}
        path.unlink()
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    settings = small_settings(mirror_to_break, tmp_path / "lake")
    Lake(root=str(settings.root)).write(TITLES, chain.lake.read(TITLES))
    result = materialise(settings, *CONVERSATIONS, "mentions", "cases")
    assert not result.success
    (broken,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (broken.asset_key, broken.blocking) == (dg.AssetKey("mentions"), True)
    assert "movie_id has a value in at least 50 %" in str(broken.description)
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert {"dialogues", "mentions"} <= made  # the table is there to be looked at
    assert "cases" not in made
    assert not any("cases" in folder for folder in parquet(settings))


def test_an_endpoint_that_does_not_answer_is_named_and_the_feedback_of_before_stays(chain: Chain, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(chain.settings.lake, tmp_path / "lake", symlinks=True))
    nobody = {"llm_base_url": f"http://127.0.0.1:{free_port()}/v1", "llm_model": "absent", "llm_retries": 0, "lake": lake}
    settings = chain.settings.model_copy(update=nobody)
    table = Lake(root=str(settings.root)).file(FEEDBACK, DATASET, "round_1_feedback")
    kept = table.read_bytes()
    result = materialise(settings, "round_1/feedback")
    assert not result.success
    step, said = failure(result)
    assert step == "round_1__feedback"
    assert "\n" not in said
    assert str(nobody["llm_base_url"]) in said
    assert table.read_bytes() == kept


# the judge is known before it is paid

ROUND = ("round_1/feedback", "round_1/preferences", "round_1/retriever")


@pytest.mark.parametrize("knows", [True, False], ids=["a judge that knows", "a judge that guesses"])
def test_feedback_is_collected_of_a_judge_that_beats_the_retriever_and_of_no_other(
    chain: Chain, tmp_path: Path, knows: bool
) -> None:
    lake = Lake(root=str(Path(shutil.copytree(chain.settings.lake, tmp_path / "lake", symlinks=True)) / chain.settings.world))
    changes = {"lake": tmp_path / "lake", "llm_model": "judge", "force_feedback": False, "judge_check_cases": 100}
    changes |= {"candidates": 200, "pool": 250, "watched_cases": 4, "feedback_contexts": 8}
    changes |= {"validation_share": 0.45}  # a few conversations decide nothing
    assert materialise(chain.settings.model_copy(update=changes), "dialogues", "mentions", "cases").success
    judge = Judge(lake.read(CASES, DATASET), lake.read(MOVIES), knows=knows)
    with served(judge) as address:
        settings = chain.settings.model_copy(update=changes | {"llm_base_url": address})
        checked = materialise(settings, "judge_check")
        asked_by_check = len(judge.asked)
        rounds = materialise(settings, *ROUND)
    assert checked.success and rounds.success
    shown = dict(lake.read(JUDGE_CHECK, DATASET)["shown"].value_counts().iter_rows())
    assert asked_by_check == sum(shown.values()) > 0
    (advice,) = [check for check in checked.get_asset_check_evaluations() if check.check_name == "beats_the_retriever"]
    assert (advice.passed, advice.severity) == (knows, dg.AssetCheckSeverity.WARN)
    (told,) = [event.metadata["decision"].value for event in rounds.asset_materializations_for_node("round_1__feedback")]
    feedback = lake.read(FEEDBACK, DATASET, "round_1_feedback")
    weights = [read_record(lake.folder("retriever", name, DATASET)).weights_sha256 for name in ("round_0", "round_1")]
    if knows:
        assert len(judge.asked) > asked_by_check
        assert told.startswith("feedback is collected: the judge's order")
        assert len(feedback) == 2 * settings.feedback_contexts
    else:
        assert len(judge.asked) == asked_by_check, "after the verdict nothing is asked"
        assert told.startswith("collection stopped: the judge's order does not beat the retriever's (N@10 alone")
        assert len(feedback) == len(lake.read(PREFERENCES, DATASET, "round_1_preferences")) == 0
        assert weights[0] == weights[1]
        assert materialise(settings, "report").success
        page = (lake.folder("evaluation", "report") / "report.html").read_text(encoding="utf-8")
        assert "Collection stopped: the judge&#39;s order does not beat" in page


class TwoModels(Judge):
    """Two models at one endpoint: one that knows the targets, and one that guesses."""

    def __init__(self, cases: pl.DataFrame, movies: pl.DataFrame) -> None:
        super().__init__(cases, movies, knows=True)
        self.guesser = Judge(cases, movies, knows=False)

    def ranked(self, body: dict[str, Any]) -> str:
        return super().ranked(body) if body["model"] == "that-knows" else self.guesser.ranked(body)


def test_a_further_model_at_the_endpoint_re_ranks_the_same_candidates_and_is_set_beside_the_first(
    chain: Chain, tmp_path: Path
) -> None:
    lake = Lake(root=str(Path(shutil.copytree(chain.settings.lake, tmp_path / "lake", symlinks=True)) / chain.settings.world))
    changes = {"lake": tmp_path / "lake", "llm_model": "that-guesses", "backbones": ("that-knows",), "candidates": 200}
    changes |= {"judged_cases": 20, "further_objectives": (), "order_cases": 0}
    with served(TwoModels(lake.read(CASES, DATASET), lake.read(MOVIES))) as address:
        settings = chain.settings.model_copy(update=changes | {"llm_base_url": address})
        assert materialise(settings, "recommendations", "metrics", "leaderboard", "report").success
    newest = f"round_{settings.rounds}+llm"
    lists = lake.read(RECOMMENDATIONS, DATASET).filter(pl.col("system").str.starts_with(newest))
    lists = lists.filter(pl.col("system").is_in([newest, f"{newest} (that-knows)"]))
    cases = {
        system: (set(part["model"]), part.select("split", "case_id").sort("split", "case_id").rows())
        for (system,), part in lists.group_by("system")
    }
    assert {system: models for system, (models, _) in cases.items()} == {
        newest: {"that-guesses"},
        f"{newest} (that-knows)": {"that-knows"},
    }
    assert cases[newest][1] == cases[f"{newest} (that-knows)"][1]
    board = lake.read(LEADERBOARD).filter(protocol="fresh_turns", metric="N@10", split="test")
    value = {(row["scope"], row["system"]): row["value"] for row in board.iter_rows(named=True)}
    assert value["judged", f"{newest} (that-knows)"] > value["judged", newest]
    page = (lake.folder("evaluation", "report") / "report.html").read_text(encoding="utf-8")
    assert "that-guesses" in page and "that-knows" in page
