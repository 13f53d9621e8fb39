-- Titles that sources use for a movie and that are neither its title nor its original title in the corpus.
CREATE TABLE aliases AS
WITH said AS (
    SELECT placed.movie AS movie_id, unnest([claims.title, claims.original_title]) AS title
    FROM placed
    JOIN claims USING (record)
    WHERE left_out IS NULL AND found_by != 'ambiguous'
),
own AS (
    SELECT movie_id, key FROM movies JOIN title_keys ON text = title
    UNION ALL
    SELECT movie_id, key FROM movies JOIN title_keys ON text = original_title
),
keyed AS (
    SELECT movie_id, key, min(title) AS title
    FROM said
    JOIN title_keys ON title_keys.text = said.title
    GROUP BY ALL
)
SELECT movie_id, title
FROM keyed
ANTI JOIN own USING (movie_id, key)
WHERE movie_id IN (SELECT movie_id FROM movies)
ORDER BY ALL
