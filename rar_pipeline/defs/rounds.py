"""Preference rounds, unrolled: round_{t-1}/retriever -> round_t/feedback -> round_t/preferences -> round_t/retriever."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from rar_pipeline.defs.conversations import cases
from rar_pipeline.defs.retriever import described, encoder, read_catalogue
from rar_pipeline.defs.shell import DATASET, checks, publish, told
from rar_pipeline.expectations import ANSWERED_AT_LEAST
from rar_pipeline.metadata import table_value
from rar_pipeline.resources import Lake, LanguageModel
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, FEEDBACK, JUDGE_CHECK, MOVIES, PREFERENCES, TITLES

if TYPE_CHECKING:
    from pathlib import Path

    from rar_pipeline.generation.questions import Answer, LanguageModelHandle, Question
    from rar_pipeline.retriever.version import Version


@contextmanager
def judge(
    lake: Lake, language_model: LanguageModel, log: Callable[[str], None]
) -> "Iterator[Callable[[Sequence[Question]], list[Answer]]]":
    """A function that puts questions to the language model, grounding what it writes in the corpus."""
    from rar_pipeline.corpus.link import Linker
    from rar_pipeline.generation.progress import asking

    linker = Linker(lake.read(TITLES))
    with ExitStack() as running:
        handles: list[LanguageModelHandle] = []

        def ask(questions: "Sequence[Question]") -> "list[Answer]":
            if not questions:
                return []
            if not handles:  # the model is started by the first question
                handles.append(running.enter_context(language_model.open()))
            return asking(questions, handles[0], linker.ground, log)

        yield ask


def feedback(number: int, settings: Settings) -> dg.AssetsDefinition:
    """The asset `round_<number>/feedback`."""
    name = f"round_{number}"
    answered = dg.AssetCheckSpec(
        "questions_answered",
        asset=dg.AssetKey([name, "feedback"]),
        description=f"At least {ANSWERED_AT_LEAST:.0%} of the questions were answered. With fewer the run goes on; the asset made again asks for the "
        "rest alone.",
    )

    @dg.asset(
        key=[name, "feedback"],
        deps=[dg.AssetKey([f"round_{number - 1}", "retriever"]), "judge_check", cases, "title_index"],
        partitions_def=DATASET,
        group_name="preference",
        kinds={"openai"},
        pool="llm",
        check_specs=[*checks([name, "feedback"], FEEDBACK), answered],
        description=f"Candidate sets drawn from round {number - 1}, ranked by the LLM. Answers are kept as they come; none is asked for twice. "
        "Empty where the judge check says that this LLM cannot teach, unless RAR_FORCE_FEEDBACK is set.",
    )
    @told
    def collected(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.bootstrap import paired_difference
        from rar_pipeline.evaluation.plots import markdown_image, rewards_histogram
        from rar_pipeline.preference.feedback import asked_of
        from rar_pipeline.preference.judge_check import decide, verdict
        from rar_pipeline.preference.rounds import feedback_of_round

        dataset = context.partition_key
        checked = verdict(lake.read(JUDGE_CHECK, dataset), partial(paired_difference, seed=settings.seed))
        decision = decide(checked, settings)
        (context.log.info if checked.passes else context.log.warning)(f"{dataset}: {decision.said}")
        with judge(lake, language_model, context.log.info) as ask:
            frame = (
                feedback_of_round(
                    lake.folder("retriever", f"round_{number - 1}", dataset),
                    number,
                    lake.read(CASES, dataset),
                    lake.read(MOVIES),
                    read_catalogue(lake),
                    encoder(settings, context.log.info),
                    ask,
                    settings,
                )
                if decision.collects
                else FEEDBACK.empty()
            )
        statuses = {f"sets_{status}": count for status, count in frame["status"].value_counts().iter_rows()}
        spent = {column: int(frame[column].sum()) for column in ("prompt_tokens", "answer_tokens")}
        figures = {
            "contexts": frame["case_id"].n_unique(),
            "mean_reward": frame.select(pl.col("reward").mean().fill_null(0.0)).item(),
            "seconds": float(frame["seconds"].sum()),
        }
        came = asked_of(frame)
        enough = came.share >= ANSWERED_AT_LEAST
        (context.log.info if enough else context.log.warning)(f"{dataset}: {came.said}")
        published = publish(
            lake,
            FEEDBACK,
            frame,
            part=dataset,
            name=f"{name}_feedback",
            dropped={reason: statuses.get(f"sets_{reason}", 0) for reason in ("failed", "unparsed")},
            figures=statuses | spent | figures,
            extra={
                "decision": dg.MetadataValue.text(decision.said),
                "rewards": dg.MetadataValue.md(
                    markdown_image(rewards_histogram(frame.select(pl.lit(number).alias("round"), "reward")), "rewards")
                ),
            },
        )
        told_of_answers = dg.AssetCheckResult(
            passed=enough,
            check_name=answered.name,
            severity=dg.AssetCheckSeverity.WARN,
            description=came.said,
            metadata={**came._asdict(), "share": came.share},
        )
        return published._replace(check_results=[*published.check_results, told_of_answers])

    return collected


def preferences(number: int) -> dg.AssetsDefinition:
    """The asset `round_<number>/preferences`."""
    name = f"round_{number}"

    @dg.asset(
        key=[name, "preferences"],
        deps=[dg.AssetKey([name, "feedback"])],
        partitions_def=DATASET,
        group_name="preference",
        kinds={"polars"},
        check_specs=checks([name, "preferences"], PREFERENCES),
        description="Pairs of candidate sets of one context: the winner led to the better ranking.",
    )
    @told
    def paired(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.preference.feedback import build_preferences

        dataset = context.partition_key
        frame = build_preferences(lake.read(FEEDBACK, dataset, f"{name}_feedback"))
        reasons = {f"won_by_{reason}": count for reason, count in frame["reason"].value_counts().iter_rows()}
        return publish(lake, PREFERENCES, frame, part=dataset, name=f"{name}_preferences", figures=reasons)

    return paired


@contextmanager
def trainer(
    context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel, number: int
) -> "Iterator[Callable[[Path, Settings, str], tuple[Version, bool]]]":
    """A function that trains round `number` on its feedback: folder, settings, name of the version -> its record, and whether it was trained now."""
    from rar_pipeline.preference.rounds import preference_round

    dataset, log, name = context.partition_key, context.log.info, f"round_{number}"
    parent = lake.folder("retriever", f"round_{number - 1}", dataset)
    tables = (
        lake.read(CASES, dataset),
        lake.read(FEEDBACK, dataset, f"{name}_feedback"),
        lake.read(PREFERENCES, dataset, f"{name}_preferences"),
        lake.read(MOVIES),
        read_catalogue(lake),
    )
    with judge(lake, language_model, log) as ask:

        def train(folder: "Path", settings: Settings, version: str) -> "tuple[Version, bool]":
            return preference_round(folder, parent, number, *tables, encoder(settings, log), ask, settings, log, name=version)

        yield train


def retriever(number: int, settings: Settings) -> dg.AssetsDefinition:
    """The asset `round_<number>/retriever`."""
    name, parent = f"round_{number}", f"round_{number - 1}"

    @dg.asset(
        key=[name, "retriever"],
        deps=[dg.AssetKey([name, "feedback"]), dg.AssetKey([name, "preferences"]), dg.AssetKey([parent, "retriever"])],
        partitions_def=DATASET,
        group_name="preference",
        kinds={"pytorch"},
        pool="accelerator",
        description=f"Round {number - 1}'s retriever, trained on round {number}'s feedback; the best epoch on validation, the start included.",
    )
    @told
    def trained(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        folder = lake.folder("retriever", name, context.partition_key)
        with trainer(context, lake, language_model, number) as train:
            version, now = train(folder, settings, name)
        return described(lake, version, now)

    return trained


def objectives(settings: Settings) -> dg.AssetsDefinition:
    """The asset `round_1/objectives`."""
    name, parent = "round_1", "round_0"

    @dg.asset(
        key=[name, "objectives"],
        deps=[dg.AssetKey([name, "feedback"]), dg.AssetKey([name, "preferences"]), dg.AssetKey([parent, "retriever"])],
        partitions_def=DATASET,
        group_name="preference",
        kinds={"pytorch"},
        pool="accelerator",
        description="Round 1 once more with every further objective (RAR_OBJECTIVES), the control among them, from the same feedback: versions to "
        f"compare, no candidates for champion. {', '.join(settings.further_objectives)}.",
    )
    @told
    def compared(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        from rar_pipeline.preference.compared import objective_versions

        dataset = context.partition_key
        feedback = lake.read(FEEDBACK, dataset, f"{name}_feedback")
        folder_of = partial(lake.folder, "retriever", part=dataset)
        with trainer(context, lake, language_model, 1) as train:
            made = objective_versions(folder_of, feedback, train, settings, context.log.info)
        rows = [
            {"version": version.name, "trained_now": now, "weights_sha256": version.weights_sha256, **version.figures}
            for version, now in made
        ]
        return dg.MaterializeResult(
            metadata={"versions": table_value(rows) if rows else dg.MetadataValue.text("none: no feedback that teaches")}
        )

    return compared


def round_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The chain of all preference rounds, and beside the first what its feedback teaches by other objectives."""
    chain = [
        asset
        for number in range(1, settings.rounds + 1)
        for asset in (feedback(number, settings), preferences(number), retriever(number, settings))
    ]
    return [*chain, *([objectives(settings)] if settings.further_objectives else [])]
