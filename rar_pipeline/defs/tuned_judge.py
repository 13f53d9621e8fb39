"""A judge made competent, made on demand alone; the black box stays the judge until an adapter is named."""

import dagster as dg

from rar_pipeline.defs.conversations import cases
from rar_pipeline.defs.retriever import encoder, read_catalogue
from rar_pipeline.defs.shell import DATASET, told
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, MOVIES


def tuned_judge(settings: Settings) -> dg.AssetsDefinition:
    """The asset `tuned_judge`."""

    @dg.asset(
        name="tuned_judge",
        deps=[dg.AssetKey(["round_0", "retriever"]), cases],
        partitions_def=DATASET,
        group_name="experiments",
        kinds={"pytorch"},
        pool="accelerator",
        description="Low-rank adapters of the embedded model, fine-tuned on training cases to name the letter of the movie that was recommended. "
        "RAR_JUDGE_ADAPTER names the folder of one that is to judge.",
    )
    @told
    def tuned(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.generation.weights import name_of, packaged_weights, unpacked
        from rar_pipeline.preference.tuned_judge import build_examples, keep, tune

        dataset = context.partition_key
        examples = build_examples(
            lake.read(CASES, dataset),
            lake.read(MOVIES),
            read_catalogue(lake),
            lake.folder("retriever", "round_0", dataset),
            encoder(settings, context.log.info),
            settings,
            settings.judge_training_cases,
        )
        weights = packaged_weights()
        folder = lake.folder("preference", "tuned_judge", dataset)
        made = tune(unpacked(weights, settings.lake / "models"), examples, settings, context.log.info)
        record = keep(folder, name_of(weights), made, settings)
        figures = {name: value for name, value in made.figures.items() if isinstance(value, int | float)}
        return dg.MaterializeResult(
            metadata={
                "folder": dg.MetadataValue.path(str(folder)),
                **figures,
                "curve": dg.MetadataValue.json(made.figures["curve"]),
            },
            data_version=dg.DataVersion(record.weights_sha256),
        )

    return tuned
