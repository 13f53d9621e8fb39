"""Raw files -> one table a source -> movies -> title index and item embeddings."""

import dagster as dg
import polars as pl

from rar_pipeline.defs.shell import Beside, Made, checks, code_of, publish, publish_if_changed, told
from rar_pipeline.resources import Lake, Sources
from rar_pipeline.settings import Settings
from rar_pipeline.tables import (
    ALIASES,
    CONFLICTS,
    ITEM_EMBEDDINGS,
    MOVIES,
    PLACEMENTS,
    PROVENANCE,
    RAW_FILES,
    SOURCE_MOVIES,
    TITLES,
)

MOVIE_PUBLISHERS = ("imdb", "movielens", "wikipedia", "wikidata", "tmdb", "omdb", "streaming", "ggplot2movies")
# live sources that are asked film by film take the ids from other publishers' files
ASKED_BY_IDS_OF = {"wikipedia": ("wikidata", "imdb"), "omdb": ("imdb",)}
EXCLUDED = "excluded_movies"  # titles that IMDb lists and the corpus leaves out
CONVERSATION_PUBLISHERS = ("redial", "inspired", "reddit")
RATING_PUBLISHER = "sequences"


def raw_files(publisher: str) -> dg.AssetsDefinition:
    """The asset `raw/<publisher>`: files of one publisher, found or fetched, with their hashes."""

    @dg.asset(
        key=["raw", publisher],
        deps=[dg.AssetKey(["raw", needed]) for needed in ASKED_BY_IDS_OF.get(publisher, ())],
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
    beside = [(SOURCE_MOVIES, EXCLUDED)] if source == "imdb" else []

    @dg.asset(
        key=["source_movies", source],
        deps=[dg.AssetKey(["raw", source])],
        group_name="corpus",
        kinds={"duckdb"},
        description=f"Movies as {source} describes them, in the shape that all sources share.",
        check_specs=checks(["source_movies", source], SOURCE_MOVIES),
    )
    @told
    def read(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.corpus.sources import read_source
        from rar_pipeline.sources import paths

        raw = lake.read(RAW_FILES, source)

        def make() -> Made:
            found = read_source(source, paths(raw), settings.kinds, settings.duckdb_memory)
            context.log.info(f"{source}: {len(found.frame):,} movies, {sum(found.dropped.values()):,} rows left out")
            return Made(found.frame, found.dropped, beside=[Beside(SOURCE_MOVIES, found.excluded, EXCLUDED) for _ in beside])

        inputs = [code_of("corpus"), source, settings.kinds, raw.select("file", "sha256").rows()]
        return publish_if_changed(context, lake, SOURCE_MOVIES, inputs, make, part=source, beside=beside)

    return read


def movies(settings: Settings) -> dg.AssetsDefinition:
    """The asset `movies`."""

    @dg.asset(
        name="movies",
        deps=[dg.AssetKey(["source_movies", source]) for source in MOVIE_PUBLISHERS],
        group_name="corpus",
        kinds={"duckdb"},
        check_specs=checks("movies", MOVIES),
        description="The corpus: one row a movie, merged from all sources by shared ids, then by title, year and people.",
    )
    @told
    def merged(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.corpus.excluded import met
        from rar_pipeline.corpus.merge import merge
        from rar_pipeline.evaluation.plots import corpus_by_decade, markdown_image
        from rar_pipeline.evaluation.report_sections import decades

        def make() -> Made:
            ids = pl.concat([lake.scan(SOURCE_MOVIES, source).select("imdb_id") for source in MOVIE_PUBLISHERS]).collect()
            excluded = met(lake.scan(SOURCE_MOVIES, "imdb", EXCLUDED), ids)
            # held by nobody but the merge, which lets go of them before its results are made
            found = merge(
                pl.concat([lake.read(SOURCE_MOVIES, source) for source in MOVIE_PUBLISHERS]), excluded, settings.duckdb_memory
            )
            context.log.info(
                f"{len(found.movies):,} movies, {found.movies['plot'].count():,} with a plot, {len(found.conflicts):,} conflicts"
            )
            counts = {f"{source}: {what}": records for source, by in found.counts.items() for what, records in by.items()}
            filled = {f"with_{column}": int(found.movies[column].count()) for column in ("plot", "year", "rating")}
            listed = {
                f"with_{column}": int((found.movies[column].list.len() > 0).sum()) for column in ("genres", "directors", "cast")
            }
            return Made(
                found.movies,
                {reason: count for reason, count in counts.items() if "left out" in reason},
                filled | listed | {"conflicts": len(found.conflicts)} | counts,
                [
                    Beside(PROVENANCE, found.provenance),
                    Beside(PLACEMENTS, found.placements),
                    Beside(CONFLICTS, found.conflicts),
                    Beside(ALIASES, found.aliases),
                ],
            )

        stamps = [lake.stamp(SOURCE_MOVIES, source).content for source in MOVIE_PUBLISHERS]
        return publish_if_changed(
            context,
            lake,
            MOVIES,
            [code_of("corpus"), stamps, lake.stamp(SOURCE_MOVIES, "imdb", EXCLUDED).content],
            make,
            beside=[(table, None) for table in (PROVENANCE, PLACEMENTS, CONFLICTS, ALIASES)],
            extra=lambda frame: {
                "by_decade": dg.MetadataValue.md(markdown_image(corpus_by_decade(decades(frame)), "movies by decade"))
            },
        )

    return merged


@dg.asset(deps=["movies"], group_name="corpus", kinds={"polars"}, check_specs=checks("title_index", TITLES))
@told
def title_index(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """Every normalised title under which a movie can be found: what mentions and generated titles are linked by."""
    from rar_pipeline.corpus.titles import build_title_index

    def make() -> Made:
        frame = build_title_index(lake.read(MOVIES), lake.read(ALIASES))
        context.log.info(f"{len(frame):,} titles")
        return Made(frame, figures={"variants": frame["variant"].n_unique()})

    inputs = [code_of("corpus"), lake.stamp(MOVIES).content, lake.stamp(ALIASES).content]
    return publish_if_changed(context, lake, TITLES, inputs, make)


def item_embeddings(settings: Settings) -> dg.AssetsDefinition:
    """The asset `item_embeddings`."""

    @dg.asset(
        name="item_embeddings",
        deps=["movies"],
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

        def make() -> Made:
            frame = lake.read(MOVIES)
            device = pick_device(settings.device)
            store = settings.lake / "embeddings"
            texts = item_texts(frame, settings.plot_characters)
            hashes, vectors, made = embed(
                texts, settings.encoder, store, batch=settings.encoder_batch, device=device, log=context.log.info
            )
            table = frame.select("movie_id").with_columns(text_hash=pl.Series(hashes), embedding=pl.Series(vectors))
            context.log.info(f"{made:,} texts embedded, {len(texts) - made:,} known before")
            return Made(table, figures={"embedded_when_made": made, "width": vectors.shape[1]})

        inputs = [code_of("corpus"), lake.stamp(MOVIES).content, settings.encoder, settings.plot_characters]
        return publish_if_changed(context, lake, ITEM_EMBEDDINGS, inputs, make)

    return embedded


def corpus_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the sources and the corpus."""
    return [
        *(raw_files(publisher) for publisher in (*MOVIE_PUBLISHERS, *CONVERSATION_PUBLISHERS, RATING_PUBLISHER)),
        *(source_movies(source, settings) for source in MOVIE_PUBLISHERS),
        movies(settings),
        title_index,
        item_embeddings(settings),
    ]
