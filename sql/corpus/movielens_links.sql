CREATE TABLE movielens_links AS
SELECT
    try_cast(movieId AS BIGINT) AS movielens_id,
    any_value('tt' || lpad(imdbId, 7, '0')) FILTER (regexp_full_match(imdbId, '\d{1,9}')) AS imdb_id,
    any_value(try_cast(tmdbId AS BIGINT)) AS tmdb_id
FROM read_csv(
    $paths, delim = ',', quote = '"', escape = '"', header = true, auto_detect = false, columns = $columns, store_rejects = true
)
WHERE try_cast(movieId AS BIGINT) IS NOT NULL
GROUP BY ALL
