-- What records say against the movie that they were merged into. Years one apart are left out: premiere and release differ that often.
CREATE TABLE conflicts AS
WITH said AS (
    SELECT movies.movie_id, claims.source, claims.source_id, movies.year, movies.tmdb_id, movies.imdb_id, claims.year AS said_year,
        claims.tmdb_id AS said_tmdb_id, claims.imdb_id AS said_imdb_id, placed.found_by
    FROM placed
    JOIN claims USING (record)
    JOIN movies ON movies.movie_id = placed.movie
    WHERE left_out IS NULL
)
SELECT movie_id, source, source_id, 'year' AS field, year::VARCHAR AS kept, said_year::VARCHAR AS overruled
FROM said
WHERE abs(year - said_year) > 1
UNION ALL
SELECT movie_id, source, source_id, 'tmdb_id', tmdb_id::VARCHAR, said_tmdb_id::VARCHAR
FROM said
WHERE said_tmdb_id != tmdb_id
UNION ALL
SELECT said.movie_id, source, source_id, 'imdb_id', shared_ids.imdb_id, said_imdb_id
FROM said
JOIN shared_ids ON register = 'tmdb' AND id = said_tmdb_id::VARCHAR
WHERE said_imdb_id != shared_ids.imdb_id
UNION ALL
SELECT movie_id, source, source_id, 'movie', movie_id, NULL
FROM said
WHERE found_by = 'ambiguous'
ORDER BY ALL
