-- Where every field of every movie came from, and what other records said instead.
CREATE TABLE provenance AS
WITH overruled AS (
    SELECT
        chosen.movie_id,
        chosen.field,
        list(other.source || ': ' || CASE WHEN length(other.value) > 80 THEN other.value[:79] || '…' ELSE other.value END ORDER BY other.record) AS said
    FROM chosen
    JOIN said AS taken ON taken.record = chosen.record AND taken.field = chosen.field
    JOIN said AS other ON other.movie_id = chosen.movie_id AND other.field = chosen.field
    WHERE other.compared != taken.compared
    GROUP BY ALL
)
SELECT
    movie_id,
    field,
    claims.source,
    claims.source_id,
    coalesce(overruled.said, []) AS overruled,
    chosen.place
FROM chosen
JOIN claims USING (record)
LEFT JOIN overruled USING (movie_id, field)
