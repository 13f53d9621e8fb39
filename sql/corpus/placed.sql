-- The movie of every record, how it was found (id, people, title, ambiguous, new), and why it is left out, if it is. What IMDb's file does not
-- list is a short by its genre, or by the Academy's 40 minutes.
CREATE TABLE placed AS
WITH RECURSIVE chain AS (
    SELECT unit, movie, found_by, outside FROM resolved
    UNION ALL
    SELECT chain.unit, resolved.movie, chain.found_by, coalesce(chain.outside, resolved.outside)
    FROM chain
    JOIN resolved ON resolved.unit = chain.movie
),
ends AS (
    SELECT * FROM chain WHERE movie NOT IN (SELECT unit FROM resolved)
),
shared AS (
    SELECT unit FROM identified GROUP BY unit HAVING count(*) > 1
),
grouped AS (
    SELECT
        identified.record,
        identified.source,
        coalesce(ends.movie, identified.unit) AS movie,
        coalesce(
            ends.found_by,
            CASE
                WHEN identified.source != 'imdb' AND shared.unit IS NOT NULL THEN 'id'
                ELSE 'new'
            END
        ) AS found_by,
        coalesce(ends.outside, outsiders.kind) AS outside,
        claims.genres,
        claims.runtime
    FROM identified
    JOIN claims USING (record)
    LEFT JOIN ends USING (unit)
    LEFT JOIN shared USING (unit)
    LEFT JOIN excluded AS outsiders ON outsiders.source_id = identified.unit
),
unlisted AS (
    SELECT movie, bool_or(list_contains(genres, 'Short')) AS short, max(runtime) AS runtime
    FROM grouped
    GROUP BY movie
    HAVING NOT bool_or(source = 'imdb')
)
SELECT
    record,
    source,
    movie,
    found_by,
    CASE
        WHEN outside IS NOT NULL AND found_by IN ('id', 'new') THEN 'id of a title that is left out'
        WHEN outside IS NOT NULL THEN 'matches a title that is left out'
        WHEN unlisted.short THEN 'genre Short'
        WHEN unlisted.runtime < 40 THEN 'shorter than 40 minutes'
    END AS left_out
FROM grouped
LEFT JOIN unlisted USING (movie)
