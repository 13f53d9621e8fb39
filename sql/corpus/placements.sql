-- What people read of table placed. A movie to which nothing but ambiguous records came is none.
SELECT
    placed.source,
    source_id,
    CASE WHEN left_out IS NULL AND movies.movie_id IS NOT NULL THEN placed.movie END AS movie_id,
    found_by,
    left_out
FROM placed
JOIN claims USING (record)
LEFT JOIN movies ON movies.movie_id = placed.movie
ORDER BY placed.source, source_id
