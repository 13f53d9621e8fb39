"""Whether the judge can teach, asked once of every data set before any feedback is collected."""

from functools import partial

import dagster as dg

from rar_pipeline.defs.conversations import cases
from rar_pipeline.defs.retriever import encoder, read_catalogue
from rar_pipeline.defs.rounds import judge
from rar_pipeline.defs.shell import DATASET, checks, publish, told
from rar_pipeline.resources import Lake, LanguageModel
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, JUDGE_CHECK, MOVIES

TEACHES = dg.AssetCheckSpec(
    "beats_the_retriever",
    asset="judge_check",
    description="On validation cases the judge's order of the retriever's candidates, alone or fused with its scores, beats the retriever's. "
    "Where it does not, no feedback is collected unless that is forced (RAR_FORCE_FEEDBACK).",
)


def judge_check(settings: Settings) -> dg.AssetsDefinition:
    """The asset `judge_check`."""

    @dg.asset(
        name="judge_check",
        deps=[dg.AssetKey(["round_0", "retriever"]), cases, "title_index"],
        partitions_def=DATASET,
        group_name="preference",
        kinds={"openai"},
        pool="llm",
        check_specs=[*checks("judge_check", JUDGE_CHECK), TEACHES],
        description="Round 0's candidates of validation cases, ranked by the LLM, before it is paid to teach.",
    )
    @told
    def checked(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.bootstrap import paired_difference
        from rar_pipeline.preference.judge_check import check_judge, decide, proposed, verdict

        dataset = context.partition_key
        drawn = proposed(
            lake.read(CASES, dataset),
            read_catalogue(lake),
            lake.folder("retriever", "round_0", dataset),
            encoder(settings, context.log.info),
            settings,
        )
        with judge(lake, language_model, context.log.info) as ask:
            frame = check_judge(drawn, lake.read(MOVIES), ask, settings.seed)
        found = verdict(frame, partial(paired_difference, seed=settings.seed))
        context.log.info(f"{dataset}: {decide(found, settings).said}")
        published = publish(
            lake,
            JUDGE_CHECK,
            frame,
            part=dataset,
            figures=found.figures,
            extra={"verdict": dg.MetadataValue.text(found.sentence)},
        )
        advice = dg.AssetCheckResult(
            passed=found.passes,
            check_name=TEACHES.name,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.sentence,
        )
        return published._replace(check_results=[*published.check_results, advice])

    return checked
