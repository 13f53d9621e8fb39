-- The four catalogues have the same columns but for the name and order of the genres; each file is read by itself.
CREATE TABLE streaming AS
SELECT
    'streaming' AS source,
    $catalogue || '/' || show_id AS source_id,
    title,
    try_cast(release_year AS BIGINT) AS year,
    string_split(coalesce(listed_in, genre), ', ') AS genres,
    string_split(director, ', ') AS directors,
    string_split("cast", ', ')[:10] AS "cast",
    description AS plot,
    try_cast(regexp_extract(duration, '^(\d+) min', 1) AS BIGINT) AS runtime,
    type
FROM (
    (SELECT NULL::VARCHAR AS listed_in, NULL::VARCHAR AS genre LIMIT 0)
    UNION ALL BY NAME
    SELECT * FROM read_csv(
        $paths, delim = ',', quote = '"', escape = '"', header = true, auto_detect = false, columns = $columns, store_rejects = true
    )
)
