CREATE TABLE tmdb AS
SELECT
    'tmdb' AS source,
    id::VARCHAR AS source_id,
    nullif(imdb_id, '') AS imdb_id,
    id AS tmdb_id,
    title,
    original_title,
    try_cast(regexp_extract(release_date, '^\d{4}') AS BIGINT) AS year,
    [genre.name FOR genre IN genres] AS genres,
    [member.name FOR member IN credits.crew IF member.job = 'Director'] AS directors,
    [member.name FOR member IN list_sort([{'place': part."order", 'name': part.name} FOR part IN credits."cast"])][:10] AS "cast",
    overview AS plot,
    nullif(runtime, 0) AS runtime,
    adult
FROM read_json($paths, format = 'newline_delimited', ignore_errors = true, columns = $columns)
