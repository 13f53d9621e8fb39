-- Directors of title.crew, in its order.
CREATE TABLE imdb_directors AS
SELECT
    tconst,
    unnest(string_split(directors, ',')) AS nconst,
    generate_subscripts(string_split(directors, ','), 1) AS place
FROM read_csv(
    $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
)
WHERE directors IS NOT NULL AND tconst IN (SELECT tconst FROM imdb_titles)
