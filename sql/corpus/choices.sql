-- One row a movie and, field by field, the record that table precedence ranks first among those that have a value, with that value: {record, value}. `movies` and `provenance` are both read from here, so they cannot
-- disagree. Nothing is taken from records that were placed ambiguously. Records are numbered by source and id, so that one number, the rank before the record's own, orders them without ties.
-- Movies of one record, which are most, need no comparison and go another, quicker way.
-- An id of another register belongs to one movie (shared_ids). Plots: a summary of some length first, whoever wrote it, then by rank, then the longest; cast: three names or more first, since IMDb's mirror often has but one.
CREATE TABLE choices AS
WITH contested AS (
    SELECT movie FROM placed WHERE left_out IS NULL GROUP BY movie HAVING count(*) > 1
),
stated AS (
    SELECT
        placed.movie AS movie_id,
        claims.* EXCLUDE (plot, tmdb_id),
        CASE WHEN owner.imdb_id IS NULL OR owner.imdb_id = placed.movie THEN tmdb_id END AS tmdb_id,
        CASE WHEN length(claims.plot) >= 20 AND NOT regexp_matches(claims.plot, $placeholder, 'i') THEN claims.plot END AS plot,
        ranks.title * 10_000_000_000 + record AS title_order,
        ranks.original_title * 10_000_000_000 + record AS original_title_order,
        ranks.year * 10_000_000_000 + record AS year_order,
        ranks.genres * 10_000_000_000 + record AS genres_order,
        ranks.directors * 10_000_000_000 + record AS directors_order,
        ranks.runtime * 10_000_000_000 + record AS runtime_order,
        ranks.rating * 10_000_000_000 + record AS rating_order,
        (len(claims."cast") < 3)::BIGINT * 1_000_000_000_000 + ranks."cast" * 10_000_000_000 + record AS cast_order,
        (length(claims.plot) < 60)::BIGINT * 10_000_000_000_000_000
            + ranks.plot * 100_000_000_000_000 + (9999 - least(length(claims.plot), 9999)) * 10_000_000_000 + record AS plot_order,
        placed.found_by != 'ambiguous' AS trusted
    FROM placed
    JOIN claims USING (record)
    JOIN precedence AS ranks ON ranks.source = claims.source
    LEFT JOIN shared_ids AS owner ON owner.register = 'tmdb' AND owner.id = claims.tmdb_id::VARCHAR
    WHERE left_out IS NULL
)
SELECT
    movie_id,
    arg_min({'record': record, 'value': tmdb_id}, title_order) FILTER (trusted AND tmdb_id IS NOT NULL) AS tmdb_id,
    arg_min({'record': record, 'value': movielens_id}, title_order) FILTER (trusted AND movielens_id IS NOT NULL) AS movielens_id,
    arg_min({'record': record, 'value': wikidata_id}, title_order) FILTER (trusted AND wikidata_id IS NOT NULL) AS wikidata_id,
    arg_min({'record': record, 'value': title}, title_order) FILTER (trusted) AS title,
    arg_min({'record': record, 'value': original_title}, original_title_order)
        FILTER (trusted AND original_title IS NOT NULL) AS original_title,
    arg_min({'record': record, 'value': year}, year_order) FILTER (trusted AND year IS NOT NULL) AS year,
    arg_min({'record': record, 'value': kind}, title_order) FILTER (trusted AND kind IS NOT NULL) AS kind,
    arg_min({'record': record, 'value': genres}, genres_order) FILTER (trusted AND len(genres) > 0) AS genres,
    arg_min({'record': record, 'value': directors}, directors_order) FILTER (trusted AND len(directors) > 0) AS directors,
    arg_min({'record': record, 'value': "cast"}, cast_order) FILTER (trusted AND len("cast") > 0) AS "cast",
    arg_min({'record': record, 'value': plot}, plot_order) FILTER (trusted AND plot IS NOT NULL) AS plot,
    arg_min({'record': record, 'value': runtime}, runtime_order) FILTER (trusted AND runtime IS NOT NULL) AS runtime,
    arg_min({'record': record, 'value': rating}, rating_order) FILTER (trusted AND rating IS NOT NULL) AS rating,
    arg_min({'record': record, 'value': votes}, rating_order) FILTER (trusted AND rating IS NOT NULL) AS votes,
    list_sort(list(DISTINCT source)) AS sources
FROM stated
WHERE movie_id IN (SELECT movie FROM contested)
GROUP BY movie_id
HAVING bool_or(trusted)
UNION ALL
SELECT
    movie_id,
    CASE WHEN tmdb_id IS NOT NULL AND title_order IS NOT NULL THEN {'record': record, 'value': tmdb_id} END AS tmdb_id,
    CASE WHEN movielens_id IS NOT NULL AND title_order IS NOT NULL THEN {'record': record, 'value': movielens_id} END AS movielens_id,
    CASE WHEN wikidata_id IS NOT NULL AND title_order IS NOT NULL THEN {'record': record, 'value': wikidata_id} END AS wikidata_id,
    CASE WHEN title_order IS NOT NULL THEN {'record': record, 'value': title} END AS title,
    CASE WHEN original_title IS NOT NULL AND original_title_order IS NOT NULL THEN {'record': record, 'value': original_title} END AS original_title,
    CASE WHEN year IS NOT NULL AND year_order IS NOT NULL THEN {'record': record, 'value': year} END AS year,
    CASE WHEN kind IS NOT NULL AND title_order IS NOT NULL THEN {'record': record, 'value': kind} END AS kind,
    CASE WHEN len(genres) > 0 AND genres_order IS NOT NULL THEN {'record': record, 'value': genres} END AS genres,
    CASE WHEN len(directors) > 0 AND directors_order IS NOT NULL THEN {'record': record, 'value': directors} END AS directors,
    CASE WHEN len("cast") > 0 AND cast_order IS NOT NULL THEN {'record': record, 'value': "cast"} END AS "cast",
    CASE WHEN plot IS NOT NULL AND plot_order IS NOT NULL THEN {'record': record, 'value': plot} END AS plot,
    CASE WHEN runtime IS NOT NULL AND runtime_order IS NOT NULL THEN {'record': record, 'value': runtime} END AS runtime,
    CASE WHEN rating IS NOT NULL AND rating_order IS NOT NULL THEN {'record': record, 'value': rating} END AS rating,
    CASE WHEN rating IS NOT NULL AND rating_order IS NOT NULL THEN {'record': record, 'value': votes} END AS votes,
    [source] AS sources
FROM stated
WHERE trusted AND movie_id NOT IN (SELECT movie FROM contested)
