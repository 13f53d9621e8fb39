"""Experiments, made on demand alone: what a judge of known competence would teach, and whether LRURec reaches its published figures."""

from functools import partial

import dagster as dg

from rar_pipeline.defs.conversations import cases, mentions
from rar_pipeline.defs.corpus import RATING_PUBLISHER
from rar_pipeline.defs.retriever import encoder, read_catalogue
from rar_pipeline.defs.shell import DATASET, publish, told
from rar_pipeline.errors import RarError
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, JUDGE_EXPERIMENT, MENTIONS, RAW_FILES, SEQUENCES_CHECK


def judge_experiment(settings: Settings) -> dg.AssetsDefinition:
    """The asset `judge_experiment`."""

    @dg.asset(
        name="judge_experiment",
        deps=[dg.AssetKey(["round_0", "retriever"]), cases, mentions],
        partitions_def=DATASET,
        group_name="experiments",
        kinds={"pytorch"},
        pool="accelerator",
        description="Dose and response: what one round gains from a SimulatedJudge, by its competence and the objective, beside supervision with as "
        "many updates. No LLM is asked. It takes long; finished cells are kept, so that it goes on where it stopped.",
    )
    @told
    def made(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.bootstrap import paired_difference
        from rar_pipeline.evaluation.plots import markdown_image
        from rar_pipeline.preference import experiment
        from rar_pipeline.preference.experiment_plot import dose_and_response

        dataset = context.partition_key
        folder = lake.folder("retriever", "round_0", dataset)
        tables = lake.read(CASES, dataset), lake.read(MENTIONS, dataset)
        bench = experiment.prepare(folder, *tables, read_catalogue(lake), encoder(settings, context.log.info), settings)
        cells = experiment.run(bench, lake.folder("experiments", "judge_cells", dataset), context.log.info)
        table = experiment.summarise(dataset, cells, partial(paired_difference, seed=settings.seed))
        for line in experiment.told(table):
            context.log.info(line)
        plot = markdown_image(dose_and_response(table), "gain by competence of the SimulatedJudge")
        return publish(lake, JUDGE_EXPERIMENT, table, part=dataset, extra={"plot": dg.MetadataValue.md(plot)}, checked=False)

    return made


def sequences_check(settings: Settings) -> dg.AssetsDefinition:
    """The asset `sequences_check`."""

    @dg.asset(
        name="sequences_check",
        deps=[dg.AssetKey(["raw", RATING_PUBLISHER])],
        group_name="experiments",
        kinds={"pytorch"},
        pool="accelerator",
        description="LRURec as published, trained on the sources' rating sequences: its leave-last-out figures, which the report sets beside the "
        "published ones. Hours on a CPU; broken off it goes on after the last whole epoch.",
    )
    @told
    def trained(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.evaluation import sequences_check
        from rar_pipeline.retriever.rounds import pick_device
        from rar_pipeline.retriever.sequence_training import SequenceConfig
        from rar_pipeline.sources import paths

        name = f"{RATING_PUBLISHER}/{sequences_check.DATA}.tsv"
        file = paths(lake.read(RAW_FILES, RATING_PUBLISHER)).get(name)
        if file is None:
            raise RarError(f"{name}: not among the sources ({settings.sources}); name a mirror that holds it with RAR_SOURCES")
        config = SequenceConfig(epochs=settings.sequences_epochs, device=pick_device(settings.device), bfloat16=True)
        attempt = lake.folder("experiments", "sequences_attempt")
        table = sequences_check.check(file, config, attempt, context.log.info)
        context.log.info(sequences_check.told(table))
        return publish(lake, SEQUENCES_CHECK, table, checked=False)

    return trained
