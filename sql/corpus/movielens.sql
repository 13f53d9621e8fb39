CREATE TABLE movielens AS
SELECT
    'movielens' AS source,
    movieId AS source_id,
    imdb_id,
    tmdb_id,
    try_cast(movieId AS BIGINT) AS movielens_id,
    title,
    CASE WHEN genres NOT LIKE '(%' THEN string_split(genres, '|') END AS genres
FROM read_csv(
    $paths, delim = ',', quote = '"', escape = '"', header = true, auto_detect = false, columns = $columns, store_rejects = true
) AS movies
LEFT JOIN movielens_links ON movielens_id = try_cast(movieId AS BIGINT)
