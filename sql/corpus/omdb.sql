-- OMDb writes N/A for what it does not know, and the part of a director in brackets behind the name.
CREATE TABLE omdb AS
SELECT
    'omdb' AS source,
    imdbID AS source_id,
    imdbID AS imdb_id,
    Title AS title,
    try_cast(regexp_extract(Year, '^\d{4}') AS BIGINT) AS year,
    string_split(nullif(Genre, 'N/A'), ', ') AS genres,
    string_split(regexp_replace(nullif(Director, 'N/A'), '\s*\([^)]*\)', '', 'g'), ', ') AS directors,
    string_split(regexp_replace(nullif(Actors, 'N/A'), '\s*\([^)]*\)', '', 'g'), ', ')[:10] AS "cast",
    nullif(Plot, 'N/A') AS plot,
    try_cast(regexp_extract(Runtime, '^\d+') AS BIGINT) AS runtime,
    try_cast(imdbRating AS DOUBLE) AS rating,
    try_cast(replace(imdbVotes, ',', '') AS BIGINT) AS votes,
    Type AS type
FROM read_json($paths, format = 'newline_delimited', ignore_errors = true, columns = $columns)
