"""The definitions as a whole: what they hold, how it hangs together, what loading them costs, and who imports whom."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from rar_pipeline.definitions import build_defs
from rar_pipeline.defs.corpus import MOVIE_PUBLISHERS
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "rar_pipeline"
STAGES = ("corpus", "conversations", "retriever", "generation", "preference", "evaluation")  # left to right
HEAVY = ("torch", "lightning", "openai", "great_expectations", "matplotlib", "pandas", "transformers", "sentence_transformers")
HEAVY += ("scipy", "imdb", "xllamacpp")

SOURCES = ("imdb", "movielens", "wikipedia", "wikidata", "tmdb", "omdb", "streaming", "ggplot2movies")
OUTSIDE_THE_ROUNDS = """
sources        raw/ggplot2movies
sources        raw/imdb
sources        raw/inspired
sources        raw/movielens
sources        raw/omdb <- raw/imdb
sources        raw/reddit
sources        raw/redial
sources        raw/sequences
sources        raw/streaming
sources        raw/tmdb
sources        raw/wikidata
sources        raw/wikipedia <- raw/imdb raw/wikidata
corpus         source_movies/ggplot2movies <- raw/ggplot2movies
corpus         source_movies/imdb <- raw/imdb
corpus         source_movies/movielens <- raw/movielens
corpus         source_movies/omdb <- raw/omdb
corpus         source_movies/streaming <- raw/streaming
corpus         source_movies/tmdb <- raw/tmdb
corpus         source_movies/wikidata <- raw/wikidata
corpus         source_movies/wikipedia <- raw/wikipedia
corpus         movies <- {every_source}
corpus         title_index <- movies
corpus         item_embeddings <- movies
conversations  dialogues <- raw/inspired raw/reddit raw/redial
conversations  mentions <- dialogues title_index
conversations  cases <- dialogues mentions
retriever      rating_sequences <- movies raw/sequences
retriever      chat_cases <- movies
retriever      pretrained/retriever <- cases chat_cases item_embeddings mentions rating_sequences
retriever      round_0/retriever <- cases pretrained/retriever
preference     judge_check <- cases round_0/retriever title_index
evaluation     recommendations <- cases mentions {retrievers_and_objectives}
evaluation     metrics <- cases recommendations
evaluation     champion <- cases metrics recommendations {every_retriever}
evaluation     leaderboard <- champion metrics
evaluation     report <- champion judge_check leaderboard movies
evaluation     database <- cases leaderboard mentions metrics movies title_index
experiments    judge_experiment <- cases mentions round_0/retriever
experiments    sequences_check <- raw/sequences
experiments    tuned_judge <- cases round_0/retriever
"""
OBJECTIVES = "preference     round_1/objectives <- round_0/retriever round_1/feedback round_1/preferences"
ONE_ROUND = """
preference     round_{now}/feedback <- cases judge_check round_{before}/retriever title_index
preference     round_{now}/preferences <- round_{now}/feedback
preference     round_{now}/retriever <- round_{before}/retriever round_{now}/feedback round_{now}/preferences
"""


def definitions(**changes: object) -> dg.Definitions:
    return build_defs(settings=Settings(_env_file=None, **changes))


def lines(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line)


def lineage(defs: dg.Definitions) -> list[str]:
    """One line an asset: group, key, and the keys that it depends on."""
    found = []
    for spec in defs.resolve_all_asset_specs():
        needs = " ".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps))
        found.append(f"{spec.group_name:<14} {spec.key.to_user_string()}" + (f" <- {needs}" if needs else ""))
    return sorted(found)


@pytest.mark.parametrize("rounds", [0, 2, 3])
def test_lineage_is_the_flow_of_data_and_every_round_follows_the_one_before(rounds: int) -> None:
    outside = OUTSIDE_THE_ROUNDS.format(
        every_source=" ".join(sorted(f"source_movies/{source}" for source in SOURCES)),
        every_retriever=" ".join(f"round_{number}/retriever" for number in range(rounds + 1)),
        retrievers_and_objectives=" ".join(
            sorted([*(f"round_{number}/retriever" for number in range(rounds + 1)), *(["round_1/objectives"] if rounds else [])])
        ),
    )
    chain = "".join(ONE_ROUND.format(now=number, before=number - 1) for number in range(1, rounds + 1))
    assert lineage(definitions(rounds=rounds)) == lines(outside + chain + (OBJECTIVES if rounds else ""))
    assert not any("objectives" in line for line in lineage(definitions(rounds=rounds, objectives=("dpo",))))


def test_what_belongs_to_a_data_set_has_the_three_as_partitions_and_nothing_else_has_partitions() -> None:
    partitioned = {spec.key: spec.partitions_def for spec in definitions().resolve_all_asset_specs() if spec.partitions_def}
    assert all(list(partitions.get_partition_keys()) == list(DATASETS) for partitions in partitioned.values())
    names = {key.to_user_string() for key in partitioned}
    rounds = {f"round_{number}/{name}" for number in (1, 2) for name in ("feedback", "preferences", "retriever")}
    assert (
        names
        == {
            "dialogues",
            "mentions",
            "cases",
            "round_0/retriever",
            "judge_check",
            "judge_experiment",
            "tuned_judge",
            "round_1/objectives",
            "recommendations",
            "metrics",
            "champion",
        }
        | rounds
    )


def test_every_boundary_table_has_a_check_that_blocks_and_the_champion_a_gate() -> None:
    graph = definitions().resolve_asset_graph()
    blocking = {key.asset_key.to_user_string() for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
    boundary = {"movies", "title_index", "item_embeddings", "dialogues", "mentions", "cases"}
    boundary |= {"judge_check", "recommendations", "metrics", "leaderboard"}
    boundary |= {f"source_movies/{source}" for source in MOVIE_PUBLISHERS}
    boundary |= {f"raw/{name}" for name in ("imdb", "redial", "inspired", "reddit")}
    boundary |= {f"round_{number}/{name}" for number in (1, 2) for name in ("feedback", "preferences")}
    assert blocking == boundary
    assert {key.name for key in graph.asset_check_keys if key.asset_key == dg.AssetKey("champion")} == {"gate"}
    answered = dg.AssetCheckKey(dg.AssetKey(["round_1", "feedback"]), "questions_answered")
    assert not graph.get_check_spec(answered).blocking, "an endpoint that dies costs its questions, not the run"
    advice = dg.AssetCheckKey(dg.AssetKey("judge_check"), "beats_the_retriever")
    assert not graph.get_check_spec(advice).blocking, "a judge that cannot teach stops the collection, not the run"


def test_jobs_select_what_their_names_say() -> None:
    defs = definitions()
    groups = {spec.key: spec.group_name for spec in defs.resolve_all_asset_specs()}
    found = {
        name: {groups[key] for key in defs.resolve_job_def(name).asset_layer.executable_asset_keys}
        for name in ("everything", "corpus", "conversations", "pretrain", "retrain", "evaluate", "summary")
    }
    assert found == {
        "everything": set(groups.values()) - {"experiments"},
        "corpus": {"sources", "corpus"},
        "conversations": {"conversations"},
        "pretrain": {"retriever"},
        "retrain": {"retriever", "preference", "evaluation"},
        "evaluate": {"evaluation"},
        "summary": {"evaluation"},
    }
    pipeline = {key for key, group in groups.items() if group != "experiments"}
    assert defs.resolve_job_def("everything").asset_layer.executable_asset_keys == pipeline


def test_definitions_load_quickly_and_without_anything_heavy() -> None:
    program = (
        "import json, resource, sys\n"
        "from rar_pipeline.definitions import defs\n"
        "specs = defs.resolve_all_asset_specs()\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps([len(specs), used.ru_utime + used.ru_stime, sorted(set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120)
    assets, seconds, modules = json.loads(done.stdout)
    print(f"definitions: {assets} assets loaded in {seconds:.2f} s of CPU")
    assert not set(modules) & set(HEAVY)
    assert assets > 30
    assert seconds < 5  # about one on a quiet machine


def test_workspace_pyproject_and_instance_agree() -> None:
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    (location,) = workspace["load_from"]
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    module = pyproject["tool"]["dagster"]["module_name"]
    assert location["python_module"]["module_name"] == module == "rar_pipeline.definitions"
    commands = (PROJECT / "Makefile").read_text()
    assert f"dagster dev -m {module} " in commands
    assert "export DAGSTER_HOME := $(CURDIR)" in commands  # where dagster.yaml lies


def test_local_state_stays_below_dot_dagster_and_nothing_is_reported_to_anyone() -> None:
    instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    folders = [
        instance["storage"]["sqlite"]["base_dir"],
        instance["local_artifact_storage"]["config"]["base_dir"],
        instance["compute_logs"]["config"]["base_dir"],
    ]
    assert all(not Path(folder).is_absolute() and Path(folder).parts[0] == ".dagster" for folder in folders)
    assert len(set(folders)) == len(folders)
    assert instance["telemetry"]["enabled"] is False
    ignored = (PROJECT / ".gitignore").read_text().split()
    assert any(name.strip("/") == ".dagster" for name in ignored)


def test_pools_that_the_assets_name_are_explained_in_the_instance() -> None:
    said = (PROJECT / "dagster.yaml").read_text()
    graph = definitions().resolve_asset_graph()
    pools = {pool for key in graph.get_all_asset_keys() for pool in graph.get(key).pools}
    assert pools == {"accelerator", "llm", "downloads"}
    assert all(f"{pool}:" in said for pool in pools)


def imports(path: Path, *, only_at_load: bool = False) -> set[str]:
    """Dotted names of the modules that a file imports; without what is inside functions or for the type checker where `only_at_load`."""
    found: set[str] = set()
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.update(name.name for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                found.update({child.module or ""} | {f"{child.module}.{name.name}" for name in child.names})
            elif only_at_load and (
                isinstance(child, functions) or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            ):
                continue
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def modules(folder: str) -> list[Path]:
    found = sorted((PACKAGE / folder).rglob("*.py"))
    assert found
    return found


def parts(path: Path, **how: bool) -> set[str]:
    """First parts of what a file imports from this package: stages, or modules beside them."""
    return {name.split(".")[1] for name in imports(path, **how) if name.startswith("rar_pipeline.")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_no_dagster_and_only_the_stages_to_its_left(stage: str) -> None:
    right = set(STAGES[STAGES.index(stage) + 1 :])
    shells = {"defs", "definitions", "resources", "metadata", "quality", "run"}  # these know Dagster
    for path in modules(stage):
        assert not {name for name in imports(path) if name.split(".")[0].startswith("dagster")}, path
        assert not parts(path) & (right | shells), path


def test_evaluation_is_imported_by_shells_and_by_what_people_start_alone() -> None:
    importers = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if "evaluation" in parts(path)}
    assert importers <= {
        "evaluation",
        "defs",
        "run.py",
        "evaluate.py",
        "service",
        "retention.py",
    }  # what people start, not what a stage is made of


def test_shells_hold_no_sql_and_import_nothing_heavy_when_they_are_loaded() -> None:
    for path in [*modules("defs"), *PACKAGE.glob("*.py")]:
        assert not {name.split(".")[0] for name in imports(path, only_at_load=True)} & set(HEAVY), path
    for path in modules("defs"):
        assert not {name.split(".")[0] for name in imports(path)} & {"duckdb", "json.decoder", "gzip", "csv"}, path
        assert not parts(path, only_at_load=True) & set(STAGES), path
