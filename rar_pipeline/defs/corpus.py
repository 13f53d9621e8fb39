"""Raw files -> one table a source -> movies -> title index and item embeddings."""

import dagster as dg
import polars as pl

from rar_pipeline.defs.shell import checks, publish, told
from rar_pipeline.resources import Lake, Sources
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CONFLICTS, ITEM_EMBEDDINGS, MOVIES, RAW_FILES, SOURCE_MOVIES, TITLES

MOVIE_PUBLISHERS = ("imdb", "movielens", "wikipedia", "wikidata", "tmdb", "omdb", "streaming", "ggplot2movies")
CONVERSATION_PUBLISHERS = ("redial", "inspired", "reddit")


def raw_files(publisher: str) -> dg.AssetsDefinition:
    """The asset `raw/<publisher>`: files of one publisher, found or fetched, with their hashes."""

    @dg.asset(
        key=["raw", publisher],
        group_name="sources",
        kinds={"file"},
        description=f"Raw files of {publisher} with their content hashes.",
        check_specs=checks(["raw", publisher], RAW_FILES) if publisher in ("imdb", *CONVERSATION_PUBLISHERS) else None,
        pool="downloads",
    )
    @told
    def collected(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        frame = sources.collect(publisher, context.log.info)
        figures = {"files": len(frame), "raw_bytes": int(frame["bytes"].sum())}
        return publish(
            lake, RAW_FILES, frame, part=publisher, figures=figures, checked=publisher in ("imdb", *CONVERSATION_PUBLISHERS)
        )

    return collected


def source_movies(source: str, settings: Settings) -> dg.AssetsDefinition:
    """The asset `source_movies/<source>`: what one source says of its movies."""

    @dg.asset(
        key=["source_movies", source],
        deps=[dg.AssetKey(["raw", source])],
        group_name="corpus",
        kinds={"duckdb"},
        description=f"Movies as {source} describes them, in the shape that all sources share.",
    )
    @told
    def read(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.corpus.sources import read_source
        from rar_pipeline.sources import paths

        found = read_source(source, paths(lake.read(RAW_FILES, source)), settings.kinds)
        context.log.info(f"{source}: {len(found.frame):,} movies, {sum(found.dropped.values()):,} rows left out")
        if source == "imdb":
            lake.write(SOURCE_MOVIES, found.excluded, source, "excluded_movies")
        return publish(lake, SOURCE_MOVIES, found.frame, part=source, dropped=found.dropped, checked=False)

    return read


@dg.asset(
    deps=[dg.AssetKey(["source_movies", source]) for source in MOVIE_PUBLISHERS],
    group_name="corpus",
    kinds={"duckdb"},
    check_specs=checks("movies", MOVIES),
)
@told
def movies(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """The corpus: one row a movie, merged from all sources by shared ids, then by title, year and people."""
    from rar_pipeline.corpus.merge import merge
    from rar_pipeline.evaluation.plots import corpus_by_decade, markdown_image
    from rar_pipeline.evaluation.report_sections import decades

    claims = pl.concat([lake.read(SOURCE_MOVIES, source) for source in MOVIE_PUBLISHERS])
    merged = merge(claims, lake.read(SOURCE_MOVIES, "imdb", "excluded_movies"))
    lake.write(CONFLICTS, merged.conflicts)
    lake.write_frame(merged.aliases, lake.file(MOVIES, name="aliases"))
    context.log.info(
        f"{len(merged.movies):,} movies, {merged.movies['plot'].count():,} with a plot, {len(merged.conflicts):,} conflicts"
    )
    counts = {f"{source}: {what}": records for source, by in merged.counts.items() for what, records in by.items()}
    filled = {f"with_{column}": int(merged.movies[column].count()) for column in ("plot", "year", "rating")}
    listed = {f"with_{column}": int((merged.movies[column].list.len() > 0).sum()) for column in ("genres", "directors", "cast")}
    return publish(
        lake,
        MOVIES,
        merged.movies,
        dropped={reason: count for reason, count in counts.items() if "left out" in reason},
        figures=filled | listed | {"conflicts": len(merged.conflicts)} | counts,
        extra={"by_decade": dg.MetadataValue.md(markdown_image(corpus_by_decade(decades(merged.movies)), "movies by decade"))},
    )


@dg.asset(deps=[movies], group_name="corpus", kinds={"polars"}, check_specs=checks("title_index", TITLES))
@told
def title_index(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """Every normalised title under which a movie can be found: what mentions and generated titles are linked by."""
    from rar_pipeline.corpus.link import build_title_index

    frame = build_title_index(lake.read(MOVIES), pl.read_parquet(lake.file(MOVIES, name="aliases")))
    context.log.info(f"{len(frame):,} titles")
    return publish(lake, TITLES, frame, figures={"variants": frame["variant"].n_unique()})


def item_embeddings(settings: Settings) -> dg.AssetsDefinition:
    """The asset `item_embeddings`."""

    @dg.asset(
        name="item_embeddings",
        deps=[movies],
        group_name="corpus",
        kinds={"torch"},
        pool="accelerator",
        check_specs=checks("item_embeddings", ITEM_EMBEDDINGS),
        description="A frozen text embedding of every movie: title, year, genres, director, cast, plot. Known texts are looked up.",
    )
    @told
    def embedded(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.corpus.cards import item_texts
        from rar_pipeline.corpus.encoder import embed
        from rar_pipeline.retriever.rounds import pick_device

        frame = lake.read(MOVIES)
        device = pick_device(settings.device)
        store = settings.lake / "embeddings"
        texts = item_texts(frame, settings.plot_characters)
        hashes, vectors, made = embed(
            texts, settings.encoder, store, batch=settings.encoder_batch, device=device, log=context.log.info
        )
        table = frame.select("movie_id").with_columns(text_hash=pl.Series(hashes), embedding=pl.Series(vectors))
        context.log.info(f"{made:,} texts embedded, {len(texts) - made:,} known before")
        return publish(lake, ITEM_EMBEDDINGS, table, figures={"embedded_now": made, "width": vectors.shape[1]})

    return embedded


def corpus_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the sources and the corpus."""
    return [
        *(raw_files(publisher) for publisher in (*MOVIE_PUBLISHERS, *CONVERSATION_PUBLISHERS)),
        *(source_movies(source, settings) for source in MOVIE_PUBLISHERS),
        movies,
        title_index,
        item_embeddings(settings),
    ]
