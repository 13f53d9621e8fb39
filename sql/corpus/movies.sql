-- One row a movie: the values of table choices.
CREATE TABLE movies AS
SELECT
    movie_id,
    CASE WHEN movie_id LIKE 'tt%' THEN movie_id END AS imdb_id,
    tmdb_id.value AS tmdb_id,
    movielens_id.value AS movielens_id,
    wikidata_id.value AS wikidata_id,
    title.value AS title,
    original_title.value AS original_title,
    year.value AS year,
    coalesce(kind.value, 'movie') AS kind,
    coalesce(genres.value, []) AS genres,
    coalesce(directors.value, []) AS directors,
    coalesce("cast".value, []) AS "cast",
    plot.value AS plot,
    runtime.value AS runtime,
    rating.value AS rating,
    votes.value AS votes,
    told.source AS plot_source,
    sources
FROM choices
LEFT JOIN (SELECT record, source FROM claims) AS told ON told.record = plot.record
