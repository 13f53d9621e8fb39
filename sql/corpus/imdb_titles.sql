-- All well-formed titles of title.basics, kept or not: what is left out must be known, so that it cannot come back through another source.
CREATE TABLE imdb_titles AS
SELECT
    tconst,
    titleType AS kind,
    primaryTitle AS title,
    originalTitle AS original_title,
    isAdult = '1' AS adult,
    try_cast(startYear AS BIGINT) AS year,
    try_cast(runtimeMinutes AS BIGINT) AS runtime,
    string_split(genres, ',') AS genres,
    list_contains($kinds, titleType) AND isAdult IS DISTINCT FROM '1' AND primaryTitle IS NOT NULL AS kept
FROM read_csv(
    $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
)
WHERE regexp_full_match(tconst, 'tt\d{7,}')
QUALIFY row_number() OVER (PARTITION BY tconst ORDER BY primaryTitle, startYear) = 1
