-- Ids are padded to seven digits; newer ones have eight, and lpad would cut them.
CREATE TABLE movielens_links AS
SELECT
    try_cast(movieId AS BIGINT) AS movielens_id,
    any_value('tt' || lpad(imdbId, greatest(7, length(imdbId))::INTEGER, '0')) FILTER (regexp_full_match(imdbId, '\d{1,9}')) AS imdb_id,
    any_value(try_cast(tmdbId AS BIGINT)) AS tmdb_id
FROM read_csv(
    $paths, delim = ',', quote = '"', escape = '"', header = true, auto_detect = false, columns = $columns, store_rejects = true
)
WHERE try_cast(movieId AS BIGINT) IS NOT NULL
GROUP BY ALL
