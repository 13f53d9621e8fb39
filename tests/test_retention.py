"""What may go and what never does, on a made-up lake that is years old."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from rar_pipeline import retention
from rar_pipeline.corpus.encoder import text_hashes
from rar_pipeline.definitions import build_defs
from rar_pipeline.errors import RarError
from rar_pipeline.files import write_json
from rar_pipeline.generation.cache import AnswerCache, Call
from rar_pipeline.resources import Lake
from rar_pipeline.retention import Removal, plan
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, FEEDBACK, ITEM_EMBEDDINGS, JUDGE_CHECK, RAW_FILES

PROJECT = Path(__file__).resolve().parent.parent
NOW = datetime.now(UTC)
YEARS = timedelta(days=1000)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, lake=tmp_path / "lake", keep_answers_days=30, keep_versions=1)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    settings.root.mkdir(parents=True)
    return Lake(root=str(settings.root))


def put(path: Path, text: str = "x" * 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def gone(settings: Settings, instance: dg.DagsterInstance | None = None, later: timedelta = YEARS) -> dict[str, Removal]:
    """What would go, by the end of its path, once `later` has passed."""
    return {Path(removal.what).name: removal for removal in plan(settings, instance, NOW + later)}


def version(folder: Path, name: str, weights: str, dataset: str = "redial", **training: object) -> Path:
    put(folder / "retriever.safetensors", weights)
    record = {"name": name, "dataset": dataset, "fingerprint": f"made-of-{weights}", "parent": None, "network": {}}
    record |= {"training": training, "known": [], "figures": {}, "curve": [], "weights_sha256": weights}
    write_json(folder / "retriever.json", record)
    return folder


def crown(lake: Lake, *served: str, dataset: str = "redial") -> Path:
    """The champion's folder, in which one version served after the other."""
    folder = lake.folder("evaluation", "champion", dataset)
    changes, before = [], None
    for number, key in enumerate(served):
        when = (NOW - timedelta(days=30 * (len(served) - number))).isoformat()
        changes.append({"when": when, "by": "gate", "id": key, "version": key, "llm": False, "replaced": before})
        before = key
    write_json(folder / "history.json", {"changes": changes})
    last = served[-1]
    place = (folder / "versions" / last).relative_to(lake.path).as_posix()
    write_json(folder / "champion.json", {"dataset": dataset, "id": last, "version": last, "folder": place})
    return folder


def test_of_a_lake_without_anything_old_nothing_goes(settings: Settings, lake: Lake) -> None:
    put(settings.root / "retriever" / "attempts" / "dataset=redial" / "abc" / "last.ckpt")
    put(settings.root / "logs" / "run-1.log")
    assert gone(settings, later=timedelta()) == {}


def test_leftovers_of_broken_off_work_go_and_the_only_copy_of_a_version_does_not(settings: Settings, lake: Lake) -> None:
    attempt = put(settings.root / "retriever" / "attempts" / "dataset=redial" / "abc" / "last.ckpt").parent
    half = put(settings.root / "corpus" / "movies" / ".data.parquet.123.part")
    whole = put(settings.root / "corpus" / "movies" / "data.parquet")
    version(settings.root / "retriever" / "round_1" / ".dataset=redial.7.old", "round_1", "w1")  # killed between two moves
    version(settings.root / "retriever" / "round_0" / ".dataset=redial.7.old", "round_0", "w0")
    version(settings.root / "retriever" / "round_0" / "dataset=redial", "round_0", "w0")
    found = plan(settings, None, NOW + YEARS)
    assert {removal.kind for removal in found} == {"leftovers"}
    for removal in found:
        removal.remove()
    assert not attempt.exists()
    assert not half.exists()
    assert whole.exists()
    left = {path.parent.name for path in settings.root.rglob(".*.old")}
    assert left == {"round_1"}


def test_logs_of_versions_on_record_stay(settings: Settings, lake: Lake) -> None:
    version(lake.folder("retriever", "round_0", "redial"), "round_0", "here")
    for fingerprint in ("made-of-here", "made-of-nothing"):
        put(settings.root / "retriever" / "logs" / "dataset=redial" / fingerprint / "metrics.csv")
    put(settings.root / "logs" / "run-20200101-000000.log")
    assert set(gone(settings)) == {"made-of-nothing", "run-20200101-000000.log"}


def test_raw_files_that_a_table_names_or_that_lie_under_their_own_name_stay(settings: Settings, lake: Lake) -> None:
    raw = settings.root / "raw"
    for name in ("named", "linked", "replaced"):
        put(raw / "objects" / name)
    (raw / "imdb").mkdir()
    (raw / "imdb" / "title.basics.tsv.gz").hardlink_to(raw / "objects" / "linked")
    put(raw / "sample-0001" / "imdb" / "old.tsv")
    now = put(raw / "sample-0002" / "imdb" / "new.tsv")
    assert gone(settings) == {}, "without a table nobody knows what is in use"
    row = {"publisher": "imdb", "file": "imdb/x", "path": str(now.absolute()), "bytes": 1, "sha256": "named", "origin": "here"}
    lake.write(RAW_FILES, RAW_FILES.frame([row]), "imdb")
    assert set(gone(settings)) == {"replaced", "sample-0001"}


def test_what_serves_and_what_it_was_trained_from_never_goes(settings: Settings, lake: Lake) -> None:
    folder = crown(lake, "round_1-a", "round_2-b", "round_2-c")
    version(folder / "versions" / "round_1-a", "round_1", "a")
    version(folder / "versions" / "round_2-b", "round_2", "b", parent_sha256="x")
    version(folder / "versions" / "round_2-c", "round_2", "c", parent_sha256="a")
    for number, weights in enumerate(("r0", "r1", "r2", "r3")):
        version(lake.folder("retriever", f"round_{number}", "redial"), f"round_{number}", weights)
    version(lake.folder("retriever", "pretrained", "all"), "pretrained", "p", dataset="all")
    found = gone(settings)
    assert {Path(removal.what).relative_to(settings.root).as_posix() for removal in found.values()} == {
        "evaluation/champion/dataset=redial/versions/round_2-b",
        "retriever/round_3/dataset=redial",  # the settings ask for two rounds
    }
    many = settings.model_copy(update={"keep_versions": 3})
    assert "round_2-b" not in gone(many), "so many that served last can be called back"
    assert "round_2-b" not in gone(settings, later=timedelta(days=50)), "it served until 30 days ago"


def test_the_round_that_serves_in_a_lake_of_old_stays(settings: Settings, lake: Lake) -> None:
    """Before champions were copied, what served was the round itself."""
    version(lake.folder("retriever", "round_3", "redial"), "round_3", "r3", parent_sha256="r4")
    version(lake.folder("retriever", "round_4", "redial"), "round_4", "r4")
    version(lake.folder("retriever", "round_5", "redial"), "round_5", "r5")
    write_json(lake.folder("evaluation", "champion", "redial") / "champion.json", {"dataset": "redial", "version": "round_3"})
    assert {Path(removal.what).parent.name for removal in gone(settings).values()} == {"round_5"}


def test_a_record_that_cannot_be_read_stops_everything(settings: Settings, lake: Lake) -> None:
    put(lake.folder("evaluation", "champion", "redial") / "champion.json", "{half")
    put(settings.root / "logs" / "run-1.log")
    with pytest.raises(RarError, match=r"champion\.json.*damaged"):
        plan(settings, None, NOW + YEARS)


def stored(settings: Settings, name: str, *texts: str) -> Path:
    path = settings.lake / "embeddings" / "minilm" / f"part-{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"text_hash": text_hashes(texts, "minilm"), "embedding": [[0.0]] * len(texts)}).write_parquet(path)
    return path


def test_embeddings_of_movies_and_conversations_of_any_world_stay(settings: Settings, lake: Lake) -> None:
    stored(settings, "movie", "Alien (1979)", "a film of long ago")
    stored(settings, "other", "Heat (1995)")
    stored(settings, "turn", "something like Alien")
    stored(settings, "orphan", "a film of long ago", "another one")
    film = {"movie_id": "m1", "embedding": [0.0] * 384}
    other = Lake(root=str(settings.lake / "mirror"))
    for place, text in ((lake, "Alien (1979)"), (other, "Heat (1995)")):
        place.write(ITEM_EMBEDDINGS, ITEM_EMBEDDINGS.frame([film | {"text_hash": text_hashes([text], "minilm")[0]}]))
    case = {"dataset": "redial", "case_id": "c1", "dialogue_id": "d1", "context": "Recommender: Hi\nSeeker: something like Alien"}
    lake.write(CASES, CASES.frame([case]), "redial")
    assert set(gone(settings)) == {"part-orphan.parquet"}
    (lake.file(CASES, "redial")).write_bytes(b"PAR1 broken")
    with pytest.raises(RarError, match="materialise the asset cases again"):
        plan(settings, None, NOW + YEARS)


def asked(settings: Settings, *prompts: str) -> Path:
    file = settings.lake / "answers" / "answers.sqlite"
    with AnswerCache(file) as cache:
        for prompt in prompts:
            call = Call("generate", "1", prompt, {}, 1, 10, "answered", cost=0.25)
            cache.record("http://host/v1", "m", call, {f"key of {prompt}": {"raw": "1. Jaws"}})
        cache.put("of before calls were on record", "m", "generate", {"raw": "1. Up"})
    return file


def test_answers_stay_for_ever_by_default_and_otherwise_where_feedback_refers_to_them(settings: Settings, lake: Lake) -> None:
    file = asked(settings, "fed", "checked", "nobody's")
    row = {"dataset": "redial", "case_id": "c", "prompt_hash": "fed", "set_id": 0}
    other = Lake(root=str(settings.lake / "mirror"))
    other.write(FEEDBACK, FEEDBACK.frame([row]), "redial", "round_1_feedback")
    lake.write(JUDGE_CHECK, JUDGE_CHECK.frame([{"dataset": "redial", "case_id": "c", "prompt_hash": "checked"}]), "redial")
    assert gone(Settings(_env_file=None, lake=settings.lake)) == {}
    (removal,) = gone(settings).values()
    assert (removal.kind, removal.count) == ("answers", 1)
    assert "costs money" in removal.why
    assert gone(settings, later=timedelta(days=20)) == {}
    removal.remove()
    with closing(sqlite3.connect(file)) as kept:
        assert {key for (key,) in kept.execute("select key from answers")} == {
            "key of fed",
            "key of checked",
            "of before calls were on record",
        }
        assert kept.execute("select count(*), sum(cost) from requests").fetchone() == (3, 0.75), "what was spent stays known"


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["redial", "inspired"]))
def table(context: dg.AssetExecutionContext) -> None:
    context.log.info("made")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as found:
        yield found


def test_runs_go_with_their_events_except_those_that_made_what_is_there(
    settings: Settings, lake: Lake, instance: dg.DagsterInstance
) -> None:
    made: Callable[[str], str] = lambda part: dg.materialize([table], partition_key=part, instance=instance).run_id  # noqa: E731
    first, second, other = made("redial"), made("redial"), made("inspired")
    assert gone(settings, instance, later=timedelta(days=170)) == {}
    found = plan(settings, instance, NOW + timedelta(days=190))
    assert [removal.what.split()[-1] for removal in found] == [first]
    assert found[0].bytes > 10_000
    found[0].remove()
    assert {run.run_id for run in instance.get_runs()} == {second, other}
    assert not list(Path(instance.root_directory).rglob(f"*{first}*.db*"))
    assert instance.get_latest_materialization_event(dg.AssetKey("table")).run_id == other
    assert instance.get_run_by_id(first) is None
    assert plan(settings, instance, NOW + YEARS) == []


def test_a_link_that_leads_out_of_the_lake_is_not_followed(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "abc" / "precious").parent.parent
    attempts = settings.root / "retriever" / "attempts"
    attempts.mkdir(parents=True)
    (attempts / "dataset=redial").symlink_to(outside)
    with pytest.raises(RarError, match="leads out of"):
        plan(settings, None, NOW + YEARS)
    (attempts / "dataset=redial").unlink()
    (attempts / "dataset=inspired").mkdir()
    (attempts / "dataset=inspired" / "linked").symlink_to(outside / "abc")
    (removal,) = gone(settings).values()
    removal.remove()
    assert not list((attempts / "dataset=inspired").iterdir())
    assert (outside / "abc" / "precious").exists()


def test_the_command_says_what_would_go_and_removes_it_only_when_told(tmp_path: Path) -> None:
    log = put(tmp_path / "lake" / "sample" / "logs" / "run-1.log")
    os.utime(log, (0, 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
    environment |= {"RAR_LAKE": str(tmp_path / "lake"), "PYTHONPATH": str(PROJECT)}

    def ask(*arguments: str) -> str:
        command = [sys.executable, "-m", "rar_pipeline.retention", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    said = ask("--list")
    assert str(log.relative_to(tmp_path / "lake")) in said
    assert "more than 90 days old" in said
    assert "nothing was removed" in said
    assert log.exists()
    ask("--yes")
    assert not log.exists()


def test_nothing_goes_while_a_run_is_under_way(
    settings: Settings, lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings.root / "logs" / "run-1.log")
    instance.add_run(dg.DagsterRun("retrain", status=dg.DagsterRunStatus.STARTED))
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    with pytest.raises(RarError, match="retrain is under way"):
        retention._prune(settings, yes=True, each=False)
    assert retention._prune(settings, yes=False, each=False) == 0


@pytest.mark.parametrize("lets_go", [False, True])
def test_the_nightly_job_says_what_may_go_and_removes_it_only_where_that_is_set(
    settings: Settings, lake: Lake, lets_go: bool
) -> None:
    log = put(settings.root / "logs" / "run-1.log")
    os.utime(log, (0, 0))
    defs = build_defs(settings=settings.model_copy(update={"prune": lets_go}))
    with dg.DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def("prune").execute_in_process(instance=instance)
        told = next(event for event in done.all_events if event.is_successful_output).step_output_data.metadata
    assert "more than 90 days old" in told["what"].value
    assert (told["bytes"].value, told["removed"].value) == (100, lets_go)
    assert log.exists() is not lets_go
    assert defs.resolve_schedule_def("nightly_pruning").job_name == "prune"


def test_the_nightly_job_removes_nothing_beside_another_run_and_says_so(settings: Settings, lake: Lake) -> None:
    log = put(settings.root / "logs" / "run-1.log")
    os.utime(log, (0, 0))
    defs = build_defs(settings=settings.model_copy(update={"prune": True}))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun("retrain", status=dg.DagsterRunStatus.STARTED))
        done = defs.resolve_job_def("prune").execute_in_process(instance=instance, raise_on_error=False)
        (failed,) = (event for event in done.all_events if event.is_step_failure)
    assert "of retrain is under way" in failed.step_failure_data.user_failure_data.description
    assert log.exists()
