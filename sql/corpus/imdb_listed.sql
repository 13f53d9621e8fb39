-- All well-formed titles of title.basics, kept or not: what is left out must be known, so that it cannot come back through another source.
-- Of episodes, three quarters of the file, only the ids are, unless one lasts as long as a film (40 minutes or more) and may be listed as one elsewhere.
CREATE TABLE imdb_listed AS
WITH listed AS (
    SELECT
        *,
        coalesce(list_contains($kinds, titleType) AND isAdult IS DISTINCT FROM '1' AND primaryTitle IS NOT NULL, false) AS kept,
        primaryTitle IS NOT NULL
            AND (kept OR titleType IS DISTINCT FROM 'tvEpisode' OR coalesce(try_cast(runtimeMinutes AS BIGINT) >= 40, false)) AS described
    FROM read_csv(
        $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
    )
    WHERE regexp_full_match(tconst, 'tt\d{7,}')
)
SELECT
    tconst,
    titleType AS kind,
    kept,
    described,
    primaryTitle IS NOT NULL AS titled,
    isAdult = '1' AS adult,
    CASE WHEN described THEN primaryTitle END AS title,
    CASE WHEN described THEN originalTitle END AS original_title,
    CASE WHEN described THEN try_cast(startYear AS BIGINT) END AS year,
    CASE WHEN described THEN try_cast(runtimeMinutes AS BIGINT) END AS runtime,
    CASE WHEN described THEN genres END AS genres
FROM listed
