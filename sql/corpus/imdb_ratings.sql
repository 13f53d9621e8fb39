CREATE TABLE imdb_ratings AS
SELECT tconst, max(try_cast(averageRating AS DOUBLE)) AS rating, max(try_cast(numVotes AS BIGINT)) AS votes
FROM read_csv(
    $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
)
WHERE tconst IN (SELECT tconst FROM imdb_titles WHERE kept)
GROUP BY tconst
