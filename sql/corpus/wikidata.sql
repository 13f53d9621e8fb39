CREATE TABLE wikidata AS
SELECT
    'wikidata' AS source,
    item AS source_id,
    imdb AS imdb_id,
    item AS wikidata_id,
    coalesce(label, enwiki) AS title,
    enwiki AS original_title,
    try_cast(year AS BIGINT) AS year
FROM read_json($paths, format = 'newline_delimited', ignore_errors = true, columns = $columns)
